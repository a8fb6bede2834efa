"""Planned epochs as Lightning loaders, through a cache that knows the plan."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning import LightningDataModule

from common.data.cache import CachedRecords
from common.data.foresight import best_hit_ratio
from common.data.loader import BatchLoader, Mode
from common.data.memory import Budget, free_memory, parse_budget, show_bytes
from common.data.plan import EpochSampler, ReadPlan
from common.data.report import Problem
from common.data.samples import RecordSamples, Samples
from common.data.skips import Skips
from common.data.slab import free_space, job_name, shared_folder
from common.errors import UserError

_SMALLEST = 100_000  # bytes
_TRAINED = ("train", "val")
_PASSING = 4  # batches' worth of records that are kept for one pass, in which only neighbours share records


class PlannedDataModule(LightningDataModule):
    """Loaders over `datasets`, sharded over ranks by `EpochSampler`, cached in memory that the node shares.

    A subclass fills `datasets` in `setup`. Training shards leave out what does not divide; the others are padded, so
    that on any number of ranks each sample is valid once (see `EpochSampler`). The two ends of the cache are a budget
    that holds everything, which is then decoded once, in parallel, before the first epoch, and a budget of 0, which
    decodes as it reads.

    Args:
        batch_size: samples per batch and rank.
        num_workers: loader threads or processes per rank; None takes 0 where there is no GPU to keep busy, else one
            per core up to 8.
        seed: of the order of the epochs and of each sample's randomness.
        workers: "threads", or processes by start method: "fork", "spawn", "forkserver".
        cache: memory per node for decoded records: "50%" of what is free, "8GB", bytes, or 0. Training and validation
            records share it by their size.
        cache_folder: where that memory is; /dev/shm by default, or a folder on a local disk.
        skip_damaged: share of the training samples that may be skipped in an epoch, 0..1, because their records cannot
            be read. With 0 the first one ends the run, as in validation and test always.

    Samples that are no `RecordSamples`, such as whole scenes that are read part by part, are not cached.

    Attributes:
        fills_first: whether a cache that holds all is filled before the first epoch, in parallel, or as records are
            first needed: right where decoding costs little and reading all would take minutes.
        checking: set before `prepare_data` and `setup` by who wants what cannot be read listed, not raised.
        lost_files: that `setup` cannot open, and whose records `datasets` lack.
        lost_records: that `setup` knows it cannot read, and that `datasets` lack.
    """

    fills_first = True

    def __init__(
        self,
        *,
        batch_size: int,
        num_workers: int | None,
        seed: int,
        workers: Mode = "threads",
        cache: str | int = "50%",
        cache_folder: str | None = None,
        skip_damaged: float = 0.0,
    ) -> None:
        super().__init__()
        job_name()  # before ranks are started: they inherit it
        if batch_size < 1:
            raise UserError(f"batch_size: found {batch_size}; expected 1 or more")
        if num_workers is not None and num_workers < 0:
            raise UserError(f"num_workers: found {num_workers}; expected 0 or more")
        if not 0 <= skip_damaged <= 1:
            raise UserError(f"skip_damaged: found {skip_damaged}; expected a share of the training samples, 0..1")
        self.batch_size, self.seed, self.skip_damaged = batch_size, seed, skip_damaged
        self.num_workers = _default_workers() if num_workers is None else num_workers
        self.workers: Mode = workers
        self.budget = _budget(cache)
        self.cache_folder = Path(cache_folder) if cache_folder else shared_folder()
        if not self.cache_folder.is_dir():
            raise UserError(f"cache_folder: no folder {self.cache_folder}; make it, on a local disk or in /dev/shm")
        self.datasets: Mapping[str, Samples] = {}
        self.checking = False
        self.lost_files: list[Problem] = []
        self.lost_records: list[Problem] = []
        self._loaders: dict[str, BatchLoader] = {}
        self._allowed: int | None = None

    def train_dataloader(self) -> BatchLoader:
        """Shuffled anew each epoch; the last incomplete batch is left to the next epoch's other order."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> BatchLoader:
        """In order, each sample valid once."""
        return self.loader("val")

    def test_dataloader(self) -> BatchLoader:
        """In order, each sample valid once."""
        return self.loader("test")

    def loader(self, split: str, *, shuffle: bool = False, batch_size: int | None = None) -> BatchLoader:
        """The loader of one split, of the module's batch size or another; a `UserError` where the split is empty."""
        samples = self.datasets[split]
        if not len(samples):
            instead = "; `validate` scores the validation split" if split == "test" else ""
            raise UserError(
                f"data: the {split} split holds no sample; the report above says what was left out, if any{instead}"
            )
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(samples), seed=self.seed, shuffle=shuffle, rank=rank, world=world, equal=shuffle)
        size = batch_size or self.batch_size
        loader = BatchLoader(
            samples,
            sampler,
            batch_size=size,
            workers=self.num_workers,
            mode=self.workers,
            last="pad" if not shuffle else "drop" if len(sampler) >= size else "short",
            skips=self._skips(sampler) if shuffle else None,
        )
        self._loaders[split] = loader
        if isinstance(samples, RecordSamples):
            self._cache(split, samples, sampler, in_flight=(loader.ahead + 1) * size * world)
        return loader

    def teardown(self, stage: str) -> None:
        """Ends the loaders' workers."""
        for loader in self._loaders.values():
            loader.close()
        self._loaders.clear()

    def _cache(self, split: str, samples: RecordSamples, sampler: EpochSampler, *, in_flight: int) -> None:
        plan = ReadPlan(samples.reads, sampler, ranks=self._node_ranks(), in_flight=in_flight)
        records = samples.cache(plan, budget=self._bytes_for(split, samples), folder=self.cache_folder)
        expected = best_hit_ratio(samples.reads, share=records.share, shuffle=sampler.shuffle)
        self._prepare(split, records, samples.nbytes, expected)

    def _skips(self, sampler: EpochSampler) -> Skips | None:
        if not self.skip_damaged:
            return None
        return Skips(share=self.skip_damaged, samples=len(sampler) * sampler.world, shown=sampler.rank == 0)

    def _bytes_for(self, split: str, samples: RecordSamples) -> int:
        """The split's part of the node's budget."""
        if self._allowed is None:
            self._allowed = self.budget.of(min(free_memory().free, free_space(self.cache_folder)))
        if self._stays(split):
            trained = [self.datasets[name] for name in _TRAINED if name in self.datasets]
            needed = sum(each.nbytes for each in trained if isinstance(each, RecordSamples))
            return int(self._allowed * samples.nbytes / max(needed, 1))
        batches = _PASSING * self.batch_size * samples.reads.shape[1] / max(len(samples.source), 1)
        return int(min(self._allowed, samples.nbytes * min(batches, 1)))

    def _stays(self, split: str) -> bool:
        """Whether the split is read again and again."""
        return split in _TRAINED and (self.trainer is None or self.trainer.state.fn == "fit")

    def _prepare(self, split: str, records: CachedRecords, nbytes: int, expected: float) -> None:
        """Says what fits, and fills the cache where everything does."""
        trainer = self.trainer
        if trainer is None or trainer.is_global_zero:
            size = show_bytes(int(records.share * nbytes))
            why = "" if self._stays(split) else ", enough for neighbours in one pass"
            print(
                f"cache: {split}: {records.capacity:,} of {len(records):,} records, {records.share:.0%} ({size} in "
                f"{self.cache_folder}{why}); expected hit ratio {expected:.2f}{' once warm' if not why else ''}",
                flush=True,
            )
        whole_run = trainer is not None and trainer.state.fn == "fit" and trainer.limit_train_batches == 1.0
        if self.fills_first and records.share == 1 and whole_run and trainer is not None and trainer.local_rank == 0:
            records.fill(workers=len(os.sched_getaffinity(0)), tolerant=self._loaders[split].skips is not None)

    def _node_ranks(self) -> range:
        if self.trainer is None:
            return range(1)
        here = self.trainer.num_devices
        return range(self.trainer.node_rank * here, (self.trainer.node_rank + 1) * here)


def _budget(cache: str | int) -> Budget:
    try:
        budget = parse_budget(cache)
    except UserError as error:
        raise UserError(f"cache: {error}") from None
    if budget.size and budget.size < _SMALLEST:
        raise UserError(
            f"cache: {cache} is {budget.size} bytes, in which nothing fits; for a share write '50%', with %"
        )
    return budget


def _default_workers() -> int:
    return min(8, len(os.sched_getaffinity(0))) if torch.cuda.is_available() else 0
