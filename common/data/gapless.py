"""Every frame of a video, whatever of it is damaged."""

from collections.abc import Iterator
from itertools import repeat

import numpy as np
from jaxtyping import UInt8

from common.data.read import Video
from common.errors import UserError

Frame = UInt8[np.ndarray, "height width 3"]


def gapless_frames(video: Video, size_hw: tuple[int, int] | None = None) -> Iterator[tuple[Frame, bool]]:
    """Every frame and whether it could be decoded; if not, it is the one before, or the first that could.

    Args:
        video: is opened for itself.
        size_hw: (height, width) of the frames; the video's own if None.

    Raises:
        UserError: not one frame can be decoded.
    """
    shown, last = 0, None
    for number, frame in video.frames(range(len(video)), size_hw):
        yield from repeat((frame if last is None else last, False), number - shown)
        yield frame, True
        shown, last = number + 1, frame
    if last is None:
        raise UserError(f"{video.path}: none of its {len(video)} frames can be decoded; is the file complete?")
    yield from repeat((last, False), len(video) - shown)
