"""What a loader reads: samples of fixed shapes, made of records, fetched a batch at a time."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from common.data.cache import CachedRecords
from common.data.plan import ReadPlan

VALID = "valid"
"""Field that loaders add to every batch: bool, false where a sample is padding or a stand-in and must not count."""


class Field(NamedTuple):
    """One array of a sample."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def nbytes(self) -> int:
        """Bytes of one sample's array."""
        return math.prod(self.shape) * int(np.dtype(self.dtype).itemsize)


class Samples(ABC):
    """What a loader reads: samples of fixed shapes, fetched a batch at a time.

    `fetch` is a function of its arguments: it may run in any thread or process, in any order.

    Attributes:
        source: the records that the samples are made of, if they are: what `check` reads.
    """

    source: "RecordSource | None" = None

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """The arrays of a sample."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def fetch(self, epoch: int, indices: Int64[np.ndarray, " n"], out: Mapping[str, np.ndarray]) -> None:
        """Writes samples into `out`, which holds for each field an array (n, *shape).

        Raises:
            BadRecordError: what one of them is made of is damaged.
        """

    def begin(self, epoch: int) -> None:  # noqa: B027 - most have nothing to do
        """Called before each epoch in the process that iterates the loader."""

    def source_of(self, index: int) -> tuple[str, int]:
        """What messages call a sample: a name and a number."""
        return type(self).__name__, index

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """One sample by (epoch, index)."""
        epoch, index = key
        return {name: tensor[0] for name, tensor in self.batch(epoch, [index]).items()}

    def batch(self, epoch: int, indices: Sequence[int]) -> dict[str, Tensor]:
        """Some samples in memory of their own, without a loader, with the field that a loader adds."""
        out = {name: np.empty((len(indices), *field.shape), field.dtype) for name, field in self.fields.items()}
        self.fetch(epoch, np.asarray(indices, dtype=np.int64), out)
        return {name: torch.from_numpy(array) for name, array in out.items()} | {VALID: torch.ones(len(indices)) > 0}


@runtime_checkable
class RecordSource(Protocol):
    """Where records come from."""

    @property
    def shape(self) -> Sequence[int] | np.ndarray:
        """Of every record, or an int array (count, dimensions)."""
        ...

    @property
    def dtype(self) -> Any:
        """Of every record."""
        ...

    @property
    def content(self) -> str:
        """A name of the data, alike on all ranks; different data have different names."""
        ...

    def __len__(self) -> int:
        """Number of records."""
        ...

    def read_many(self, records: Sequence[int]) -> Iterable[np.ndarray]:
        """Decodes records, in the given order.

        Raises:
            BadRecordError: one of them is damaged; the same one each time.
        """
        ...


class RecordSamples(Samples):
    """Samples that each consist of some records; read through the cache once there is one.

    Args:
        source: of the records.
        reads: records of each sample.
    """

    source: RecordSource

    def __init__(self, source: RecordSource, reads: Integer[np.ndarray, "samples reads"]) -> None:
        self.source, self.reads = source, reads
        self.records: CachedRecords | None = None
        self.plan: ReadPlan | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.reads)

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        elements = np.broadcast_to(np.prod(self.source.shape, axis=-1, dtype=np.int64), len(self.source)).sum()
        return int(elements) * int(np.dtype(self.source.dtype).itemsize)

    def cache(self, plan: ReadPlan, *, budget: int, folder: Path | None) -> CachedRecords:
        """Keeps records in memory from now on; see `CachedRecords`."""
        source, read = self.source, self.source.read_many
        self.records = CachedRecords(
            None, len(source), source.shape, source.dtype, budget, read_many=read, content=source.content, folder=folder
        )
        self.plan = plan
        self.records.announce(plan)
        return self.records

    def begin(self, epoch: int) -> None:
        """Plans this epoch and the next, before the workers ask."""
        if self.plan is not None:
            self.plan.announce(epoch)

    def gather(self, epoch: int, indices: Int64[np.ndarray, " n"], out: np.ndarray) -> None:
        """Writes the records of samples into `out` (n, reads, *shape)."""
        records, flat = self.reads[indices].ravel(), out.reshape(-1, *out.shape[2:])
        if self.records is None or self.plan is None:
            for row, record in enumerate(self.source.read_many(records.tolist())):
                flat[row] = record
            return
        times = np.repeat(self.plan.times(epoch, indices), self.reads.shape[1])
        self.records.gather(records, flat, times=times)
