"""Planned epochs as Lightning loaders."""

import os
from collections.abc import Mapping, Sized
from typing import Any, Protocol

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from common.data.plan import EpochSampler
from common.errors import UserError


class Plannable(Sized, Protocol):
    """A map-style dataset whose keys are (epoch, index)."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """One sample; what is random in it depends on the key alone."""
        ...


class PlannedDataModule(LightningDataModule):
    """Loaders over `datasets`, sharded over ranks by `EpochSampler`.

    A subclass fills `datasets` in `setup`. Training shards are equal in length; the others are exact: on any number of
    ranks each sample is scored once.

    Args:
        batch_size: samples per batch and rank.
        num_workers: loader processes per rank; None takes 0 where there is no GPU to keep busy, else one per core up
            to 8.
        seed: of the order of the epochs and of each sample's randomness.
    """

    def __init__(self, *, batch_size: int, num_workers: int | None, seed: int) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.num_workers = _default_workers() if num_workers is None else num_workers
        self.datasets: Mapping[str, Plannable] = {}

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled anew each epoch; the last incomplete batch is left to the next epoch's other order."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order, exact."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """In order, exact."""
        return self.loader("test")

    def loader(self, split: str, *, shuffle: bool = False) -> DataLoader[dict[str, Any]]:
        """The loader of one split; a `UserError` where the split is empty."""
        samples = self.datasets[split]
        if not len(samples):
            raise UserError(f"data: the {split} split holds no sample; the report above says what was left out and why")
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(samples), seed=self.seed, shuffle=shuffle, rank=rank, world=world, equal=shuffle)
        dataset: Dataset[dict[str, Any]] = samples  # type: ignore[assignment] # keys are pairs, not int
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            drop_last=shuffle and len(sampler) >= self.batch_size,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )


def _default_workers() -> int:
    return min(8, len(os.sched_getaffinity(0))) if torch.cuda.is_available() else 0
