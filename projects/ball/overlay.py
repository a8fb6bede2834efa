"""Overlay video: the frames of a video with a ring at the ball and a short fading tail behind it."""

from collections import deque
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

from common.figures import Point, draw_marker

RING, TAIL = (255, 235, 60), (255, 130, 40)
_BT709 = 1  # number of the colour standard in ISO/IEC 23091-2; players assume it for HD, so it is stated for all

Draw = Callable[[UInt8[np.ndarray, "height width 3"], Point | None], None]


@contextmanager
def overlay_video(path: Path, size_hw: tuple[int, int], fps: float, *, tail: int = 8) -> Iterator[Draw]:
    """Opens `path` as H.264 mp4 and yields a function that marks and appends one frame, RGB uint8 of `size_hw`.

    H.264 in yuv420p has even sizes: an odd last row or column is cut. Frames follow each other evenly, at `fps`
    (25 where it is 0, not known).

    Args:
        path: mp4 file to write.
        size_hw: (height, width) of the frames.
        fps: frames per second.
        tail: number of frames before the present one whose balls stay visible.
    """
    height, width = (size // 2 * 2 for size in size_hw)
    balls: deque[Point | None] = deque(maxlen=tail + 1)
    converter = VideoReformatter()
    with av.open(str(path), "w", format="mp4") as container:
        stream = _h264(container.add_stream("libx264", Fraction(fps or 25).limit_denominator(1001)), (height, width))

        def draw(frame: UInt8[np.ndarray, "height width 3"], ball: Point | None) -> None:
            balls.append(ball)
            picture = np.array(frame[:height, :width])
            _mark(picture, balls)
            rgb = VideoFrame.from_numpy_buffer(picture, format="rgb24")
            yuv = converter.reformat(
                rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=Interpolation.FAST_BILINEAR
            )
            container.mux(stream.encode(yuv))

        yield draw
        container.mux(stream.encode(None))


def _h264(stream: VideoStream, size_hw: tuple[int, int]) -> VideoStream:
    stream.height, stream.width = size_hw
    stream.pix_fmt = "yuv420p"
    stream.options = {"preset": "ultrafast", "crf": "21"}  # it is looked at once; slower presets halve the speed
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _mark(picture: UInt8[np.ndarray, "height width 3"], balls: deque[Point | None]) -> None:
    """The last of `balls` gets the ring, the ones before it dots that fade with age."""
    unit = max(min(picture.shape[:2]) / 360, 1.0)
    count = len(balls)
    for number, ball in enumerate(balls, start=1):
        share = number / count
        if ball is not None and number < count:
            draw_marker(picture, ball, TAIL, "disc", radius=2.5 * unit * share, width=1.0, opacity=share)
        elif ball is not None:
            draw_marker(picture, ball, RING, "circle", radius=7 * unit, width=1.5 * unit)
