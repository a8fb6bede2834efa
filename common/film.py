"""Frames -> H.264 video, frame by frame."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

_BT709 = 1  # number of the colour standard in ISO/IEC 23091-2; players assume it for HD, so it is stated for all
_CLOCK = Fraction(1, 1000)
_SURVIVES = {"cluster_time_limit": "1000", "flush_packets": "1"}  # ms; Matroska is whole up to its last cluster

Append = Callable[[UInt8[np.ndarray, "height width 3"]], None]
AppendAt = Callable[[UInt8[np.ndarray, "height width 3"], float], None]


@contextmanager
def even_film(path: Path, size_hw: tuple[int, int], fps: float) -> Iterator[Append]:
    """Opens `path` as H.264 and yields a function that appends one frame, RGB uint8 of `size_hw`.

    H.264 in yuv420p has even sizes: an odd last row or column is cut. Frames follow each other evenly.

    Args:
        path: file to write; its suffix says the container, .mp4 or .mkv.
        size_hw: (height, width) of the frames.
        fps: frames per second; 25 where it is 0, not known.
    """
    with _film(path, size_hw, fps) as (_, append):
        yield lambda frame: append(frame, None)


@contextmanager
def timed_film(path: Path, size_hw: tuple[int, int], fps: float) -> Iterator[AppendAt]:
    """As `even_film`, but each frame comes with its time in seconds, such as those of a camera.

    As `.mkv`, what was written up to about a second before can be played, whatever ends the process. Frames of another
    size are scaled. A time that is not after the one before counts as a millisecond later.
    """
    last = -1
    with _film(path, size_hw, fps) as (stream, append):
        stream.time_base = stream.codec_context.time_base = _CLOCK

        def append_at(frame: UInt8[np.ndarray, "height width 3"], seconds: float) -> None:
            nonlocal last
            last = max(round(seconds / _CLOCK), last + 1)
            append(frame, last)

        yield append_at


_AppendPts = Callable[[UInt8[np.ndarray, "height width 3"], int | None], None]


@contextmanager
def _film(path: Path, size_hw: tuple[int, int], fps: float) -> Iterator[tuple[VideoStream, _AppendPts]]:
    height, width = (size // 2 * 2 for size in size_hw)
    converter = VideoReformatter()
    with av.open(str(path), "w", options=_SURVIVES if path.suffix == ".mkv" else {}) as container:
        stream = _h264(container.add_stream("libx264", Fraction(fps or 25).limit_denominator(1001)), (height, width))

        def append(frame: UInt8[np.ndarray, "height width 3"], pts: int | None) -> None:
            even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
            yuv = converter.reformat(
                VideoFrame.from_numpy_buffer(even, format="rgb24"),
                width,
                height,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                interpolation=Interpolation.FAST_BILINEAR,
            )
            yuv.pts = pts
            container.mux(stream.encode(yuv))

        try:
            yield stream, append
        finally:  # what was appended can be played, whatever ended it
            container.mux(stream.encode(None))


def _h264(stream: VideoStream, size_hw: tuple[int, int]) -> VideoStream:
    stream.height, stream.width = size_hw
    stream.pix_fmt = "yuv420p"
    stream.options = {"preset": "ultrafast", "crf": "21"}  # it is looked at once; slower presets halve the speed
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream
