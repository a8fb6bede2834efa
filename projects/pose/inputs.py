"""What people are looked for in: pictures, videos, and streams whose end nobody knows. NumPy, Pillow and PyAV alone."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from common.data.declared import DECODING, FORMATS, MOST_PIXELS
from common.data.inputs import VIDEOS, find_inputs, require_own_names
from common.errors import UserError
from projects.pose.pictures import SUFFIXES as PICTURES

if TYPE_CHECKING:
    VideoPacket = Packet[VideoStream]
else:
    VideoPacket = Packet  # generic in PyAV's stubs only

STDIN = "-"

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|pipe:\d+$", re.IGNORECASE)
_STREAMED = "hls,mpjpeg,mjpeg,nut,rtp,rtsp,sdp,yuv4mpegpipe"
_NETWORK = (
    "crypto,http,httpproxy,https,rtmp,rtmps,rtmpt,rtp,rtsp,srt,tcp,tls,udp"  # no file: what comes may name others
)
_SILENT_S = 30.0
"""Seconds after which an address that sends nothing counts as ended."""


class Inputs(NamedTuple):
    """Files, each kind sorted by name."""

    pictures: list[Path]
    videos: list[Path]


class Arrived(NamedTuple):
    """A frame of a stream.

    Attributes:
        number: from 0, of the frames that could be decoded.
        seconds: from the first frame, by the stream's clock; by that of this machine where it has none.
        image: RGB, upright.
    """

    number: int
    seconds: float
    image: UInt8[np.ndarray, "height width 3"]


def find_files(source: Path) -> Inputs:
    """The picture or video at `source`, or those in the folder, by their suffixes; not those in folders in it.

    Raises:
        UserError: there is none, or two of a kind would have results of the same name.
    """
    found = find_inputs(source, (*PICTURES, *VIDEOS), what="picture or video")
    pictures = [path for path in found if path.suffix.lower() in PICTURES]
    videos = [path for path in found if path.suffix.lower() not in PICTURES]
    require_own_names(pictures, what="picture")
    require_own_names(videos, what="video")
    return Inputs(pictures, videos)


def is_stream(source: str) -> bool:
    """Whether `source` is `-`, an address such as rtsp://..., a device such as /dev/video0, or a named pipe."""
    path = Path(source)
    return source == STDIN or bool(_ADDRESS.match(source)) or path.is_char_device() or path.is_fifo()


class Stream:
    """Frames of a video as they come, each once, in flat memory.

    The video's container and codec are found in its first bytes. What an address sends may name further addresses, but
    no file of this machine.

    Args:
        source: see `is_stream`.

    Attributes:
        name: of the source, for people.
        fps: frames per second, as the stream says; 0 if it does not, or before its first frame.
        lost: number of packets and frames that could not be decoded, up to now.
    """

    def __init__(self, source: str) -> None:
        self.source, self.fps, self.lost = source, 0.0, 0
        self.name = "stdin" if source == STDIN else re.sub(r"//[^/@]*@", "//", source)  # no password in logs

    def frames(self) -> Iterator[Arrived]:
        """Frames up to the end of the stream, or to where an address falls silent or breaks off.

        Raises:
            UserError: nothing is sent that holds a video.
        """
        start, opened = None, perf_counter()
        for number, frame in enumerate(self._decoded()):
            now = perf_counter() - opened if frame.time is None else frame.time
            start = now if start is None else start
            image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            yield Arrived(number, now - start, np.ascontiguousarray(image))

    def _open(self) -> InputContainer:
        try:
            container = _open("pipe:0" if self.source == STDIN else self.source)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise UserError(f"{self.name}: no readable video ({said}); {_remedy(self.source)}") from None
        if not container.streams.video:
            raise UserError(f"{self.name}: holds no video ({container.format.long_name}); send another")
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "SLICE"  # threads with a frame each would hold frames back
        stream.codec_context.options = DECODING
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        return container

    def _decoded(self) -> Iterator[VideoFrame]:
        with self._open() as container:
            for packet in _until_end(container.demux(video=0)):
                try:
                    frames = [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
                except av.error.FFmpegError:
                    self.lost += 1
                    continue
                self.lost += sum(frame.is_corrupt for frame in frames)
                yield from (frame for frame in frames if not frame.is_corrupt)


def _until_end(packets: Iterator[VideoPacket]) -> Iterator[VideoPacket]:
    with suppress(av.error.FFmpegError):  # the sender is gone
        yield from packets


def _open(address: str) -> InputContainer:
    limits = {"max_pixels": str(MOST_PIXELS), "format_whitelist": f"{FORMATS},{_STREAMED}"}
    if "://" in address:
        options = limits | {"protocol_whitelist": _NETWORK, "rtsp_flags": "prefer_tcp"}
        return av.open(address, options=options, timeout=_SILENT_S)
    if Path(address).is_char_device():
        return av.open(address, format="v4l2")
    return av.open(address, options=limits | {"protocol_whitelist": "file,pipe"})


def _remedy(source: str) -> str:
    if source == STDIN:
        return "expected an encoded video, as from: ffmpeg -i CAMERA -f matroska - | ... --input -"
    return "check the address, or send it through: ffmpeg -i SOURCE -f matroska - | ... --input -"
