"""What a video file declares of itself, bounded before memory is taken for it.

FFmpeg makes an index of 72 bytes for each sample of an MP4 or QuickTime file before anything is decoded, and one
number in the header declares any amount: a file of 2 kB took 1.7 GB. So the boxes that hold such numbers (ISO/IEC
14496-12) are read first.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import av.logging

from common.errors import UserError

MOST_PIXELS = 8192 * 8192
"""Of a picture: twice 8K. As RGB it takes 200 MB, and a decoder keeps several. Frames are read one by one, so that the
length of a video costs no such memory."""

MOST_FRAMES = 10_000_000
"""Of a video: two days at 60 frames per second. Its index takes 72 bytes per frame and its listing 17."""

FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,flv,asf,ogg,mxf,wav"
"""Containers that FFmpeg may take a file for. Others (concat, hls, dash, sdp) name more files or addresses to read."""

OPENING = {"max_pixels": str(MOST_PIXELS), "format_whitelist": FORMATS, "protocol_whitelist": "file"}
"""FFmpeg's options for opening a file."""

DECODING = {"max_pixels": str(MOST_PIXELS)}
"""And for its decoders: the size may change on the way."""

_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # boxes that declare samples, and where in them the number is
_CONTAINERS = {
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"dinf", b"udta", b"wave", b"wide",
}  # fmt: skip
_DEEPEST = 12


def refuse_more_samples_than_bytes(path: Path) -> None:
    """A `UserError` where a file declares what it cannot hold."""
    try:
        declared, size = declared_samples(path), path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check who may read it") from error
    if declared > size:
        raise UserError(
            f"{path}: its header declares {declared:,} samples in a file of {size:,} bytes; it is damaged or made to "
            "fill the memory: copy it again from its source, or write it anew: ffmpeg -i INPUT OUTPUT.mp4"
        )


def declared_samples(path: Path) -> int:
    """Samples of all tracks of an MP4 or QuickTime file together; 0 for a file of another kind."""
    with path.open("rb") as file:
        return sum(_counts(file, 0, path.stat().st_size, depth=0))


def _counts(file: BinaryIO, start: int, end: int, *, depth: int) -> Iterator[int]:
    """The counts in the boxes between two places of the file."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        header = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        stop = end if size == 0 else min(start + size, end)
        if stop < start + header:
            return
        if kind in _COUNTS:
            file.seek(start + header + _COUNTS[kind])
            yield int.from_bytes(file.read(4), "big")
        elif kind in _CONTAINERS and depth < _DEEPEST:
            yield from _counts(file, start + header, stop, depth=depth + 1)
        start = stop


def reason_for_no_frame(path: Path) -> str:
    """Why no frame of a video can be decoded, from what FFmpeg says of it."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # the video before may have been refused for the same size
    try:
        with av.logging.Capture() as lines, av.open(str(path.absolute()), options=OPENING) as container:
            next((None for packet in container.demux(video=0) if packet.decode()), None)
    except av.error.FFmpegError:
        pass
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])
    refused = next((found for line in lines if (found := re.search(r"(\d+x\d+) exceeds", line[2]))), None)
    if refused is None:
        return "no frame of this video can be decoded; is the file complete?"
    return (
        f"its pictures are declared as {refused[1]}, expected at most {MOST_PIXELS:,} pixels (8192x8192); scale it "
        "down: ffmpeg -i INPUT -vf scale=3840:-2 OUTPUT.mp4"
    )
