"""Which windows are for validation, with literal answers."""

from pathlib import Path

import numpy as np
import pytest

from projects.ball.clips import Clip
from projects.ball.folds import ClipWindows, Division, by_fold, by_share, fold_by_time
from projects.ball.labels import BallLabels
from projects.ball.windows import BallWindows


def windows(count: int) -> BallWindows:
    """Windows of three frames around 1..count."""
    frames = np.arange(1, count + 1)[:, None] + np.array([-1, 0, 1])
    flags = np.ones((count, 3), dtype=bool)
    return BallWindows(frames, np.zeros((count, 3, 2), np.float32), flags, flags)


def videos(count: int, each: int = 10) -> list[ClipWindows]:
    labels = BallLabels(np.empty(0, np.int64), np.empty((0, 2), np.float32), np.empty(0, dtype=bool))
    clips = [Clip(f"game_{n}", Path(f"{n}.mp4"), "train", (90, 160), labels) for n in range(count)]
    return [ClipWindows(clip, windows(each)) for clip in clips]


def names(parts: list[ClipWindows]) -> list[str]:
    return [part.clip.name for part in parts]


def anchors(parts: list[ClipWindows]) -> list[list[int]]:
    return [part.windows.frames[:, 1].tolist() for part in parts]


def test_a_fold_is_a_run_of_videos() -> None:
    parts = videos(5)
    divisions = [by_fold(parts, fold=fold, folds=3) for fold in range(3)]
    assert [names(division.val) for division in divisions] == [["game_0"], ["game_1", "game_2"], ["game_3", "game_4"]]
    assert [names(division.train) for division in divisions] == [
        ["game_1", "game_2", "game_3", "game_4"],
        ["game_0", "game_3", "game_4"],
        ["game_0", "game_1", "game_2"],
    ]
    assert divisions[1].note == "fold 1 of 0..2: 2 of 5 training videos"


def test_of_fewer_videos_than_folds_a_part_of_the_time_is_taken() -> None:
    divisions = [by_fold(videos(2), fold=fold, folds=3) for fold in range(3)]
    assert [anchors(division.val)[0] for division in divisions] == [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10]]
    # The neighbours of a part share frames with it, two on each side.
    assert [anchors(division.train)[0] for division in divisions] == [
        [6, 7, 8, 9, 10],
        [1, 9, 10],
        [1, 2, 3, 4],
    ]
    assert [anchors(division.val)[1] for division in divisions] == [anchors(division.val)[0] for division in divisions]
    expected = "fold 1 of 0..2: part 2 of 3 of each video's time, as 2 training videos are fewer than the folds"
    assert divisions[1].note == expected


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_video_with_fewer_windows_than_folds(count: int) -> None:
    pieces = [fold_by_time(windows(count), fold=fold, folds=4) for fold in range(4)]
    assert sorted(anchor for _, inside in pieces for anchor in inside.frames[:, 1].tolist()) == list(
        range(1, count + 1)
    )
    assert all(len(rest.frames) == count for rest, inside in pieces if not len(inside.frames))


def test_a_share_is_of_videos_or_of_time() -> None:
    division = by_share(videos(10), 0.2, seed=0)
    assert (names(division.val), division.note) == (["game_4", "game_6"], "2 of 10 training videos")
    assert names(division.train) == [f"game_{n}" for n in (0, 1, 2, 3, 5, 7, 8, 9)]
    late: Division = by_share(videos(2), 0.2, seed=0)
    assert anchors(late.val) == [[9, 10]] * 2
    assert anchors(late.train) == [[1, 2, 3, 4, 5, 6]] * 2
    assert late.note == "the last 20% of each training video"
