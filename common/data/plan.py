"""What an epoch reads, in order, and when each record is read again: functions of (seed, epoch), alike everywhere."""

import contextlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool, Int, Int64, Integer
from torch.utils.data import Sampler

from common.data.slab import renewed_in_children

NEVER = np.iinfo(np.int64).max
"""The time of a read that does not come."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
_KEPT_EPOCHS = 3  # the last one may still be asked for while the next is planned


def epoch_order(length: int, *, seed: int, epoch: int) -> Int64[np.ndarray, " length"]:
    """A permutation of range(length), int64, that depends on nothing but its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def sample_seeds(indices: Integer[np.ndarray, " n"], *, seed: int, epoch: int) -> Int64[np.ndarray, " n"]:
    """One seed per sample for its randomness, 0..2^63: the same for any batch, worker, rank and start method.

    SplitMix64 (Steele, Lea and Flood 2014), keyed by seed, epoch and index in turn.
    """
    state = np.zeros(len(indices), dtype=np.uint64)
    for part in (np.uint64(seed % 2**64), np.uint64(epoch), indices.astype(np.uint64)):
        state = _mixed(state + _ODD + part)
    return (state >> np.uint64(1)).astype(np.int64)


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that workers hold no state.

    Args:
        length: number of samples.
        seed: of the order.
        shuffle: draw a new order each epoch; otherwise 0, 1, 2, ...
        rank: of this process among `world`.
        world: number of processes that share the epoch.
        equal: leave out at most `world - 1` samples an epoch (the last of its order), so that every rank gets as many
            as the others, each once: training. Without it the ranks get as many as the others too, as they must meet
            in every batch, but nothing is left out: some ranks read the last sample once more, as padding. A score is
            exact if it counts what `valid` says: each sample on one rank, once.
    """

    def __init__(
        self, length: int, *, seed: int = 0, shuffle: bool, rank: int = 0, world: int = 1, equal: bool = False
    ) -> None:
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world, self.equal = rank, world, equal
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Samples of each rank, with padding."""
        return self.length // self.world if self.equal else -(-self.length // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The (epoch, index) pairs of this rank."""
        for index in self.indices():
            yield self.epoch, int(index)

    def indices(self) -> Int64[np.ndarray, " samples"]:
        """What this rank reads in the present epoch, in order."""
        return self.order(self.epoch)[np.minimum(self._places(), self.length - 1)]

    def valid(self) -> Bool[np.ndarray, " samples"]:
        """Which of `indices` count; the others are padding."""
        return self._places() < self.length

    def _places(self) -> Int64[np.ndarray, " samples"]:
        return self.rank + self.world * np.arange(len(self))

    def order(self, epoch: int) -> Int64[np.ndarray, " length"]:
        """What all ranks read, in turn: rank r reads places r, r + world, ..."""
        return epoch_order(self.length, seed=self.seed, epoch=epoch) if self.shuffle else np.arange(self.length)


class Timetable(NamedTuple):
    """One epoch.

    Attributes:
        places: of each sample in the epoch's order, int32.
        reads: record * samples + place of each read on this node, int64, rising: grouped by record, each in order.
    """

    places: Int[np.ndarray, " samples"]
    reads: Int64[np.ndarray, " reads"]


class ReadPlan:
    """When each record is read, this epoch and the next.

    The time of a read is `epoch * samples + place`, where `place` is the sample's in the order of all ranks. Tables are
    pure functions of the epoch. The first process of the node that needs one computes it (0.6 s for a million windows
    of 9 frames) and leaves it in shared memory for the others, if `share` told it where.

    Loaders work on several batches at once, so the order in which reads happen is the plan's only roughly. What has
    been read is marked, and the marks are shared too.

    Args:
        reads: records that each sample reads.
        sampler: that draws the order; any rank's.
        ranks: those on this node, whose reads the node's cache sees; all by default.
        in_flight: samples that loaders of this node may work on at once.
    """

    def __init__(
        self,
        reads: Integer[np.ndarray, "samples reads"],
        sampler: EpochSampler,
        *,
        ranks: range | None = None,
        in_flight: int = 0,
    ) -> None:
        self.reads, self.sampler, self.in_flight = reads, sampler, in_flight
        self.ranks = range(sampler.world) if ranks is None else ranks
        self._prefix: Path | None = None
        self._forget()

    def _forget(self) -> None:
        self._tables: OrderedDict[int, Timetable] = OrderedDict()
        self._marks: np.ndarray | None = None
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """In a forked child: another thread may have held this."""
        self._mutex = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_tables", "_marks", "_mutex")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def share(self, prefix: Path) -> None:
        """Names the files, `<prefix>.plan-<hash>-*`, through which the processes of a node share tables and marks."""
        sampler = self.sampler
        said = f"{sampler.length} {sampler.seed} {sampler.shuffle} {sampler.world} {sampler.equal} {self.ranks}"
        digest = xxhash.xxh3_64(said.encode())
        digest.update(np.ascontiguousarray(self.reads).data)
        self._prefix = prefix.with_name(f"{prefix.name}.plan-{digest.hexdigest()}")
        self._forget()

    def announce(self, epoch: int) -> None:
        """Makes this epoch's table and the next one's, drops those of the past and the marks of earlier runs."""
        self._table(epoch), self._table(epoch + 1)
        marks = self._marked()
        marks[marks == epoch] = -1
        if self._prefix is not None:
            for old in self._prefix.parent.glob(f"{self._prefix.name}-*.npy"):
                if int(old.stem.rpartition("-")[2]) < self._key(epoch):
                    old.unlink(missing_ok=True)

    def times(self, epoch: int, indices: Integer[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """When each of these samples is read in an epoch."""
        return epoch * self.sampler.length + self._table(epoch).places[indices].astype(np.int64)

    def mark(self, times: Int64[np.ndarray, " n"]) -> None:
        """Notes that these reads have been done or are being done."""
        epoch, places = np.divmod(times, self.sampler.length)
        self._marked()[places] = epoch

    def next_use(self, records: Integer[np.ndarray, " n"], times: Integer[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """When each record is read next, strictly after its time; `NEVER` if neither in that epoch nor in the next.

        Reads that are marked do not count. All times are of one epoch, or one before its first.
        """
        length, marks = self.sampler.length, self._marked()
        found = self._next(records, times)
        while True:
            done = np.flatnonzero(found != NEVER)
            done = done[marks[found[done] % length] == found[done] // length]
            if not len(done):
                return found
            found[done] = self._next(records[done], found[done])

    def pending(self, records: Integer[np.ndarray, " n"], now: int) -> Int64[np.ndarray, " n"]:
        """When each record is read next, seen at a time when some reads before it may still be in work."""
        start = now - now % self.sampler.length  # an epoch's reads start when those of the last are done
        return self.next_use(records, np.full(len(records), max(now - self.in_flight, start) - 1))

    def _next(self, records: Integer[np.ndarray, " n"], times: Integer[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """`next_use`, marks or not."""
        length = self.sampler.length
        epoch = max(int(times.max()) // length, 0) if len(times) else 0
        found = self._first(epoch, records, times - epoch * length + 1)
        later = found == NEVER
        if later.any():
            found[later] = self._first(epoch + 1, records[later], np.zeros(int(later.sum()), dtype=np.int64))
        return found

    def _first(
        self, epoch: int, records: Integer[np.ndarray, " n"], places: Integer[np.ndarray, " n"]
    ) -> Int64[np.ndarray, " n"]:
        """The first read of each record in an epoch at its place or later."""
        length, reads = self.sampler.length, self._table(epoch).reads
        if not len(reads):  # fewer samples than ranks
            return np.full(len(records), NEVER)
        after = np.searchsorted(reads, records * length + places)
        found = reads[np.minimum(after, len(reads) - 1)]
        same = (after < len(reads)) & (found // length == records)
        return np.where(same, epoch * length + found % length, NEVER)

    def _key(self, epoch: int) -> int:
        return epoch if self.sampler.shuffle else 0  # in order, every epoch is the same

    def _table(self, epoch: int) -> Timetable:
        key = self._key(epoch)
        table = self._tables.get(key)
        if table is None:
            with self._mutex:
                table = self._tables.get(key) or self._shared(key)
                self._tables[key] = table
                while len(self._tables) > _KEPT_EPOCHS:
                    self._tables.popitem(last=False)
        return table

    def _shared(self, epoch: int) -> Timetable:
        places = self._places(epoch)
        if self._prefix is None:
            return Timetable(places, self._reads(places))
        path = self._prefix.with_name(f"{self._prefix.name}-{epoch}.npy")
        try:
            return Timetable(places, np.load(path, mmap_mode="r"))
        except FileNotFoundError:
            reads = self._reads(places)
            _leave(reads, path)
            return Timetable(places, reads)

    def _marked(self) -> np.ndarray:
        """The epoch in which the sample at each place was read last, int32; -1 before."""
        if self._marks is None:
            with self._mutex:
                if self._marks is None:
                    marks = np.full(self.sampler.length, -1, dtype=np.int32)
                    self._marks = marks if self._prefix is None else _shared_marks(marks, self._prefix)
        return self._marks

    def _places(self, epoch: int) -> Int[np.ndarray, " samples"]:
        order = self.sampler.order(epoch)
        places = np.empty(len(order), dtype=np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        return places

    def _reads(self, places: Int[np.ndarray, " samples"]) -> Int64[np.ndarray, " reads"]:
        length, world = self.sampler.length, self.sampler.world
        read = np.isin(places % world, self.ranks) if len(self.ranks) < world else np.ones(length, dtype=bool)
        if self.sampler.equal:
            read &= places < length // world * world
        elif 0 < length % world <= max(self.ranks, default=0):  # a rank of this node is padded with the last sample
            read |= places == length - 1
        reads = (self.reads[read].astype(np.int64) * length + places[read, None]).ravel()
        reads.sort()
        return reads


def _shared_marks(marks: np.ndarray, prefix: Path) -> np.ndarray:
    """The marks of the node; without room for them each process sees its own."""
    path = prefix.with_name(f"{prefix.name}-marks")
    try:
        if not path.exists():
            with _beside(path) as temporary, contextlib.suppress(FileExistsError):
                temporary.write_bytes(marks.tobytes())
                path.hardlink_to(temporary)
        return np.memmap(path, np.int32, "r+", shape=marks.shape)
    except OSError:
        return marks


def _leave(reads: Int64[np.ndarray, " reads"], path: Path) -> None:
    """Writes a table for the other processes; without room for it each computes its own."""
    with contextlib.suppress(OSError), _beside(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, reads)
        temporary.replace(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary file that no other process or thread uses."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
