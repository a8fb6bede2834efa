"""The clouds' data module: folder -> scenes with masks -> blocks -> tiles -> batches, augmented on the device."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from common.data.blocks import MISSING, NOT_COUNTED, BlockRecords
from common.data.datamodule import PlannedDataModule
from common.data.loader import BatchLoader, Mode
from common.data.map_augment import MapAugment
from common.data.random_tiles import RandomTiles, block_side
from common.data.report import Problem, report
from common.data.samples import VALID
from common.errors import BadRecordError, UserError
from projects.clouds import synthetic
from projects.clouds.augment import Haze
from projects.clouds.datasets import WholeScenes
from projects.clouds.folder import Division, divide, open_scenes
from projects.clouds.scenes import Classes


class CloudData(PlannedDataModule):
    """Tiles of satellite scenes with masks for training, whole scenes for validation and test.

    Args:
        root: folder with `scenes` (or `subscenes`) and `masks`, and lists in `filelists`; None makes synthetic scenes.
        bands: names of the bands to read, in order; the model gives them.
        tile_hw: (height, width) of a tile; the model gives it.
        band_names: of the channels of files that do not name them; None goes by their number, see `common.data.scenes`.
        classes: what the classes of the masks mean.
        val_fraction: share of the scenes for validation, where there are no lists.
        test_fraction: share of the scenes for the test, where there are no lists.
        group: regular expression; files for which it finds the same text never part. None goes by product names.
        fold: validate on this one of `folds` parts of the scenes that are not for the test, 0 the first; over all
            folds, each of them is for validation once.
        folds: number of parts for cross-validation.
        store: folder of the synthetic scenes.
        batch_size: tiles per batch and rank.
        num_workers: loader threads or processes per rank; None takes 0 without a GPU, else one per core up to 8.
        workers: "threads", or processes by start method: "fork", "spawn", "forkserver".
        cache: memory per node for blocks of scenes: "50%" of what is free, "8GB", bytes, or 0 for none.
        cache_folder: where that memory is; /dev/shm by default, or a folder on a local disk.
        skip_damaged: share of the training tiles that may be skipped in an epoch, 0..1, because a part of their scene
            cannot be read; with 0 the first one ends the run, as in validation and test always.
        seed: of order, split, places of tiles and augmentation.
        augment: random changes of training tiles that move the mask along.
        haze: synthetic haze over training tiles, which leaves the mask as it is.
    """

    fills_first = False  # a scene is mapped, not decoded: what an epoch needs first is there at once

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        root: str | None = None,
        bands: Sequence[str] = ("B4", "B3", "B2", "B8"),
        tile_hw: tuple[int, int] = (256, 256),
        band_names: Sequence[str] | None = None,
        classes: Classes = Classes(),  # noqa: B008 - frozen
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        group: str | None = None,
        fold: int | None = None,
        folds: int = 5,
        store: str = "data",
        batch_size: int = 8,
        num_workers: int | None = None,
        workers: Mode = "threads",
        cache: str | int = "50%",
        cache_folder: str | None = None,
        skip_damaged: float = 0.0,
        seed: int = 0,
        augment: MapAugment = MapAugment(),  # noqa: B008 - frozen
        haze: Haze = Haze(),  # noqa: B008 - frozen
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
        self.synthetic = root is None
        self.root = Path(root) if root else Path(store) / "clouds" / "synthetic"
        self.bands, self.tile_hw, self.band_names = tuple(bands), tile_hw, band_names
        self.classes = classes
        self.division = Division(seed=seed, val=val_fraction, test=test_fraction, group=group, fold=fold, folds=folds)
        self.augment, self.haze = augment, haze
        self.problems: list[Problem] = []
        self.note = ""

    def prepare_data(self) -> None:
        """Makes the synthetic scenes if asked for, once."""
        if self.synthetic:
            synthetic.write_dataset(self.root, workers=len(os.sched_getaffinity(0)))

    def setup(self, stage: str) -> None:
        """Finds scenes and masks, reads their headers, prints what was left out; the same on every rank."""
        if self.datasets:
            return
        divided = divide(self.root, self.division)
        scenes, self.lost_files = open_scenes(
            divided.pairs, bands=self.bands, band_names=self.band_names, classes=self.classes, tolerant=self.checking
        )
        self.problems, self.note = divided.problems + self.lost_files, divided.note
        kinds = [scene.scene.dtype for scene in scenes["train"]] or [np.dtype(np.float32)]
        records = {
            split: BlockRecords(
                part,
                channels=len(self.bands),
                kind=np.result_type(*kinds),
                side_hw=block_side(self.tile_hw),
                content=f"{self.root.resolve()} {self.bands} {self.classes}",
            )
            for split, part in scenes.items()
        }
        train = RandomTiles(records["train"], tile_hw=self.tile_hw, seed=self.seed)
        whole = {split: WholeScenes(scenes[split], records[split]) for split in ("val", "test")}
        self.datasets = {"train": train, **whole}
        if self.haze.probability and self.haze.strength:
            self.haze.weights(self.bands)  # an unknown band is an error before training
        rank_zero_only(print)(self.describe(), flush=True)

    def val_dataloader(self) -> BatchLoader:
        """Scene by scene, each valid once."""
        return self.loader("val", batch_size=1)

    def test_dataloader(self) -> BatchLoader:
        """Scene by scene, each valid once."""
        return self.loader("test", batch_size=1)

    def some_tiles(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Training tiles spread evenly over the split, for statistics: float32 (1, bands, H, W) with NaN, labels."""
        samples = self.datasets["train"]
        for index in np.linspace(0, len(samples) - 1, min(len(samples), count)).astype(int):
            try:
                tile = samples[0, int(index)]
            except BadRecordError as error:
                if not self.skip_damaged:
                    raise
                rank_zero_only(print)(f"skipped in statistics: {error}", flush=True)
                continue
            label = tile["label"]
            image = torch.where(label == MISSING, torch.nan, tile["image"].float())
            yield image[None], torch.where(label == MISSING, NOT_COUNTED, label)[None]

    def describe(self) -> str:
        """Sizes of the splits and everything that was left out, as text."""
        train, rest = self.datasets["train"], [f"{len(self.datasets[name])} {name}" for name in ("val", "test")]
        assert isinstance(train, RandomTiles)
        scenes = f"{len(train.blocks.scenes)} train scenes ({len(train):,} tiles an epoch), {', '.join(rest)} scenes"
        lines = [f"data: {self.root}: {scenes}{self.note}", report(self.problems)]
        return "\n".join(line for line in lines if line)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """On the device: float32 images, labels without `MISSING`; in training also the random changes.

        Missing values become the mean, so that nothing spreads from them; their labels and those of a row that is not
        valid count nowhere from here on.
        """
        if "image" not in batch:
            return batch
        module: Any = self.trainer.lightning_module  # type: ignore[union-attr] # tiles come in training alone
        label, standardizer = batch["label"], module.standardizer
        missing = (label == MISSING)[:, None]
        image = torch.where(missing, standardizer.mean[:, None, None], batch["image"].float())
        label = torch.where(missing[:, 0] | ~batch[VALID][:, None, None], NOT_COUNTED, label)
        if self.trainer is not None and self.trainer.training:  # nor in its sanity check
            image, label = self.augment(image, label, batch["seed"])
            image = self.haze(image, batch["seed"], unit=standardizer.std, bands=self.bands)
        return batch | {"image": image, "label": label}
