"""Windows: a window is a list of offsets around an anchor frame."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def usable_anchors(
    available: Int[np.ndarray, " available"], labelled: Int[np.ndarray, " labelled"], offsets: Sequence[int]
) -> Int[np.ndarray, " anchors"]:
    """The labelled frames whose whole window is there.

    A window that would reach over a gap, before the first or beyond the last frame of its video is not used. Numbers of
    one video only: frames of two videos never share a window.

    Args:
        available: numbers of the frames that can be read.
        labelled: numbers of the labelled frames.
        offsets: frames of a window relative to its anchor, in any order; 0 need not be among them.

    Returns:
        int64 frame numbers in the order of `labelled`.
    """
    usable = np.ones(len(labelled), dtype=bool)
    for offset in offsets:
        usable &= np.isin(labelled + offset, available)
    return labelled[usable].astype(np.int64)


def window_frames(anchors: Int[np.ndarray, " anchors"], offsets: Sequence[int]) -> Int[np.ndarray, " anchors offsets"]:
    """Frame numbers of each anchor's window, in the order of `offsets`; int64."""
    return anchors.astype(np.int64)[:, None] + np.asarray(offsets, dtype=np.int64)
