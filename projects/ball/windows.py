"""Clips -> windows: frame numbers and labels of every sample, as arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from common.data.windows import usable_anchors
from projects.ball.clips import Clip
from projects.ball.labels import BallLabels


class BallWindows(NamedTuple):
    """Windows of one clip, one row per labelled frame whose neighbours all exist.

    Points are in pixels of the video, (0, 0) where the ball is not visible.
    """

    frames: Int64[np.ndarray, "windows time"]
    points_xy: Float32[np.ndarray, "windows time 2"]
    visible: Bool[np.ndarray, "windows time"]
    labelled: Bool[np.ndarray, "windows time"]


def windows_of(clip: Clip, available: Int64[np.ndarray, " frames"], offsets: Sequence[int]) -> BallWindows:
    """Every window of `clip` around a labelled frame.

    Args:
        clip: its labels name the anchors.
        available: sorted numbers of the frames that can be read.
        offsets: frames of the window, relative to the labelled one.
    """
    labels = clip.labels
    anchors = usable_anchors(available, labels.frames, offsets)
    frames = anchors[:, None] + np.asarray(offsets, dtype=np.int64)
    row, labelled = _rows(labels, frames)
    visible = labelled & labels.visible[row]
    points = np.where(visible[..., None], labels.points_xy[row], np.float32(0))
    return BallWindows(frames, points, visible, labelled)


def split_by_time(windows: BallWindows, fraction: float) -> tuple[BallWindows, BallWindows]:
    """The first and the last windows of a clip, without a frame in common.

    Windows that reach across the cut are in neither part: their frames would be seen in training and scored.
    """
    order = np.argsort(windows.frames[:, 0], kind="stable")
    late = order[round(len(order) * (1 - fraction)) :]
    if not len(late):
        return windows, select(windows, late)
    early = windows.frames.max(axis=1) < windows.frames[late].min()
    return select(windows, np.flatnonzero(early)), select(windows, np.sort(late))


def select(windows: BallWindows, rows: Int64[np.ndarray, " rows"]) -> BallWindows:
    """The given rows of `windows`."""
    return BallWindows(*(array[rows] for array in windows))


def _rows(
    labels: BallLabels, frames: Int64[np.ndarray, "windows time"]
) -> tuple[Int64[np.ndarray, "windows time"], Bool[np.ndarray, "windows time"]]:
    """Row of the label of each frame, and whether there is one."""
    if not len(labels.frames):
        return np.zeros_like(frames), np.zeros(frames.shape, dtype=bool)
    row = np.searchsorted(labels.frames, frames).clip(max=len(labels.frames) - 1)
    return row, labels.frames[row] == frames
