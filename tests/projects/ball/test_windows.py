from pathlib import Path

import numpy as np

from projects.ball.clips import Clip
from projects.ball.labels import BallLabels
from projects.ball.windows import split_by_time, windows_of


def _clip(frames: list[int], absent: tuple[int, ...] = ()) -> Clip:
    visible = np.array([frame not in absent for frame in frames], dtype=bool)
    points = np.array([(frame, 2 * frame) if seen else (0, 0) for frame, seen in zip(frames, visible, strict=True)])
    labels = BallLabels(np.array(frames, dtype=np.int64), points.reshape(-1, 2).astype(np.float32), visible, {})
    return Clip("game", Path("game.mp4"), "train", (360, 640), labels)


def test_windows_take_unlabelled_neighbours_from_the_video() -> None:
    windows = windows_of(_clip([4, 5, 9], absent=(5,)), np.arange(10), (-1, 0, 1))
    assert windows.frames.tolist() == [[3, 4, 5], [4, 5, 6]]  # frame 10, after 9, is not there
    assert windows.labelled.tolist() == [[False, True, True], [True, True, False]]
    assert windows.visible.tolist() == [[False, True, False], [True, False, False]]
    assert windows.points_xy[0].tolist() == [[0, 0], [4, 8], [0, 0]]


def test_a_gap_ends_a_window() -> None:
    windows = windows_of(_clip([2, 3, 6]), np.array([0, 1, 2, 3, 5, 6, 7]), (-1, 0))
    assert windows.frames.tolist() == [[1, 2], [2, 3], [5, 6]]
    assert windows_of(_clip([2, 3, 6]), np.array([0, 1, 2, 3, 5, 6, 7]), (-2, 0)).frames.tolist() == [[0, 2], [1, 3]]


def test_a_clip_without_labels_has_no_window() -> None:
    assert windows_of(_clip([]), np.arange(10), (-1, 0, 1)).frames.shape == (0, 3)


def test_split_by_time_shares_no_frame() -> None:
    early, late = split_by_time(windows_of(_clip(list(range(2, 30))), np.arange(40), (-2, 0, 2)), 0.25)
    assert late.frames[:, 1].tolist() == list(range(23, 30))
    assert early.frames[:, 1].tolist() == list(range(2, 19))  # 19 would show frame 21, the first of the late part
    assert not set(early.frames.ravel()) & set(late.frames.ravel())
