"""The ball's data module: folder -> clips -> frames -> windows -> batches, augmented on the device."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from common.data.augment import WindowAugment
from common.data.datamodule import PlannedDataModule
from common.data.frames import FrameRecords, Frames
from common.data.loader import Mode
from common.data.plan import sample_seeds
from common.data.report import Problem, report
from common.data.samples import VALID, Field, RecordSamples
from common.data.shard import LISTINGS
from common.data.store import LOST_SHARD, FrameStore, VideoFrames, prepare
from common.errors import BadRecordError, UserError
from projects.ball import synthetic
from projects.ball.augment import mask_ball
from projects.ball.clips import Clip, find_clips
from projects.ball.folds import ClipWindows, by_fold, by_share
from projects.ball.windows import BallWindows, windows_of

_LOST_VIDEO = "video that cannot be read"
"""What `find_clips` calls it."""


class BallWindowDataset(RecordSamples):
    """Windows of clips.

    A sample holds `frames` uint8 (T, H, W, 3); `window_xy` float32 (T, 2) in pixels of these frames, (0, 0) where not
    visible; `window_visible` and `window_labelled` bool (T,); `anchor`, the position of the target frame in the
    window; `scale_xy` float32 (2,), pixels of the video per pixel of these frames; `index` and `seed`, int64.

    Args:
        parts: at least one clip, with its windows.
        frames: reads them.
        size_hw: (height, width) of the frames.
        anchor: position of the target frame in a window.
        seed: of each sample's randomness.
        content: names the videos, alike on all ranks.
    """

    def __init__(
        self,
        parts: Sequence[ClipWindows],
        *,
        frames: Frames,
        size_hw: tuple[int, int],
        anchor: int,
        seed: int,
        content: str,
    ) -> None:
        self.parts, self.size_hw, self.anchor, self.seed = list(parts), size_hw, anchor, seed
        wanted = {clip.name: windows.frames.ravel() for clip, windows in parts}
        source = FrameRecords(frames, wanted, size_hw=size_hw, content=content)
        reads = [source.records(clip.name, windows.frames) for clip, windows in parts]
        super().__init__(source, np.concatenate(reads) if reads else np.empty((0, 1), dtype=np.int64))
        self._ends = np.cumsum([len(part.windows.frames) for part in self.parts], dtype=np.int64)
        self._labels = self._concatenated() if reads else {}

    def _concatenated(self) -> dict[str, np.ndarray]:
        counts = np.diff(self._ends, prepend=0)
        scale_xy = np.array([np.divide(clip.size_hw, self.size_hw)[::-1] for clip, _ in self.parts], dtype=np.float32)
        scale_xy = np.repeat(scale_xy, counts, axis=0)
        windows = BallWindows(*map(np.concatenate, zip(*(part.windows for part in self.parts), strict=True)))
        points = (windows.points_xy + 0.5) / scale_xy[:, None] - 0.5
        return {
            "window_xy": np.where(windows.visible[..., None], points, 0).astype(np.float32),
            "window_visible": windows.visible,
            "window_labelled": windows.labelled,
            "scale_xy": scale_xy,
        }

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a sample."""
        time, numbers = self.reads.shape[1], dict.fromkeys(("anchor", "index", "seed"), Field((), np.int64))
        labels = {name: Field(array.shape[1:], array.dtype) for name, array in self._labels.items()}
        return {"frames": Field((time, *self.size_hw, 3), np.uint8), **labels, **numbers}

    def fetch(self, epoch: int, indices: Int64[np.ndarray, " n"], out: Mapping[str, np.ndarray]) -> None:
        """Writes samples into a batch."""
        self.gather(epoch, indices, out["frames"])
        for name, array in self._labels.items():
            np.take(array, indices, axis=0, out=out[name])
        out["anchor"][:], out["index"][:] = self.anchor, indices
        out["seed"][:] = sample_seeds(indices, seed=self.seed, epoch=epoch)

    def source_of(self, index: int) -> tuple[str, int]:
        """Clip and number of the target frame of a sample: what error messages and pictures call it."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        clip, windows = self.parts[part]
        return clip.name, int(windows.frames[index - (int(self._ends[part - 1]) if part else 0), self.anchor])


class BallData(PlannedDataModule):
    """Windows of video frames with the ball's place.

    Args:
        root: folder with videos and annotations (OpenTTGames or TrackNet layout); None makes synthetic rallies.
        offsets: frames of a window relative to the target frame; the model gives them.
        size_hw: (height, width) of the network's input; the model gives it.
        test_videos: names of videos to test on, besides those in a `test` folder.
        val_videos: names of videos to validate on. Without any, `val_fraction` of the training videos is taken, or,
            where that is less than half a video, the last part of each.
        val_fraction: share of the training videos, or of their time, for validation.
        fold: validate on this one of `folds` parts of the training videos, 0 the first, instead of `val_fraction`; with
            fewer videos than folds, on a part of each video's time.
        folds: number of parts for cross-validation.
        frames: "store" decodes the needed frames once, to a store on disk; "video" decodes in every epoch.
        store: folder of the store and of the synthetic rallies.
        batch_size: windows per batch and rank.
        num_workers: loader threads or processes per rank; None takes 0 without a GPU, else one per core up to 8.
        workers: "threads", or processes by start method: "fork", "spawn", "forkserver".
        cache: memory per node for frames: "50%" of what is free, "8GB", bytes, or 0 for none.
        cache_folder: where that memory is; /dev/shm by default, or a folder on a local disk.
        skip_damaged: share of the training windows that may be skipped in an epoch, 0..1, because a frame of theirs
            cannot be read; with 0 the first one ends the run, as in validation and test always.
        seed: of order, validation videos and augmentation.
        augment: random changes of training windows.
        mask_ball: probability that the ball is painted away from a training window, which teaches against false alarms.
        ball_radius: in pixels of the network's input, for painting.
    """

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        root: str | None = None,
        offsets: Sequence[int] = (-1, 0, 1),
        size_hw: tuple[int, int] = (288, 512),
        test_videos: Sequence[str] = (),
        val_videos: Sequence[str] = (),
        val_fraction: float = 0.15,
        fold: int | None = None,
        folds: int = 5,
        frames: Literal["store", "video"] = "store",
        store: str = "data",
        batch_size: int = 16,
        num_workers: int | None = None,
        workers: Mode = "threads",
        cache: str | int = "50%",
        cache_folder: str | None = None,
        skip_damaged: float = 0.0,
        seed: int = 0,
        augment: WindowAugment = WindowAugment(),  # noqa: B008 - frozen
        mask_ball: float = 0.2,
        ball_radius: float = 5.0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            workers=workers,
            cache=cache,
            cache_folder=cache_folder,
            skip_damaged=skip_damaged,
        )
        _check_fold(fold, folds, val_videos)
        if 0 not in offsets or len(set(offsets)) != len(offsets):
            raise UserError(
                f"offsets: found {list(offsets)}; expected different frame offsets with 0, the target, among them"
            )
        self.root = Path(root) if root else Path(store) / "ball" / "synthetic"
        self.synthetic = root is None
        self.offsets, self.size_hw = tuple(offsets), size_hw
        self.test_videos, self.val_videos = test_videos, val_videos
        self.val_fraction, self.fold, self.folds = val_fraction, fold, folds
        self.source, self.folder = frames, _store_folder(Path(store), self.root)
        self.augment, self.mask_ball, self.ball_radius = augment, mask_ball, ball_radius
        self.problems: list[Problem] = []
        self.split_note = ""

    def prepare_data(self) -> None:
        """Makes the synthetic rallies if asked for, and decodes the frames that windows need; both once."""
        if self.synthetic:
            synthetic.write_dataset(self.root, workers=_cores())
        if self.source == "store":
            clips, _ = self._clips()
            wanted, tolerant = self._wanted(clips), self.checking
            prepare(wanted, folder=self.folder, size_hw=self.size_hw, workers=_cores(), tolerant=tolerant)

    def setup(self, stage: str) -> None:
        """Reads labels, builds windows, prints what was left out; the same on every rank."""
        if self.datasets:
            return
        clips, problems = self._clips()
        frames, lost = self._frames(clips)
        self.problems = problems + lost
        self.lost_files = [problem for problem in self.problems if problem.kind in (_LOST_VIDEO, LOST_SHARD)]
        self.lost_records = [problem for problem in lost if problem.kind != LOST_SHARD]
        parts = [ClipWindows(clip, windows_of(clip, frames.frames(clip.name), self.offsets)) for clip in clips]
        splits = self._split(parts)
        anchor = self.offsets.index(0)
        self.datasets = {
            name: BallWindowDataset(
                part,
                frames=frames,
                size_hw=self.size_hw,
                anchor=anchor,
                seed=self.seed,
                content=str(self.root.resolve()),
            )
            for name, part in splits.items()
        }
        rank_zero_only(print)(self.describe(), flush=True)

    def some_frames(self, batches: int) -> Iterator[Tensor]:
        """Training frames uint8 (T, H, W, 3) spread evenly over the split, for statistics."""
        samples = self.datasets["train"]
        for index in np.linspace(0, len(samples) - 1, min(len(samples), batches * self.batch_size)).astype(int):
            try:
                yield samples[0, int(index)]["frames"]
            except BadRecordError as error:
                if not self.skip_damaged:
                    raise
                rank_zero_only(print)(f"skipped in statistics: {error}", flush=True)

    def describe(self) -> str:
        """Sizes of the splits and everything that was left out, as text."""
        sizes = ", ".join(f"{len(samples)} {name}" for name, samples in self.datasets.items())
        lines = [
            f"data: {self.root}: windows of {len(self.offsets)} frames: {sizes}{self.split_note}",
            report(self.problems),
        ]
        return "\n".join(line for line in lines if line)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: float frames (B, T, 3, H, W), 0..255; in training also the random changes.

        What is not valid has no label from here on, so that it counts nowhere.
        """
        frames = batch["frames"].permute(0, 1, 4, 2, 3).contiguous().float()
        points, visible, seeds = batch["window_xy"], batch["window_visible"], batch["seed"]
        labelled = batch["window_labelled"] & batch[VALID][:, None]
        if self.trainer is not None and self.trainer.training:
            frames, visible = mask_ball(
                frames,
                points,
                visible,
                labelled,
                seeds,
                probability=self.mask_ball,
                radius=self.ball_radius,
            )
            frames, points, visible = self.augment(frames, points, visible, seeds)
        return batch | {
            "frames": frames,
            "window_xy": points,
            "window_visible": visible,
            "window_labelled": labelled,
        }

    def _clips(self) -> tuple[list[Clip], list[Problem]]:
        listings = self.folder / LISTINGS
        return find_clips(self.root, test_videos=self.test_videos, val_videos=self.val_videos, listings=listings)

    def _wanted(self, clips: Sequence[Clip]) -> Mapping[str, tuple[Path, Sequence[int]]]:
        """Frames that some window needs; those beyond either end are no frames."""
        offsets = np.asarray(self.offsets)
        frames = {clip.name: np.unique(clip.labels.frames[:, None] + offsets) for clip in clips}
        return {clip.name: (clip.path, frames[clip.name][frames[clip.name] >= 0].tolist()) for clip in clips}

    def _frames(self, clips: Sequence[Clip]) -> tuple[Frames, list[Problem]]:
        if self.source == "video" or not clips:
            return VideoFrames(
                {clip.name: clip.path for clip in clips}, self.size_hw, listings=self.folder / LISTINGS
            ), []
        wanted = self._wanted(clips)
        folder, size_hw, tolerant = self.folder, self.size_hw, self.checking
        problems = prepare(wanted, folder=folder, size_hw=size_hw, workers=1, progress=False, tolerant=tolerant)
        return FrameStore(folder, size_hw, tolerant=tolerant), problems

    def _split(self, parts: Sequence[ClipWindows]) -> dict[str, list[ClipWindows]]:
        splits = {name: [part for part in parts if part.clip.split == name] for name in ("train", "val", "test")}
        if splits["val"]:
            if self.fold is not None:
                named = [part.clip.name for part in splits["val"]][:3]
                raise UserError(
                    f"data.fold: found {self.fold}, but {named} are said to be for validation (a list val.csv, or "
                    "data.val_videos); give one of both"
                )
            return splits
        division = (
            by_share(splits["train"], self.val_fraction, seed=self.seed)
            if self.fold is None
            else by_fold(splits["train"], fold=self.fold, folds=self.folds)
        )
        self.split_note = f" (val: {division.note})"
        return splits | {"train": division.train, "val": division.val}


def _check_fold(fold: int | None, folds: int, val_videos: Sequence[str]) -> None:
    if folds < 2:
        raise UserError(f"folds: found {folds}; expected 2 or more")
    if fold is None:
        return
    if not 0 <= fold < folds:
        raise UserError(f"fold: found {fold}; expected 0..{folds - 1}, one of {folds} folds (data.folds)")
    if val_videos:
        raise UserError(f"fold {fold} and val_videos {list(val_videos)} both name the validation videos; give one")


def _store_folder(store: Path, root: Path) -> Path:
    """Beside other data, never inside the user's own folder, which may be read-only."""
    return store / "ball" / "frames" / f"{root.name}-{hashlib.sha1(str(root.resolve()).encode()).hexdigest()[:8]}"


def _cores() -> int:
    return len(os.sched_getaffinity(0))
