"""Decoded records in memory that all loaders and ranks of a node share; bounded in bytes, seeing ahead.

Any PyTorch dataset whose records have a known size can be wrapped:

    photos = ImageFolder("photos", transform=lambda image: np.asarray(image.resize((320, 240))))
    records = CachedRecords(lambda i: photos[i][0], len(photos), (240, 320, 3), np.uint8, budget="8GB")
    sampler = EpochSampler(len(photos), shuffle=True)  # yields (epoch, index); sampler.set_epoch(n) before each epoch
    records.announce(ReadPlan(np.arange(len(photos))[:, None], sampler))

    class Cached(torch.utils.data.Dataset):
        def __init__(self, records, targets):
            self.records, self.targets = records, targets

        def __getitem__(self, key):
            return self.records[key], self.targets[key[1]]

    loader = DataLoader(Cached(records, photos.targets), batch_size=32, sampler=sampler, num_workers=8)

with `CachedRecords` from here, `EpochSampler` and `ReadPlan` from `common.data.plan`. Without a plan, `records[index]`
is cached by textbook second chance, which for shuffled epochs finds much less. Loader processes that are spawned need
functions at the top of a module instead of a `lambda`.
"""

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Int, Int64, Integer

from common.data.memory import parse_budget
from common.data.pages import Pages
from common.data.plan import NEVER, ReadPlan
from common.data.progress import progress_bar
from common.data.sizes import pages_for, sizes_within
from common.data.slab import PREFIX, Layout, Slab, job_name, renewed_in_children, shared_folder, sweep
from common.errors import BadRecordError, UserError

_COUNTED = ("hits", "misses", "hit_bytes", "decoded_bytes", "decode_s", "wait_s", "damaged")
_SERIAL = itertools.count()
_FILL_CHUNK = 16


class CacheStats(NamedTuple):
    """What the cache did since it was made, summed over all processes of the node.

    Attributes:
        hits: records served from memory.
        misses: records decoded for a reader.
        hit_bytes: served from memory.
        decoded_bytes: decoded, filling included.
        decode_s: seconds of decoding, summed over processes and threads.
        wait_s: seconds spent waiting for another reader to decode a record.
        damaged: cached records whose checksum was wrong; they were decoded again.
        evictions: records put out.
    """

    hits: float = 0
    misses: float = 0
    hit_bytes: float = 0
    decoded_bytes: float = 0
    decode_s: float = 0
    wait_s: float = 0
    damaged: float = 0
    evictions: float = 0

    @property
    def hit_ratio(self) -> float:
        """Share of the records read that were in memory; nan before the first."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else float("nan")

    def since(self, earlier: "CacheStats") -> "CacheStats":
        """The difference to an earlier reading."""
        return CacheStats(*(now - then for now, then in zip(self, earlier, strict=True)))


class CachedRecords:
    """Records 0..count-1, decoded on first use and kept as far as the budget goes.

    Objects can be pickled into loader processes and forked; all of them, and all ranks of a job on the node if
    `content` names what they read, share one memory. Threads may share an object. What `gather` gives is what `read`
    gives, whatever happens to the memory or to other processes: a record is checked against its checksum the first
    time that a process reads it, and against its version each time.

    Args:
        read: decodes one record; pure, as it may be called by any process, again after an eviction. None where
            `read_many` is given.
        count: number of records.
        shape: of every record, or an int array (count, dimensions) where they differ.
        dtype: of every record.
        budget: of records in memory: "8GB", bytes, or "50%" of what is free now; 0 keeps nothing. Notes on records and
            pages, a few per cent at most, are part of a share and come on top of an amount.
        read_many: decodes several records at once, in the given order, which is rising.
        content: names the data; ranks with the same name share. By default only this process and its children do.
        folder: of the shared memory; /dev/shm by default, or a folder on a local disk.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray] | None,
        count: int,
        shape: Sequence[int] | Integer[np.ndarray, "count dimensions"],
        dtype: Any,
        budget: str | int = "50%",
        *,
        read_many: Callable[[Sequence[int]], Iterable[np.ndarray]] | None = None,
        content: str = "",
        folder: Path | None = None,
    ) -> None:
        self._read, self._read_many = read, read_many
        if (read is None) == (read_many is None):
            raise TypeError("give read or read_many")
        self.count, self.dtype = count, np.dtype(dtype)
        self.shapes = np.broadcast_to(np.asarray(shape, dtype=np.int64), (count, np.shape(shape)[-1]))
        self._same = np.ndim(shape) == 1
        self._nbytes = self.shapes.prod(axis=1) * self.dtype.itemsize
        self._page_bytes, self._needed = pages_for(self._nbytes)
        self.budget, self.folder = parse_budget(budget), folder or shared_folder()
        self.path = self.folder / self._file_name(content, np.asarray(shape))
        self.plan: ReadPlan | None = None
        self._attached = False
        self._reset()

    def _file_name(self, content: str, shape: np.ndarray) -> str:
        described = f"{content} {self.count} {shape.tobytes()!r} {self.dtype}"
        digest = hashlib.blake2b(described.encode(), digest_size=8).hexdigest()
        own = "" if content else f"-{os.getpid()}.{next(_SERIAL)}"
        return f"{PREFIX}{os.getuid()}-{job_name()}-{digest}{own}"

    def _reset(self) -> None:
        self._opened: Pages | None = None
        self._alike: np.ndarray | None = None  # a view, which keeps the memory
        self._row = (0, -1)  # process, row of the statistics
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """In a forked child: another thread may have held this."""
        self._mutex = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Of the memory only its name; a loader's process maps it anew."""
        assert self.pages  # it must exist by then
        process = ("_opened", "_mutex", "_row", "_verified", "_alike")
        return {**{name: value for name, value in self.__dict__.items() if name not in process}, "_attached": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        """Number of records."""
        return self.count

    def __getitem__(self, key: int | tuple[int, int]) -> np.ndarray:
        """A copy of record `index`, or for (epoch, index) the same at its time by the announced plan."""
        epoch, index = key if isinstance(key, tuple) else (None, key)
        if not 0 <= index < self.count:
            raise IndexError(f"record {index} of {self.count}")
        records, out = np.array([index]), np.empty((1, *self.shapes[index]), dtype=self.dtype)
        times = self.plan.times(epoch, records) if self.plan is not None and epoch is not None else None
        self.gather(records, out, times=times)
        return out[0]

    @property
    def _alone(self) -> bool:
        """Nothing is kept, so there is nothing to share."""
        return self.pages.sizes.pages == 0

    @property
    def pages(self) -> Pages:
        """The shared memory, mapped by the first call."""
        if self._opened is None:
            with self._mutex:
                if self._opened is None:
                    self._open()
        assert self._opened is not None
        return self._opened

    def announce(self, plan: ReadPlan) -> None:
        """Lets the cache see ahead: `gather` is then called with times of this plan. Before loaders start."""
        self.pages.plan = self.plan = plan
        plan.share(self.path)

    def gather(
        self,
        records: Integer[np.ndarray, " n"],
        out: np.ndarray | Sequence[np.ndarray],
        *,
        times: Int64[np.ndarray, " n"] | None = None,
        corners: Integer[np.ndarray, "n 2"] | None = None,
    ) -> None:
        """Copies records to where they are wanted.

        Args:
            records: numbers; one may be there several times.
            out: for each, an array of its shape, or with `corners` of the part that is wanted.
            times: of the reads, by the announced plan. Records read without one are kept only in free memory.
            corners: (y, x) of the wanted part within the record's first two dimensions.

        Raises:
            UserError: a record has another shape or type than was said; and what `read` raises.
        """
        wanted = np.asarray(records, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.count):
            raise IndexError(f"records {wanted.min()}..{wanted.max()} of {self.count}")
        rows, misses = np.arange(len(wanted)), 0
        served = int(self._nbytes[wanted].sum())
        while len(rows):
            rows = self._copy_cached(wanted, rows, out, corners)
            if self.plan is not None and times is not None:
                self.plan.mark(times)  # what is left is decoded for this batch, whatever happens to it then
            if len(rows):
                rows, decoded = self._decode_missing(wanted, rows, out, times, corners)
                misses += len(decoded)
                served -= int(self._nbytes[decoded].sum())
        self._count(hits=len(wanted) - misses, misses=misses, hit_bytes=served)

    def fill(self, *, workers: int = 1, progress: bool = True, tolerant: bool = False) -> None:
        """Decodes what fits and is not there yet, with this many threads.

        Args:
            workers: threads.
            progress: show a progress bar.
            tolerant: leave bad records, and a few neighbours, to who asks for them.
        """
        missing = np.flatnonzero(~self.pages.cached(np.arange(self.count))[2])[: self.capacity]
        chunks = [missing[start : start + _FILL_CHUNK] for start in range(0, len(missing), _FILL_CHUNK)]
        with ThreadPoolExecutor(max(workers, 1)) as pool, progress_bar(progress and bool(chunks), "records") as bar:
            task = bar.add_task("filling the cache", total=len(missing))
            try:
                for done in as_completed([pool.submit(self._fill, chunk, tolerant=tolerant) for chunk in chunks]):
                    bar.advance(task, done.result())
            finally:
                pool.shutdown(cancel_futures=True)

    def _fill(self, records: Int64[np.ndarray, " n"], *, tolerant: bool) -> int:
        try:
            self._decode_missing(records, np.arange(len(records)), None, None, None)
        except BadRecordError:
            if not tolerant:
                raise
        return len(records)

    @property
    def capacity(self) -> int:
        """Records that fit; of varying sizes, as many average ones."""
        return min(self.count, int(self.share * self.count + 1e-9))

    @property
    def share(self) -> float:
        """Of the data that fits, 0..1."""
        return min(1.0, self.pages.sizes.pages / max(int(self._needed.sum()), 1))

    def stats(self) -> CacheStats:
        """Sums over all processes that used this memory."""
        sums = self.pages.counts.sum(axis=0).tolist()
        return CacheStats(evictions=self.pages.evictions, **dict(zip(_COUNTED, sums, strict=False)))

    def close(self) -> None:
        """Lets go of the memory; it is gone when the last owner has done so, at its exit at the latest."""
        self._reset()

    def _open(self) -> None:
        if not self._attached:
            sweep(self.folder)
        pages = Pages(Slab.open(self.path, self._layout) if not self._attached else Slab.attach(self.path))
        pages.plan = self.plan
        self._verified = np.full(self.count, -1, dtype=np.int64)
        self._alike = self._views(pages)
        self._opened = pages

    def _views(self, pages: Pages) -> np.ndarray | None:
        """All pages as records, where each record has one page and all have one shape."""
        if not self._same or not self.count:
            return None
        records: np.ndarray = pages.data[:, : self._nbytes[0]].view(self.dtype)
        return records.reshape(-1, *self.shapes[0])

    def _layout(self) -> Layout:
        sizes = sizes_within(self.budget, self._nbytes, self.folder)
        return Layout(sizes.size, lambda memory: Pages.fill(memory, sizes))

    def _copy_cached(
        self,
        wanted: Int64[np.ndarray, " n"],
        rows: Int[np.ndarray, " m"],
        out: np.ndarray | Sequence[np.ndarray],
        corners: Integer[np.ndarray, "n 2"] | None,
    ) -> Int[np.ndarray, " left"]:
        """Copies the records that are cached; the rows that are left."""
        pages, records = self.pages, wanted[rows]
        versions, table, good = pages.cached(records)
        cached = np.flatnonzero(good)
        if not len(cached):
            return rows
        if self.plan is None:
            pages.touched[records[cached]] = 1
        if self._alike is not None and corners is None:  # the loop that counts
            for row, page in zip(rows[cached].tolist(), table[cached, 0].tolist(), strict=True):
                np.copyto(out[row], self._alike[page])
        else:
            for place, row in zip(cached.tolist(), rows[cached].tolist(), strict=True):
                whole, corner = self._view(int(records[place]), table[place]), None if corners is None else corners[row]
                np.copyto(out[row], _part(whole, corner, out[row]))
        new = cached[self._verified[records[cached]] != versions[cached]]
        good &= pages.version[records] == versions
        for place in new.tolist():
            good[place] = good[place] and self._verify(int(records[place]), table[place], int(versions[place]))
        return rows[~good]

    def _view(self, record: int, table: Int[np.ndarray, " pages"]) -> np.ndarray:
        """A cached record in its place, or a copy where its pages do not follow each other."""
        if self._alike is not None:
            alike: np.ndarray = self._alike[table[0]]
            return alike
        data, used = self.pages.data, table[: self._needed[record]]
        first = int(used[0])
        follow = len(used) == 1 or bool((np.diff(used) == 1).all())
        flat = (data[first : first + len(used)] if follow else data[used]).reshape(-1)
        return flat[: self._nbytes[record]].view(self.dtype).reshape(self.shapes[record])

    def _verify(self, record: int, table: np.ndarray, version: int) -> bool:
        """Whether a record is what its writer wrote; if not, and nobody changed it meanwhile, it is put out."""
        pages = self.pages
        left = int(self._nbytes[record])
        starts = range(0, left, self._page_bytes)
        pieces = (pages.data[page, : left - start] for page, start in zip(table.tolist(), starts, strict=False))
        whole = _digest(record, pieces) == int(pages.digest[record])
        if pages.version[record] != version:
            return False
        if whole:
            self._verified[record] = version
        else:
            self._count(damaged=1)
            pages.drop(record, version)
        return whole

    def _decode_missing(
        self,
        wanted: Int64[np.ndarray, " n"],
        rows: Int[np.ndarray, " m"],
        out: np.ndarray | Sequence[np.ndarray] | None,
        times: Int64[np.ndarray, " n"] | None,
        corners: Integer[np.ndarray, "n 2"] | None,
    ) -> tuple[Int[np.ndarray, " left"], Int64[np.ndarray, " decoded"]]:
        """Decodes records that nobody else decodes; the rows that are left, and the records that were decoded."""
        missing, which = np.unique(wanted[rows], return_inverse=True)
        due, now = self._due(missing, times)
        locks = self.pages.slab.locks
        mine = [place for place, record in enumerate(missing.tolist()) if self._alone or locks.try_lock(record + 1)]
        try:
            there = self.pages.cached(missing)[2]  # by now
            mine_now = [place for place in mine if not there[place]]
            for place, array in zip(mine_now, self._decode(missing[mine_now].tolist()), strict=True):
                if out is not None:
                    _deliver(array, rows[which == place], out, corners)
                self._keep(int(missing[place]), array, due=int(due[place]), now=now)
        finally:
            for place in mine if not self._alone else ():
                locks.unlock(int(missing[place]) + 1)
        others = np.setdiff1d(np.arange(len(missing)), mine)
        for place in others:
            self._wait(int(missing[place]))
        return rows[~np.isin(which, mine_now)], missing[mine_now]

    def _due(
        self, missing: Int64[np.ndarray, " missing"], times: Int64[np.ndarray, " m"] | None
    ) -> tuple[Int64[np.ndarray, " missing"], int]:
        """When each record is read again, and the time of the first of these reads, which are marked."""
        if self.plan is None:
            return np.zeros(len(missing), dtype=np.int64), 0
        if times is None:
            return np.full(len(missing), NEVER), 0
        now = int(times.min())
        return self.plan.pending(missing, now), now

    def _decode(self, records: list[int]) -> Iterator[np.ndarray]:
        started = time.perf_counter()
        if not records:
            return
        arrays = iter(self._read_many(records) if self._read_many else map(self._read, records))  # type: ignore[arg-type]
        for record in records:
            array = next(arrays, None)
            shape = tuple(self.shapes[record].tolist())
            if array is None or array.shape != shape or array.dtype != self.dtype:
                found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
                raise UserError(f"record {record}: expected {self.dtype} of shape {shape}, found {found}")
            self._count(decode_s=time.perf_counter() - started, decoded_bytes=array.nbytes)
            yield array
            started = time.perf_counter()

    def _keep(self, record: int, array: np.ndarray, *, due: int, now: int) -> None:
        """Puts a decoded record into memory if it is worth it; the caller holds its lock."""
        pages = self.pages
        if pages.asked[record]:  # somebody waits for it
            pages.asked[record], due = 0, -1
        got = pages.take(record, int(self._needed[record]), due=due, now=now) if pages.sizes.pages else None
        if got is None:
            return
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        whole = len(flat) // self._page_bytes
        rest = flat[whole * self._page_bytes :]
        pages.data[got[:whole]] = flat[: whole * self._page_bytes].reshape(whole, self._page_bytes)
        pages.data[got[whole:], : len(rest)] = rest
        pages.publish(record, got, _digest(record, [flat]))
        self._verified[record] = pages.version[record]

    def _wait(self, record: int) -> None:
        """Until another reader has decoded the record, or has died."""
        pages, started, pause = self.pages, time.perf_counter(), 2e-4
        pages.asked[record] = 1
        while not pages.cached(np.array([record]))[2]:
            if pages.slab.locks.try_lock(record + 1):
                pages.slab.locks.unlock(record + 1)
                break
            time.sleep(pause)
            pause = min(2 * pause, 0.01)
        self._count(wait_s=time.perf_counter() - started)

    def _count(self, **amounts: float | int) -> None:
        pages = self.pages
        with self._mutex:
            if self._row[0] != os.getpid():
                self._row = os.getpid(), pages.claim_row()
            counts = pages.counts[self._row[1]]
            for name, amount in amounts.items():
                counts[_COUNTED.index(name)] += amount


def _deliver(
    array: np.ndarray,
    rows: Int[np.ndarray, " m"],
    out: np.ndarray | Sequence[np.ndarray],
    corners: Integer[np.ndarray, "n 2"] | None,
) -> None:
    for row in rows.tolist():
        np.copyto(out[row], _part(array, None if corners is None else corners[row], out[row]))


def _part(record: np.ndarray, corner: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """What of a record goes to an array like this one."""
    if corner is None:
        return record
    (y, x), (height, width) = corner.tolist(), like.shape[:2]
    return record[y : y + height, x : x + width]


def _digest(record: int, pieces: Iterable[np.ndarray]) -> int:
    """Checksum of a record's bytes, XXH3 with 64 bits, keyed by its number."""
    checksum = xxhash.xxh3_64(seed=record)
    for piece in pieces:
        checksum.update(piece.data)
    return checksum.intdigest()
