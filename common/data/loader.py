"""Batches, fetched whole into a ring of buffers: no sample is pickled, collated or converted on the host."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from common.data.fetch import Fetch, Ticket
from common.data.plan import EpochSampler
from common.data.report import Problem
from common.data.ring import Ring
from common.data.samples import VALID, Field, Samples
from common.data.skips import Skips
from common.errors import UserError
from common.signals import leave_signals_to_parent

Mode = Literal["threads", "fork", "spawn", "forkserver"]
Last = Literal["short", "drop", "pad"]

_AHEAD = 2  # batches in work per worker, one being made and one waiting


class Batching(NamedTuple):
    """How an epoch is cut into batches; Lightning finds the sampler here to set its epoch."""

    sampler: EpochSampler
    batch_size: int
    last: Last


class BatchLoader:
    """Batches of an epoch as `dict[str, Tensor]`, ahead of time where there are workers.

    A batch lasts until the next one is asked for; who keeps images longer copies them. The samples and their order
    depend on the sampler alone, not on workers or mode. A `state_dict` taken between two batches, loaded into a new
    loader, goes on with the very next one.

    To the fields of the samples comes `valid`, bool (batch,). Losses and scores count nothing of a row where it is
    false: padding, or another sample in the place of one that could not be read. Both keep ranks in step.

    Args:
        samples: what is read.
        sampler: the epoch and its order; Lightning sets its epoch.
        batch_size: samples per batch.
        workers: threads or processes beside the caller's; 0 fetches when asked.
        mode: "threads" start at once and share everything; processes ("fork", "spawn", "forkserver") suit samples
            whose reading is mostly Python.
        last: what becomes of a last batch that is not full. "pad" fills it with rows that are not valid: networks then
            see one shape only, for which their arithmetic is the same to the last bit whatever else is in the batch.
        skips: leave out samples that cannot be read, and count them here; without it the first one ends the epoch.
    """

    def __init__(
        self,
        samples: Samples,
        sampler: EpochSampler,
        *,
        batch_size: int,
        workers: int = 0,
        mode: Mode = "threads",
        last: Last = "short",
        skips: Skips | None = None,
    ) -> None:
        self.dataset, self.batch_sampler = samples, Batching(sampler, batch_size, last)
        self.workers, self.mode, self.skips = workers, mode, skips
        self.waited_s = 0.0
        self._ring: Ring | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._processes: DataLoader[Any] | None = None
        self._busy: dict[int, torch.cuda.Event] = {}
        self._given = 0  # batches of the present epoch that the caller took
        self._resume: Mapping[str, int] = {}

    def __len__(self) -> int:
        """Batches of an epoch."""
        sampler, size, last = self.batch_sampler
        full, rest = divmod(len(sampler), size)
        return full + (rest > 0 and last != "drop")

    @property
    def ahead(self) -> int:
        """Batches that may be in work while the caller has one."""
        return _AHEAD * self.workers

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The epoch that the sampler is set to when the first batch is asked for."""
        epoch = self.batch_sampler.sampler.epoch  # not earlier: Lightning makes the iterator before it sets the epoch
        resume = self._resume if self._resume.get("epoch") == epoch else {}
        self._resume, first = {}, resume.get("batches", 0)
        ring = self._opened()
        self.dataset.begin(epoch)
        if self.skips is not None:
            self.skips.begin(resume.get("skipped", 0))
        tickets = self._tickets(epoch, first)
        batches = self._by_processes(tickets) if self.workers and self.mode != "threads" else self._by_threads(tickets)
        self._given = first
        while True:
            started = time.perf_counter()
            ticket = next(batches, None)
            self.waited_s += time.perf_counter() - started
            if ticket is None:
                return
            self._given += 1
            self._note(ticket)
            ring.pin()
            try:
                yield ring.batch(ticket.slot, len(ticket.indices))
            finally:  # also when the caller stops early
                if ring.pinned:
                    self._busy[ticket.slot] = torch.cuda.current_stream().record_event()

    def state_dict(self) -> dict[str, int]:
        """The position: epoch, batches taken of it and, where samples may be skipped, how many were."""
        if self._resume:  # not iterated since it was loaded
            return dict(self._resume)
        skipped = {} if self.skips is None else {"skipped": self.skips.so_far}
        return {"epoch": self.batch_sampler.sampler.epoch, "batches": self._given, **skipped}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on after the batches that were taken then, when that epoch is next iterated."""
        self._resume = dict(state)

    def close(self) -> None:
        """Ends workers and gives up the buffers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._end_processes()
        self._pool = self._ring = None

    def _note(self, ticket: Ticket) -> None:
        """Counts what was skipped in a batch, on all ranks at the same batches."""
        if self.skips is None:
            return
        self.skips.add(
            [
                Problem(bad.path, "sample that cannot be read", f"sample {index} ({name} {number}): {bad.reason}")
                for index, bad in ticket.skipped
                for name, number in [self.dataset.source_of(index)]
            ]
        )
        self.skips.after_batch(self._given, of=len(self))

    def _opened(self) -> Ring:
        if self._ring is None:
            slots = self.ahead + (3 if torch.cuda.is_available() else 1)  # copies to the GPU may lag behind
            shared = self.workers > 0 and self.mode != "threads"
            size = self.batch_sampler.batch_size
            fields = {**self.dataset.fields, VALID: Field((), np.bool_)}
            self._ring = Ring(fields, batch_size=size, slots=slots, shared=shared)
        return self._ring

    def _tickets(self, epoch: int, first: int) -> Generator[Ticket]:
        """Orders for the batches of an epoch; each waits until its buffer is free."""
        sampler, size, last = self.batch_sampler
        indices, valid, ring = sampler.indices(), sampler.valid(), self._opened()
        for batch in range(first, len(self)):
            slot = batch % ring.slots
            if slot in self._busy:
                self._busy.pop(slot).synchronize()
            part = slice(batch * size, (batch + 1) * size)
            lacking = size - len(indices[part]) if last == "pad" else 0
            yield Ticket(slot, epoch, np.pad(indices[part], (0, lacking), "edge"), np.pad(valid[part], (0, lacking)))

    def _by_threads(self, tickets: Iterator[Ticket]) -> Iterator[Ticket]:
        fetch = self._fetch()
        if not self.workers:
            yield from map(fetch, tickets)
            return
        self._pool = self._pool or ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        work: deque[Future[Ticket]] = deque()
        try:
            for ticket in tickets:
                work.append(self._pool.submit(fetch, ticket))
                if len(work) > self.ahead:
                    yield work.popleft().result()
            while work:
                yield work.popleft().result()
        finally:  # the caller may stop early; buffers must be at rest before they are used again
            for future in work:
                future.cancel() or future.exception()

    def _by_processes(self, tickets: Generator[Ticket]) -> Iterator[Ticket]:
        if self._processes is None:
            self._orders = _Orders()
            self._processes = DataLoader(
                self._fetch(),  # type: ignore[arg-type] # `__getitems__` is all that is asked of it
                batch_sampler=self._orders,
                num_workers=self.workers,
                prefetch_factor=_AHEAD,
                persistent_workers=True,
                multiprocessing_context=self.mode,
                collate_fn=_as_it_is,
                worker_init_fn=_begin_work,
            )
        self._orders.tickets = tickets
        try:
            for answer in self._processes:
                if isinstance(answer, UserError):
                    self._end_processes()
                    raise answer
                yield answer
        finally:
            tickets.close()  # it refers to this loader, which would be a part of a cycle

    def _end_processes(self) -> None:
        """At once: workers that end as a part of a cycle take 5 s each."""
        iterator = None if self._processes is None else self._processes._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()  # nothing public does
        self._processes = None

    def _fetch(self) -> Fetch:
        return Fetch(self.dataset, self._opened(), skip=self.skips is not None)


class _Orders:
    """Hands tickets to a DataLoader, which takes them for lists of keys."""

    tickets: Iterator[Ticket]

    def __iter__(self) -> Iterator[Any]:
        return self.tickets


def _as_it_is(answer: Any) -> Any:
    return answer


def _begin_work(worker: int) -> None:
    """In a worker: one thread; signals, which a cluster sends to every process of a job, are the parent's."""
    torch.set_num_threads(1)
    leave_signals_to_parent()
