"""Which windows are for validation: some videos, or a part of each video's time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.data.folds import fold_range
from projects.ball.clips import Clip
from projects.ball.windows import BallWindows, select, split_by_time


class ClipWindows(NamedTuple):
    """The windows of one clip."""

    clip: Clip
    windows: BallWindows


class Division(NamedTuple):
    """Training windows divided into two parts without a frame in common, and how, in words."""

    train: list[ClipWindows]
    val: list[ClipWindows]
    note: str


def by_share(parts: Sequence[ClipWindows], share: float, *, seed: int) -> Division:
    """A random share of the videos; where that is less than half a video, the last part of each."""
    count = round(share * len(parts))
    if not count:
        halves = [(part.clip, split_by_time(part.windows, share)) for part in parts]
        train = [ClipWindows(clip, early) for clip, (early, _) in halves]
        val = [ClipWindows(clip, late) for clip, (_, late) in halves]
        return Division(train, val, f"the last {share:.0%} of each training video")
    order = np.random.default_rng(seed).permutation(len(parts))
    return _by_videos(parts, set(order[:count].tolist()), note=f"{count} of {len(parts)} training videos")


def by_fold(parts: Sequence[ClipWindows], *, fold: int, folds: int) -> Division:
    """One of `folds` equal runs of videos in the order of their names; with fewer videos, of each video's time.

    It depends on no seed: over the folds, each video (or moment) is for validation once.
    """
    name = f"fold {fold} of 0..{folds - 1}"
    if len(parts) >= folds:
        chosen = set(fold_range(len(parts), fold=fold, folds=folds))
        return _by_videos(parts, chosen, note=f"{name}: {len(chosen)} of {len(parts)} training videos")
    pieces = [(part.clip, fold_by_time(part.windows, fold=fold, folds=folds)) for part in parts]
    train = [ClipWindows(clip, rest) for clip, (rest, _) in pieces]
    val = [ClipWindows(clip, piece) for clip, (_, piece) in pieces]
    count = f"{len(parts)} training videos are fewer than the folds"
    return Division(train, val, f"{name}: part {fold + 1} of {folds} of each video's time, as {count}")


def fold_by_time(windows: BallWindows, *, fold: int, folds: int) -> tuple[BallWindows, BallWindows]:
    """The windows outside and inside of one of `folds` parts of a clip's time, without a frame in common.

    Windows outside that reach into the part are in neither.
    """
    order = np.argsort(windows.frames[:, 0], kind="stable")
    inside = np.sort(order[fold_range(len(order), fold=fold, folds=folds)])
    if not len(inside):
        return windows, select(windows, inside)
    frames = windows.frames
    before, after = frames.max(axis=1) < frames[inside].min(), frames.min(axis=1) > frames[inside].max()
    return select(windows, np.flatnonzero(before | after)), select(windows, inside)


def _by_videos(parts: Sequence[ClipWindows], chosen: set[int], *, note: str) -> Division:
    train = [part for row, part in enumerate(parts) if row not in chosen]
    return Division(train, [part for row, part in enumerate(parts) if row in chosen], note)
