"""Batches, fetched whole into a ring of buffers: no sample is pickled, collated or converted on the host."""

import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader

from common.data.memory import round_up, show_bytes
from common.data.plan import EpochSampler
from common.data.samples import Field, Samples
from common.data.slab import free_space, shared_folder
from common.errors import UserError

Mode = Literal["threads", "fork", "spawn", "forkserver"]

_SMALL = 1 << 16  # bytes
_AHEAD = 2  # batches in work per worker, one being made and one waiting


class Ticket(NamedTuple):
    """An order for one batch: which samples, and the buffer they go to."""

    slot: int
    epoch: int
    indices: Int64[np.ndarray, " n"]


class Ring:
    """Buffers for batches, each holding all fields for `batch_size` samples.

    Shared with processes where `shared`; page-locked where there is a GPU, so that copies to it run beside the work.

    Raises:
        UserError: shared memory is too small.
    """

    def __init__(self, fields: Mapping[str, Field], *, batch_size: int, slots: int, shared: bool) -> None:
        self.fields, self.batch_size, self.slots = dict(fields), batch_size, slots
        self._size = sum(round_up(batch_size * field.nbytes) for field in fields.values())
        total = slots * self._size
        if shared and total > free_space(shared_folder()):
            raise UserError(
                f"{shared_folder()}: {slots} buffers of {batch_size} samples need {show_bytes(total)}, "
                f"{show_bytes(free_space(shared_folder()))} free; use threads (`workers: threads`), fewer workers or "
                "smaller batches, or enlarge it (docker: --shm-size)"
            )
        self._memory = torch.zeros(total, dtype=torch.uint8)
        if shared:
            self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self.pinned = False

    def arrays(self, slot: int, count: int) -> dict[str, np.ndarray]:
        """The arrays of one buffer for its first `count` samples."""
        return {name: tensor.numpy() for name, tensor in self.tensors(slot, count).items()}

    def batch(self, slot: int, count: int) -> dict[str, Tensor]:
        """What the caller gets: large fields in place; small ones copied, so that labels are safe to keep."""
        tensors = self.tensors(slot, count)
        return {name: each.clone() if each.nbytes <= _SMALL else each for name, each in tensors.items()}

    def pin(self) -> None:
        """Page-locks the buffers where there is a GPU; after workers were forked, who need not know."""
        if self.pinned or not torch.cuda.is_available():
            return
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        start = self._memory.data_ptr()
        self.pinned = int(runtime.cudaHostRegister(start, self._memory.numel(), 0)) == 0
        if self.pinned:
            weakref.finalize(self, runtime.cudaHostUnregister, start).atexit = False

    def tensors(self, slot: int, count: int) -> dict[str, Tensor]:
        """The same as tensors; they are valid until the buffer is used again."""
        start, found = slot * self._size, {}
        for name, field in self.fields.items():
            size = self.batch_size * field.nbytes
            flat = self._memory[start : start + size].view(_torch_dtype(field.dtype))
            found[name] = flat.view(self.batch_size, *field.shape)[:count]
            start += round_up(size)
        return found


class Batching(NamedTuple):
    """How an epoch is cut into batches; Lightning finds the sampler here to set its epoch."""

    sampler: EpochSampler
    batch_size: int
    drop_last: bool


class BatchLoader:
    """Batches of an epoch as `dict[str, Tensor]`, ahead of time where there are workers.

    A batch is valid until the next one is asked for; who keeps images longer copies them. The samples and their order
    depend on the sampler alone, not on workers or mode. A `state_dict` taken between two batches, loaded into a new
    loader, goes on with the very next one.

    Args:
        samples: what is read.
        sampler: the epoch and its order; Lightning sets its epoch.
        batch_size: samples per batch.
        workers: threads or processes beside the caller's; 0 fetches when asked.
        mode: "threads" start at once and share everything; processes ("fork", "spawn", "forkserver") suit samples
            whose reading is mostly Python.
        drop_last: leave out a last batch that is not full.
    """

    def __init__(
        self,
        samples: Samples,
        sampler: EpochSampler,
        *,
        batch_size: int,
        workers: int = 0,
        mode: Mode = "threads",
        drop_last: bool = False,
    ) -> None:
        self.dataset, self.batch_sampler = samples, Batching(sampler, batch_size, drop_last)
        self.workers, self.mode = workers, mode
        self.waited_s = 0.0
        self._ring: Ring | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._processes: DataLoader[Any] | None = None
        self._busy: dict[int, torch.cuda.Event] = {}
        self._given = 0  # batches of the present epoch that the caller took
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        sampler, size, drop_last = self.batch_sampler
        full, rest = divmod(len(sampler), size)
        return full + (rest > 0 and not drop_last)

    @property
    def ahead(self) -> int:
        """Batches that may be in work while the caller has one."""
        return _AHEAD * self.workers

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The epoch that the sampler is set to when the first batch is asked for."""
        epoch = self.batch_sampler.sampler.epoch  # not earlier: Lightning makes the iterator before it sets the epoch
        first = self._resume[1] if self._resume is not None and self._resume[0] == epoch else 0
        self._resume = None
        ring = self._opened()
        self.dataset.begin(epoch)
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
            ring.pin()
            try:
                yield ring.batch(ticket.slot, len(ticket.indices))
            finally:  # also when the caller stops early
                if ring.pinned:
                    self._busy[ticket.slot] = torch.cuda.current_stream().record_event()

    def state_dict(self) -> dict[str, int]:
        """The position: epoch and batches taken of it."""
        return {"epoch": self.batch_sampler.sampler.epoch, "batches": self._given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on after the batches that were taken then, when that epoch is next iterated."""
        self._resume = (state["epoch"], state["batches"]) if state["batches"] < len(self) else None

    def close(self) -> None:
        """Ends workers and gives up the buffers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = self._processes = self._ring = None

    def _opened(self) -> Ring:
        if self._ring is None:
            slots = self.ahead + (3 if torch.cuda.is_available() else 1)  # copies to the GPU may lag behind
            shared = self.workers > 0 and self.mode != "threads"
            size = self.batch_sampler.batch_size
            self._ring = Ring(self.dataset.fields, batch_size=size, slots=slots, shared=shared)
        return self._ring

    def _tickets(self, epoch: int, first: int) -> Iterator[Ticket]:
        """Orders for the batches of an epoch; each waits until its buffer is free."""
        indices, size, ring = self.batch_sampler.sampler.indices(), self.batch_sampler.batch_size, self._opened()
        for batch in range(first, len(self)):
            slot = batch % ring.slots
            if slot in self._busy:
                self._busy.pop(slot).synchronize()
            yield Ticket(slot, epoch, indices[batch * size : (batch + 1) * size])

    def _by_threads(self, tickets: Iterator[Ticket]) -> Iterator[Ticket]:
        fetch = _Fetch(self.dataset, self._opened())
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

    def _by_processes(self, tickets: Iterator[Ticket]) -> Iterator[Ticket]:
        ring = self._opened()
        if self._processes is None:
            self._orders = _Orders()
            self._processes = DataLoader(
                _Fetch(self.dataset, ring),  # type: ignore[arg-type] # `__getitems__` is all that is asked of it
                batch_sampler=self._orders,
                num_workers=self.workers,
                prefetch_factor=_AHEAD,
                persistent_workers=True,
                multiprocessing_context=self.mode,
                collate_fn=_as_it_is,
                worker_init_fn=_one_thread,
            )
        self._orders.tickets = tickets
        for answer in self._processes:
            if isinstance(answer, UserError):
                raise answer
            yield answer


class _Orders:
    """Hands tickets to a DataLoader, which takes them for lists of keys."""

    tickets: Iterator[Ticket]

    def __iter__(self) -> Iterator[Any]:
        return self.tickets


class _Fetch:
    """Does what tickets say, in a thread or, as a dataset, in a process."""

    def __init__(self, samples: Samples, ring: Ring) -> None:
        self.samples, self.ring = samples, ring

    def __call__(self, ticket: Ticket) -> Ticket:
        slot, epoch, indices = ticket
        self.samples.fetch(epoch, indices, self.ring.arrays(slot, len(indices)))
        return ticket

    def __getitems__(self, ticket: Ticket) -> Ticket | UserError:
        """What a DataLoader's worker calls; a user's mistake travels as it is, without the worker's traceback."""
        try:
            return self(ticket)
        except UserError as error:
            return error

    def __getitem__(self, key: int) -> None:
        raise NotImplementedError("samples are fetched by the batch")


def _as_it_is(answer: Any) -> Any:
    return answer


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _torch_dtype(dtype: Any) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
