"""Video file -> frames, by exact frame number."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from common.data.declared import (
    DECODING,
    MOST_FRAMES,
    OPENING,
    reason_for_no_frame,
    refuse_more_samples_than_bytes,
)
from common.data.listing import kept_listing
from common.data.timeline import Timeline
from common.errors import UserError
from common.files import fingerprint_of

if TYPE_CHECKING:
    VideoPacket = Packet[VideoStream]
else:
    VideoPacket = Packet  # generic in PyAV's stubs only

STREAM_THREADS = min(4, os.cpu_count() or 1)

_LISTED = np.dtype([("pts", np.int64), ("key", bool), ("discard", bool), ("corrupt", bool)])
_NO_TIME = np.iinfo(np.int64).min


class Video:
    """The frames of one video file, numbered from 0 in the order in which they are shown.

    A number means the same picture however it is reached: the packets are listed once without decoding; a read seeks to
    the keyframe before the picture, decodes, and matches time stamps exactly. B-frames, open groups of pictures, edit
    lists, odd start times and variable frame rates need no care by the caller. A decoder that meets damage invents
    pictures up to the next keyframe; those count as undecodable, like the damaged one.

    Pictures are RGB uint8 (height, width, 3), 0..255, turned upright as the file's display rotation asks. Objects can
    be pickled and forked: each process opens the file for itself.

    What the file declares is bounded before memory is taken for it: see `common.data.declared`.

    Args:
        path: the file.
        listings: folder in which the listing of packets is kept from one process to the next: making it reads the whole
            file, which takes minutes for hours of video on a network disk. None keeps it in memory alone.

    Attributes:
        path: the file.
        size_hw: (height, width) of the upright picture in pixels.
        fps: average frames per second, as the container states it; 0 if it does not.
    """

    def __init__(self, path: Path, *, listings: Path | None = None) -> None:
        if not path.is_file():
            raise UserError(f"{path}: no such video file; check the path")
        self.path = path
        self._listings = listings
        self._handle: tuple[int, InputContainer] | None = None
        refuse_more_samples_than_bytes(path)
        with self._open() as container:
            stream = container.streams.video[0]
            self.fps = float(stream.average_rate or stream.guessed_rate or 0)
            first = next((frame for packet in _demux(container) for frame in _decode(packet) or ()), None)
        if first is None:
            raise UserError(f"{path}: {reason_for_no_frame(path)}")
        self._quarter_turns = round(first.rotation / 90) % 4
        self.size_hw = _turned((first.height, first.width), self._quarter_turns)

    def __len__(self) -> int:
        """Frames that the file really holds, whatever its header claims."""
        return len(self._timeline.shown)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def read(
        self, indices: Sequence[int], size_hw: tuple[int, int] | None = None
    ) -> dict[int, UInt8[np.ndarray, "height width 3"]]:
        """Frames by number, each decoded once; those beyond the end and those that cannot be decoded are absent.

        Args:
            indices: frame numbers >= 0 in any order.
            size_hw: (height, width) of the result, resized without aliasing; the video's own if None.
        """
        return dict(self._frames(self._container(), indices, size_hw))

    def frames(
        self, indices: Sequence[int], size_hw: tuple[int, int] | None = None, *, threads: int = 1
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """As `read`, but one (number, frame) after the other in rising order, in flat memory.

        Args:
            indices: frame numbers >= 0 in any order.
            size_hw: (height, width) of the result; the video's own if None.
            threads: of the decoder. With several, up to as many good frames are absent beside a damaged one.
        """
        with self._open(threads) as container:
            yield from self._frames(container, indices, size_hw)

    def stream(
        self, size_hw: tuple[int, int] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Frames `start` to `stop` (excluded; the end if None) one after the other, in flat memory.

        Raises:
            UserError: at the first frame that cannot be decoded, after the frames before it.
        """
        wanted = range(start, len(self) if stop is None else min(stop, len(self)))
        expected = start
        for number, frame in self.frames(wanted, size_hw, threads=STREAM_THREADS):
            if number != expected:
                break
            yield frame
            expected += 1
        if expected < wanted.stop:
            raise UserError(
                f"{self.path}: frame {expected} of {len(self)} cannot be decoded, the file is damaged there; copy it "
                "again from its source or cut that part out"
            )

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle[1].close()

    def _container(self) -> InputContainer:
        if self._handle is None or self._handle[0] != os.getpid():  # a forked handle shares its parent's file position
            self._handle = (os.getpid(), self._open())
        return self._handle[1]

    def _open(self, threads: int = 1) -> InputContainer:
        try:
            container = av.open(str(self.path.absolute()), options=OPENING)
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(f"{self.path}: not a readable video ({error.strerror}); is the file complete?") from error
        if not container.streams.video:
            container.close()
            raise UserError(f"{self.path}: holds no video ({container.format.long_name}); choose another file")
        context = container.streams.video[0].codec_context
        context.thread_type = "AUTO" if threads > 1 else "NONE"
        context.thread_count = threads
        # an error where the damage is, not an invented picture
        context.options = {"err_detect": "explode", **DECODING}
        return container

    @cached_property
    def _timeline(self) -> Timeline:
        if self._listings is None:
            return self._listed()
        file = self._listings / f"{fingerprint_of(self.path)}.npz"
        kept = kept_listing(file)
        if kept is None:
            kept = self._listed()
            kept.save(file)
        return kept

    def _listed(self) -> Timeline:
        with self._open() as container:
            rows = (
                (_NO_TIME if p.pts is None else p.pts, p.is_keyframe, p.is_discard, p.is_corrupt)
                for p in _demux(container)
                if p.size
            )
            packets = np.fromiter(islice(rows, MOST_FRAMES + 1), _LISTED)
        if len(packets) > MOST_FRAMES:
            raise UserError(f"{self.path}: more than {MOST_FRAMES:,} frames; cut it into several videos")
        if packets["corrupt"][-1]:
            packets = packets[:-1]  # the file ends in the middle of this picture
        pts = packets["pts"]
        if (pts == _NO_TIME).any():
            raise UserError(
                f"{self.path}: its frames carry no time stamps, so they cannot be numbered; "
                "put it into a container: ffmpeg -i INPUT -c copy OUTPUT.mp4"
            )
        return Timeline(pts.copy(), packets["key"].copy(), np.unique(pts[~packets["discard"]]))

    def _frames(
        self, container: InputContainer, indices: Sequence[int], size_hw: tuple[int, int] | None
    ) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        numbers = np.unique(np.asarray(indices, dtype=np.int64))
        if numbers.size and numbers[0] < 0:
            raise IndexError(f"frame {numbers[0]} of {self.path}: numbers start at 0")
        wanted = deque(numbers[numbers < len(self)].tolist())
        size_hw = _turned(size_hw or self.size_hw, self._quarter_turns)
        scaler = VideoReformatter()
        while wanted:
            for number, frame in self._run(container, wanted):
                yield number, np.ascontiguousarray(np.rot90(_rgb(frame, size_hw, scaler), self._quarter_turns))

    def _run(self, container: InputContainer, wanted: deque[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from the keyframe before `wanted[0]` on; ends where seeking saves decoding. Uses up `wanted`."""
        timeline = self._timeline
        threads = container.streams.video[0].codec_context.thread_count
        spoilt = np.zeros(len(self), dtype=bool)
        reached = timeline.entry(wanted[0])
        for packet in self._packets(container, wanted[0]):
            rank = timeline.rank(packet.pts)
            if packet.size and rank is None:
                continue  # the cut last packet of a truncated file
            reached = max(reached, rank or 0)
            frames = _decode(packet)
            if frames is None:  # with several threads, the fault is in one of the packets in flight
                for suspect in range(max(reached + 1 - threads, 0), reached + 1):
                    spoilt |= timeline.spoilt_by(suspect)
            for frame in frames or ():
                if frame.is_corrupt:
                    spoilt |= timeline.spoilt_by(timeline.rank(frame.pts) or reached)
                number = timeline.frame(frame.pts)
                while number is not None and wanted and wanted[0] <= number:
                    if wanted.popleft() == number and not spoilt[number]:
                        yield number, frame
            if not wanted or timeline.entry(wanted[0]) > reached + 1:
                return
        wanted.clear()

    def _packets(self, container: InputContainer, frame: int) -> Iterator[VideoPacket]:
        """Packets from the keyframe before this frame on; from an earlier one where the format seeks loosely."""
        timeline = self._timeline
        entries = [timeline.entry(frame, back=back) for back in range(3)]
        before_all = int(timeline.pts.min()) - 10 * (container.streams.video[0].time_base or Fraction(1)).denominator
        for target in [*timeline.pts[entries].tolist(), 0, before_all]:
            packets = _demux(container, seek=target)
            first = next(packets, None)
            rank = timeline.rank(first.pts) if first is not None else None
            if first is not None and rank is not None and rank <= entries[0]:
                return chain([first], packets)
        raise UserError(f"{self.path}: cannot seek in this file; put it into mp4: ffmpeg -i INPUT -c copy OUTPUT.mp4")


def _demux(container: InputContainer, *, seek: int | None = None) -> Iterator[VideoPacket]:
    """Packets of the video up to the file's end or to where it cannot be read on, then the empty one that flushes."""
    stream = container.streams.video[0]
    try:
        if seek is not None:
            container.seek(seek, stream=stream)
        yield from container.demux(stream)
    except av.error.FFmpegError:
        return


def _decode(packet: VideoPacket) -> list[VideoFrame] | None:
    """Frames that come out when the packet goes in; None if it is damaged."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
    except av.error.FFmpegError:
        return None


def _rgb(frame: VideoFrame, size_hw: tuple[int, int], scaler: VideoReformatter) -> UInt8[np.ndarray, "height width 3"]:
    shrinks = size_hw[0] < frame.height or size_hw[1] < frame.width
    # a triangle as wide as two output pixels: AREA and LANCZOS move a small ball by up to 0.1 of them with its phase
    kernel = Interpolation.BILINEAR if shrinks else Interpolation.BICUBIC
    # full chroma: else a small ball takes its neighbour's colour; bit exact: the same pixels on every processor
    flags = kernel | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    height, width = size_hw
    return scaler.reformat(frame, width, height, "rgb24", interpolation=flags, threads=1).to_ndarray()


def _turned(size_hw: tuple[int, int], quarter_turns: int) -> tuple[int, int]:
    return (size_hw[1], size_hw[0]) if quarter_turns % 2 else size_hw
