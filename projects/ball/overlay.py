"""Overlay video: the frames of a video with a ring at the ball and a short fading tail behind it."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from common.figures import Point, draw_marker
from common.film import even_film

RING, TAIL = (255, 235, 60), (255, 130, 40)

Draw = Callable[[UInt8[np.ndarray, "height width 3"], Point | None], None]


@contextmanager
def overlay_video(path: Path, size_hw: tuple[int, int], fps: float, *, tail: int = 8) -> Iterator[Draw]:
    """Opens `path` as H.264 mp4 and yields a function that marks and appends one frame, RGB uint8 of `size_hw`.

    Args:
        path: mp4 file to write; see `even_film`.
        size_hw: (height, width) of the frames.
        fps: frames per second.
        tail: number of frames before the present one whose balls stay visible.
    """
    balls: deque[Point | None] = deque(maxlen=tail + 1)
    with even_film(path, size_hw, fps) as append:

        def draw(frame: UInt8[np.ndarray, "height width 3"], ball: Point | None) -> None:
            balls.append(ball)
            picture = np.array(frame)
            _mark(picture, balls)
            append(picture)

        yield draw


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
