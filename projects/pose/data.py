"""The pose data module: annotations -> pictures with people -> batches, augmented on the device."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from common.data.datamodule import PlannedDataModule
from common.data.loader import Mode
from common.data.report import Problem, report
from common.data.samples import VALID
from common.errors import BadRecordError, UserError
from projects.pose import synthetic
from projects.pose.augment import PoseAugment
from projects.pose.coco.annotations import MISSING, Annotations, PoseImage, read_annotations
from projects.pose.datasets import Part, PoseSamples
from projects.pose.folder import SPLITS, find_files, held_out, picture_folders
from projects.pose.skeleton import find_skeleton

NOBODY = "training picture without a labelled person"
"""What is left out of training: there is nothing to find in it, and often somebody whom nobody labelled."""


class PoseData(PlannedDataModule):
    """Pictures with everybody's joints, from files in COCO's format.

    Args:
        root: folder in COCO's layout: `annotations/person_keypoints_{train,val,test}<year>.json`, pictures in
            `<split><year>` or `images/<split><year>`; None makes synthetic people.
        train: annotation file to train on, relative to `root`; where one of the three is named, no other is looked for.
        val: file to validate on. Without one, `val_fraction` of the training pictures is taken.
        test: file to test on. Without one, scores are those of the validation.
        skeleton: of the annotations; the model gives it.
        size_hw: (height, width) of the network's input; the model gives it.
        val_fraction: share of the training pictures for validation, where there is no file.
        fold: validate on this one of `folds` parts of the training pictures, 0 the first, instead of `val`.
        folds: number of parts for cross-validation.
        store: folder of the synthetic people.
        batch_size: pictures per batch and rank.
        num_workers: loader threads or processes per rank; None takes 0 without a GPU, else one per core up to 8.
        workers: "threads", or processes by start method: "fork", "spawn", "forkserver".
        cache: memory per node for decoded pictures: "50%" of what is free, "8GB", bytes, or 0 for none.
        cache_folder: where that memory is; /dev/shm by default, or a folder on a local disk.
        skip_damaged: share of the training pictures that may be skipped in an epoch, 0..1, because they cannot be read;
            with 0 the first one ends the run, as in validation and test always.
        seed: of order, validation pictures and augmentation.
        augment: random changes of training pictures.
    """

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        root: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        skeleton: str = "coco",
        size_hw: tuple[int, int] = (368, 368),
        val_fraction: float = 0.1,
        fold: int | None = None,
        folds: int = 5,
        store: str = "data",
        batch_size: int = 16,
        num_workers: int | None = None,
        workers: Mode = "threads",
        cache: str | int = "50%",
        cache_folder: str | None = None,
        skip_damaged: float = 0.0,
        seed: int = 0,
        augment: PoseAugment = PoseAugment(),  # noqa: B008 - frozen
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
        if folds < 2 or (fold is not None and not 0 <= fold < folds):
            raise UserError(
                f"data.fold: found {fold} of {folds} folds; expected 0..{folds - 1} of 2 or more (data.folds)"
            )
        if fold is not None and val is not None:
            raise UserError(f"data.fold {fold} and data.val {val} both name the validation pictures; give one")
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction: found {val_fraction}; expected a share between 0 and 1")
        self.synthetic = root is None
        self.root = Path(root) if root else Path(store) / "pose" / "synthetic"
        self.given = dict(zip(SPLITS, (train, val, test), strict=True))
        self.skeleton, self.size_hw = find_skeleton(skeleton), size_hw
        self.val_fraction, self.fold, self.folds = val_fraction, fold, folds
        self.augment = augment
        self.problems: list[Problem] = []
        self.note = ""

    def prepare_data(self) -> None:
        """Makes the synthetic people if asked for, once."""
        if self.synthetic:
            synthetic.write_dataset(self.root, workers=len(os.sched_getaffinity(0)))

    def setup(self, stage: str) -> None:
        """Reads the annotations, prints what was left out; the same on every rank."""
        if self.datasets:
            return
        parts = self._divided(find_files(self.root, self.given))
        self.problems = [problem for part in parts.values() for problem in part.problems]
        self.lost_records = sorted({problem for problem in self.problems if problem.kind == MISSING})
        self.datasets = {
            split: PoseSamples(parts[split], skeleton=self.skeleton, size_hw=self.size_hw, seed=self.seed)
            for split in SPLITS
        }
        rank_zero_only(print)(self.describe(), flush=True)

    def some_frames(self, batches: int) -> Iterator[Tensor]:
        """Training frames uint8 (H, W, 3) spread evenly over the split, for statistics."""
        samples = self.datasets["train"]
        for index in np.linspace(0, len(samples) - 1, min(len(samples), batches * self.batch_size)).astype(int):
            try:
                yield samples[0, int(index)]["frame"][..., :3]
            except BadRecordError as error:
                if not self.skip_damaged:
                    raise
                rank_zero_only(print)(f"skipped in statistics: {error}", flush=True)

    def describe(self) -> str:
        """Sizes of the splits and everything that was left out, as text."""
        sizes = ", ".join(f"{len(self.datasets[split])} {split}" for split in SPLITS)
        people = {split: int(samples.visibility.any(axis=2).sum()) for split, samples in self._samples().items()}
        said = ", ".join(f"{count} {split}" for split, count in people.items())
        lines = [f"data: {self.root}: pictures: {sizes}{self.note}; people with joints: {said}", report(self.problems)]
        return "\n".join(line for line in lines if line)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: float `image` (B, 3, H, W) and `ignored` (B, 1, H, W), 0..255; in training random changes.

        What is not valid has no people and is ignored as a whole from here on, so that it counts nowhere.
        """
        planes = batch["frame"].permute(0, 3, 1, 2).contiguous().float()
        image, ignored = planes[:, :3], planes[:, 3:]
        points_xy, visibility = batch["points_xy"], batch["visibility"]
        if self.trainer is not None and self.trainer.training:
            image, ignored, points_xy, visibility = self.augment(
                image, ignored, points_xy, visibility, batch["seed"], skeleton=self.skeleton
            )
        valid = batch[VALID]
        known = {
            "image": image,
            "ignored": ignored.masked_fill(~valid[:, None, None, None], 255),
            "points_xy": points_xy,
            "visibility": visibility * valid[:, None, None],
        }
        return {name: values for name, values in batch.items() if name != "frame"} | known

    def _samples(self) -> dict[str, PoseSamples]:
        return {split: samples for split, samples in self.datasets.items() if isinstance(samples, PoseSamples)}

    def _divided(self, files: dict[str, Path]) -> dict[str, Part]:
        """The splits; training pictures without people are left out."""
        found = {
            split: read_annotations(file, skeleton=self.skeleton, folders=picture_folders(self.root, file, split))
            for split, file in files.items()
        }
        parts = {split: _part(annotations, annotations.images) for split, annotations in found.items()}
        if "train" in found:
            peopled = [image for image in found["train"].images if image.visibility.any()]
            left_out = [_nobody(found["train"], image) for image in found["train"].images if not image.visibility.any()]
            parts["train"] = _part(found["train"], peopled, left_out)
            if "val" not in found or self.fold is not None:
                parts |= self._held_out(found["train"], peopled, left_out)
        return {split: parts.get(split, _NOTHING) for split in SPLITS}

    def _held_out(self, source: Annotations, images: list[PoseImage], left_out: list[Problem]) -> dict[str, Part]:
        chosen, said = held_out(len(images), share=self.val_fraction, seed=self.seed, fold=self.fold, folds=self.folds)
        self.note = f" (val: {said})"
        train = [image for place, image in enumerate(images) if place not in chosen]
        return {
            "train": _part(source, train, left_out),
            "val": _part(source, [image for place, image in enumerate(images) if place in chosen]),
        }


_NOTHING = Part([], {"images": [], "annotations": [], "categories": []}, Path(), [])


def _part(source: Annotations, images: list[PoseImage], left_out: list[Problem] | None = None) -> Part:
    return Part(images, _restricted(source.ground_truth, images), source.path, [*source.problems, *(left_out or [])])


def _restricted(ground_truth: dict[str, Any], images: list[PoseImage]) -> dict[str, Any]:
    """The annotations of some pictures."""
    ids = {image.id for image in images}
    return ground_truth | {
        "images": [image for image in ground_truth["images"] if image["id"] in ids],
        "annotations": [one for one in ground_truth["annotations"] if one["image_id"] in ids],
    }


def _nobody(source: Annotations, image: PoseImage) -> Problem:
    return Problem(source.path, NOBODY, f"{image.path.name} (id {image.id})")
