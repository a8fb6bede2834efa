"""Which record lies in which pages of shared memory, and who makes room: the record whose next use is farthest.

Second chance: the hand passes over records that are needed soon. Where a plan says when each is read next, it takes the
one needed last, and leaves the newcomer out if that is needed later still (Belady 1966, with bypass). Where nobody
announced a plan it is the textbook algorithm, a reference bit and a hand (Corbato 1968).

Readers take no lock. A record's version is odd while its row of the table changes and another even number after that
(a sequence lock); pages are given away only then. A reader whose version was even and is the same after its copy has
copied one record. Writers hold the lock of the record they write and, while pages change hands, lock 0. The kernel
lifts both when their process dies; pages that it had taken are found again by the next `_survey`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
from jaxtyping import Int, Int32, Int64

from common.data.memory import round_up
from common.data.plan import NEVER, ReadPlan
from common.data.sizes import QUEUE, ROWS, Sizes, array_bytes
from common.data.slab import Slab

_VICTIMS = 64  # at least this many records are queued to go: a large one may take the room of several
_WORTH = 1.5  # who comes must be needed this much sooner than who goes: half the writes, for a hit in two thousand
_SHARE = 64  # a survey is good for as many decisions as this part of the cached records


class Head:
    """Places in the `head` array."""

    RECORDS, PAGES, PAGE_BYTES, PER_RECORD, FREE, NEXT, LENGTH, LEFT, HAND, TORN, EVICTIONS = range(11)


class Pages:
    """The arrays of one slab.

    Attributes:
        sizes: see there.
        head: single numbers, see `Head`.
        table: pages of each record, -1 beyond its last and everywhere where it is not cached.
        version: of each record; odd while its row of the table changes.
        digest: checksum of each cached record.
        touched: reference bit of each record.
        asked: whether somebody waits for this record.
        owner: record that each page was given to, -1 where free.
        free: pages, the first `head[FREE]` of them; the last of these is taken next.
        queue_record, queue_due: records that may go, and when they are needed next, the last ones first.
        process, counts: statistics, one row per process.
        data: the pages.
        plan: lets the hand see ahead.
    """

    head: np.ndarray
    table: Int32[np.ndarray, "records pages"]
    version: Int64[np.ndarray, " records"]
    digest: np.ndarray
    touched: np.ndarray
    asked: np.ndarray
    owner: np.ndarray
    free: np.ndarray
    queue_record: np.ndarray
    queue_due: np.ndarray
    process: np.ndarray
    counts: np.ndarray
    data: np.ndarray

    def __init__(self, slab: Slab) -> None:
        self.slab = slab
        self.sizes = Sizes(*slab.bytes[:32].view(np.int64).tolist())
        self.plan: ReadPlan | None = None
        start = 0
        for name, shape, kind in self.sizes.arrays():
            size = array_bytes(shape, kind)
            setattr(self, name, slab.bytes[start : start + size].view(kind).reshape(shape))
            start += round_up(size)

    @staticmethod
    def fill(memory: np.ndarray, sizes: Sizes) -> None:
        """Writes the first contents: nothing cached, all pages free, to be taken in rising order."""
        memory[:32].view(np.int64)[:] = sizes
        start = 0
        for name, shape, kind in sizes.arrays():
            array: np.ndarray = memory[start : start + array_bytes(shape, kind)].view(kind).reshape(shape)
            if name in ("table", "owner"):
                array[:] = -1
            elif name == "free":
                array[:] = np.arange(sizes.pages)[::-1]
            elif name == "head":
                array[Head.FREE] = sizes.pages
            start += round_up(array.nbytes)

    @property
    def evictions(self) -> int:
        """Records put out so far."""
        return int(self.head[Head.EVICTIONS])

    def take(self, record: int, need: int, *, due: int, now: int) -> Int[np.ndarray, " need"] | None:
        """Pages for a record; None where everything that would have to go is needed before it.

        Args:
            record: whose lock the caller holds.
            need: how many.
            due: when the record is read next; `NEVER` for one that is only worth a free page.
            now: time of the reader. Without a plan it means nothing.
        """
        head = self.head
        with self.slab.locks.exclusive():
            if head[Head.TORN]:  # a process died in here
                self._survey(now)
            head[Head.TORN] = 1
            enough = head[Head.FREE] >= need or self._make_room(need, due, now)
            pages = None
            if enough:
                head[Head.FREE] -= need
                left = int(head[Head.FREE])
                pages = self.free[left : left + need][::-1].copy()
                self.owner[pages] = record
            head[Head.TORN] = 0
        return pages

    def publish(self, record: int, pages: Int[np.ndarray, " need"], digest: int) -> None:
        """Lets readers see a record whose bytes are written."""
        self.digest[record], self.touched[record] = digest, 1
        with self._changing(record):
            self.table[record, : len(pages)] = pages

    def cached(self, records: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Versions, rows of the table, and whether each record is cached, by these."""
        versions = self.version[records]  # before the table
        table = self.table[records]
        return versions, table, (table[:, 0] >= 0) & (versions % 2 == 0)

    @contextmanager
    def _changing(self, record: int) -> Iterator[None]:
        self.version[record] |= 1  # odd already, if a process died in here
        yield
        self.version[record] += 1

    def drop(self, record: int, version: int) -> None:
        """Puts a record out, unless it has changed since."""
        with self.slab.locks.exclusive():
            if self.version[record] == version and self.table[record, 0] >= 0:
                torn = int(self.head[Head.TORN])  # somebody may have died in here before
                self.head[Head.TORN] = 1
                self._evict(record)
                self.head[Head.TORN] = torn

    def claim_row(self) -> int:
        """A row of the statistics for this process: a new one, or that of a dead one, whose counts stay in the sum."""
        with self.slab.locks.exclusive():
            for row, process in enumerate(self.process.tolist()):
                if not process or not psutil.pid_exists(process):
                    self.process[row] = os.getpid()
                    return row
        return ROWS - 1

    def _make_room(self, need: int, due: int, now: int) -> bool:
        head = self.head
        if need > self.sizes.pages or due == NEVER:
            return False
        head[Head.LEFT] -= 1
        surveyed = bool(head[Head.LEFT] < 0)  # what was farthest then may be so no longer, and writers may have died
        if surveyed:
            self._survey(now)
        if head[Head.FREE] >= need:
            return True
        return self._turn_hand(need) if self.plan is None else self._choose(need, due, now, surveyed=surveyed)

    def _choose(self, need: int, due: int, now: int, *, surveyed: bool) -> bool:
        """Puts out records that are needed well after `due`, the last ones first, until there is room; all or none."""
        head = self.head
        victims, room, place = list[int](), int(head[Head.FREE]), int(head[Head.NEXT])
        while room < need:
            if place == head[Head.LENGTH]:
                if surveyed:
                    return False
                self._survey(now)
                surveyed, victims, room, place = True, [], int(head[Head.FREE]), 0
                continue
            if self.queue_due[place] - now <= _WORTH * (due - now):
                return False
            victim = int(self.queue_record[place])
            place += 1
            if self.table[victim, 0] >= 0 and self.version[victim] % 2 == 0:
                victims.append(victim)
                room += int(np.count_nonzero(self.table[victim] >= 0))
        head[Head.NEXT] = place
        for victim in victims:
            self._evict(victim)
        return True

    def _survey(self, now: int) -> None:
        """Finds pages that dead writers held, and queues the records that are needed last."""
        head = self.head
        resident = np.flatnonzero((self.table[:, 0] >= 0) & (self.version % 2 == 0))
        self._reclaim(resident)
        head[Head.NEXT] = head[Head.LENGTH] = 0
        head[Head.LEFT] = len(resident) // _SHARE
        if self.plan is None or not len(resident):
            return
        due = self.plan.pending(resident, now)
        few = min(QUEUE, len(resident), max(_VICTIMS, len(resident) // _SHARE))
        last = np.argpartition(due, len(due) - few)[len(due) - few :]
        last = last[np.argsort(-due[last], kind="stable")]
        self.queue_record[:few], self.queue_due[:few] = resident[last], due[last]
        head[Head.LENGTH] = few

    def _reclaim(self, resident: Int[np.ndarray, " resident"]) -> None:
        """The free pages anew: all that hold no record and that no living process writes."""
        used = np.zeros(self.sizes.pages, dtype=bool)
        held = self.table[resident]
        used[held[held >= 0]] = True
        for record in np.unique(self.owner[~used]).tolist():
            if record < 0:
                continue
            alive = not self.slab.locks.try_lock(record + 1)
            if alive:
                used[self.owner == record] = True
                continue
            row = self.table[record]  # looked at again: its writer may have ended well just now
            if self.version[record] % 2:  # or died while it changed this
                with self._changing(record):
                    row[:] = -1
            used[row[row >= 0]] = True
            self.slab.locks.unlock(record + 1)
        free = np.flatnonzero(~used)
        self.owner[free] = -1
        self.free[: len(free)] = free[::-1]
        self.head[Head.FREE] = len(free)

    def _turn_hand(self, need: int) -> bool:
        head, pages = self.head, self.sizes.pages
        for _ in range(2 * pages + 1):
            page = int(head[Head.HAND])
            head[Head.HAND] = (page + 1) % pages
            record = int(self.owner[page])
            if record < 0 or self.table[record, 0] != page:  # free, being written, or not a record's first page
                continue
            if self.touched[record]:
                self.touched[record] = 0
                continue
            self._evict(record)
            if head[Head.FREE] >= need:
                return True
        return False

    def _evict(self, record: int) -> None:
        head, row = self.head, self.table[record]
        pages = row[row >= 0].copy()
        with self._changing(record):
            row[:] = -1
        self.owner[pages] = -1
        free = int(head[Head.FREE])
        self.free[free : free + len(pages)] = pages
        head[Head.FREE] += len(pages)
        head[Head.EVICTIONS] += 1
