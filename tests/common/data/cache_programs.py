"""Processes that share a cache. A `Launcher` forks them in milliseconds; a test tells one through a `Peer` what to do.

Run as a program this is the launcher's process. It imports the cache once, without torch where nobody loads batches,
and opens nothing, so its children are like programs of their own.
"""

import contextlib
import gc
import importlib
import itertools
import json
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import psutil

from common.data import cache as cache_module
from common.data import pages as pages_module
from common.data import sizes as sizes_module
from common.data.cache import CachedRecords
from common.data.pages import Head, Pages
from common.data.plan import EpochSampler, ReadPlan
from common.data.samples import Field, RecordSamples
from common.data.slab import free_space, job_name
from common.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE = 90  # seconds after which something hangs; far more than anything needs on a busy machine
WRONG = 3  # exit status of a process that was handed a wrong byte
COUNT = 48
SHAPE = (64, 64, 4)
SHAPES: dict[str, tuple[int, ...] | np.ndarray] = {
    "equal": SHAPE,
    "varying": np.random.default_rng(5).integers(20, 200, (COUNT, 2)),
    "large": (2048, 4096),
}


def shape_of(record: int, kind: str) -> tuple[int, ...]:
    """Of one record."""
    shape = SHAPES[kind]
    return shape if isinstance(shape, tuple) else tuple(shape[record].tolist())


def bytes_for(fits: float, kind: str) -> int:
    """A budget in which this share of the records fits."""
    return int(fits * sum(math.prod(shape_of(record, kind)) for record in range(COUNT)))


@cache
def _noise(record: int, kind: str) -> np.ndarray:
    return np.random.default_rng(record).integers(0, 256, shape_of(record, kind)).astype(np.uint8)


def truth(record: int, kind: str) -> np.ndarray:
    """What a record holds: a function of its number."""
    return np.full(shape_of(record, kind), record + 1, np.uint8) if kind == "large" else _noise(record, kind)


# --- In the test's process.


def names(folder: str) -> list[str]:
    """Of the files in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


class RefusedError(Exception):
    """A peer's answer that is an error: its type and message."""


class Peer:
    """A process that does what it is told, see `Process`."""

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(PATIENCE)
        self._connection.connect(address)
        self._lines = self._connection.makefile("rw")
        self._tell(dict(environ))
        self.pid: int = self.hear()

    def ask(self, command: str, *arguments: Any, **named: Any) -> Any:
        """Tells it something and waits for the answer."""
        self.begin(command, *arguments, **named)
        return self.hear()

    def begin(self, command: str, *arguments: Any, **named: Any) -> None:
        """Tells it something; `hear` the answer later."""
        self._tell([command, arguments, named])

    def go_on(self) -> None:
        """To a process that pauses."""
        self._tell(None)

    def hear(self) -> Any:
        """The next thing that it says."""
        kind, said = self._next()
        assert kind != "exit", f"the process ended with {said}"
        if kind == "error":
            raise RefusedError(said)
        return said

    def wait(self) -> int:
        """Its exit status, or minus the signal that killed it."""
        while True:
            kind, said = self._next()
            if kind == "exit":
                self._lines.close()
                self._connection.close()
                return said

    def kill(self) -> int:
        """As the kernel does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def end(self, how: str = "return") -> int:
        """Has it end by itself; its exit status."""
        self.begin("end", how)
        return self.wait()

    def _tell(self, message: Any) -> None:
        self._lines.write(json.dumps(message) + "\n")
        self._lines.flush()

    def _next(self) -> tuple[str, Any]:
        for line in self._lines:
            with contextlib.suppress(json.JSONDecodeError):  # killed in the middle of a word
                kind, said = json.loads(line)
                return kind, said
        raise AssertionError("the launcher ended")


class Launcher:
    """Starts peers. Without torch a fork takes a tenth of the time."""

    def __init__(self, *, torch: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp())
        if not torch:
            self._write_stand_in()
        foreign = ("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_", "LOCAL_RANK", "DENSE_JOB")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environ |= {"PYTHONPATH": f"{self._folder}:{REPOSITORY}", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._folder / "socket"), *(["common.data.loader"] if torch else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=self._folder,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def _write_stand_in(self) -> None:
        """All of torch that the cache imports."""
        (self._folder / "torch/utils").mkdir(parents=True)
        (self._folder / "torch/__init__.py").write_text("Tensor = object\n")
        (self._folder / "torch/utils/data.py").write_text("Sampler = list\n")

    def start(self, **environ: str) -> Peer:
        """A process that is a job of its own, unless the environment says otherwise."""
        return Peer(str(self._folder / "socket"), environ)

    def rank(self, rank: int, job: str = "77.1") -> Peer:
        """One rank of a job, as a launcher of ranks starts it."""
        return self.start(LOCAL_RANK=str(rank), DENSE_JOB=job)

    def close(self) -> None:
        """Ends all that still run."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()
        shutil.rmtree(self._folder)


# --- In the launcher's process.


def serve(address: str) -> socket.socket:
    """Forks a child per connection, which returns it; the parent says on it how the child ended."""
    listener, running = socket.socket(socket.AF_UNIX), dict[int, socket.socket]()
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        ready = select.select([listener, sys.stdin], [], [], 0.01)[0]
        if sys.stdin in ready:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        if listener in ready:
            connection, _ = listener.accept()
            pid = os.fork()
            if not pid:
                for other in (listener, *running.values()):
                    other.close()
                signal.alarm(3 * PATIENCE)
                return connection
            running[pid] = connection
        _report_the_ended(running)


def _report_the_ended(running: dict[int, socket.socket]) -> None:
    for pid, connection in list(running.items()):
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            del running[pid]
            with connection, contextlib.suppress(BrokenPipeError):
                connection.sendall(f"\n{json.dumps(['exit', os.waitstatus_to_exitcode(code)])}\n".encode())


class Process:
    """What a peer does when told; each public method is a command."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile("rw")
        self._caches: dict[str, CachedRecords] = {}
        self._decode_s, self._kind = 0.0, "equal"

    @property
    def records(self) -> CachedRecords:
        """The cache that was made last."""
        return list(self._caches.values())[-1]

    def obey(self) -> None:
        """Until it is told to end."""
        os.environ.update(self._listen())
        self._say("pid", os.getpid())
        while True:
            command, arguments, named = self._listen()
            if command == "end":
                return self._end(*arguments)
            try:
                self._say("answer", getattr(self, command)(*arguments, **named))
            except Exception as error:
                self._say("error", f"{type(error).__name__}: {error}")

    def open(
        self,
        folder: str,
        content: str = "test",
        *,
        fits: float = 0.5,
        budget: str | int | None = None,
        kind: str = "equal",
        planned: bool = False,
        decode_s: float = 0,
    ) -> str:
        """Makes a cache and maps it; the name of its file."""
        self._decode_s, self._kind = decode_s, kind
        size = bytes_for(fits, kind) if budget is None else budget
        records = CachedRecords(
            self._decode, COUNT, SHAPES[kind], np.uint8, size, content=content, folder=Path(folder)
        )  # fmt: skip
        assert records.pages
        if planned:
            records.announce(planned_epochs())
        self._caches[content] = records
        return str(records.path)

    def open_tables(self, folder: str, budget: str | int) -> int:
        """A cache of records that nobody could keep here, and whose tables alone fill a small file system."""
        shape = np.random.default_rng(0).integers(1, 1500, (100_000, 2))
        self._caches["tables"] = records = CachedRecords(
            lambda record: np.full(shape[record], 7, np.uint8), len(shape), shape, np.uint8, budget, folder=Path(folder)
        )
        assert (records[5] == 7).all()
        return records.path.stat().st_size

    def _decode(self, record: int) -> np.ndarray:
        time.sleep(self._decode_s)
        return truth(record, self._kind)

    def read(self, records: Sequence[int], *, epoch: int | None = None, pausing: bool = False) -> list[int]:
        """Reads records at once; those of them that were wrong.

        Args:
            records: numbers.
            epoch: of the announced plan.
            pausing: says "copying" before the first byte is copied, and goes on when told.
        """
        out = Destination(np.zeros(shape_of(record, self._kind), np.uint8) for record in records)
        if pausing:
            out.before = self._pause
        times = None if epoch is None else planned_epochs().times(epoch, np.array(records))
        self.records.gather(np.array(records), out, times=times)
        return [record for record, array in zip(records, out, strict=True) if not right(array, record, self._kind)]

    def _pause(self) -> None:
        self._say("paused", "copying")
        self._listen()

    def read_by_threads(self, records: Sequence[int], threads: int) -> list[int]:
        """Each thread reads all records one by one; the wrong ones."""
        wrong, start = list[int](), threading.Barrier(threads)

        def read() -> None:
            start.wait(PATIENCE)
            for record in records:
                wrong.extend(self.read([record]))

        together([read] * threads)
        return wrong

    def fill(self) -> None:
        """Fills the cache with two threads."""
        self.records.fill(workers=2, progress=False)

    def stats(self) -> dict[str, float]:
        """Of all processes."""
        return self.records.stats()._asdict()

    def cached(self) -> list[int]:
        """Records in memory."""
        return np.flatnonzero(self.records.pages.cached(np.arange(COUNT))[2]).tolist()

    def size(self) -> int:
        """Bytes of the file."""
        return self.records.path.stat().st_size

    def inode(self) -> int:
        """Which file the name stands for now."""
        return self.records.path.stat().st_ino

    def accounts(self) -> dict[str, int]:
        """Pages by their use."""
        return accounts(self.records)

    def lock(self, record: int, content: str = "test") -> bool:
        """Takes a record's lock unless somebody holds it."""
        return self._caches[content].pages.slab.locks.try_lock(record + 1)

    def compete(self, contents: Sequence[str], times: int) -> None:
        """Threads, each of which enters and leaves the critical section of one cache."""

        def enter(content: str) -> None:
            locks = self._caches[content].pages.slab.locks
            for _ in range(times):
                with locks.exclusive():
                    pass

        together([partial(enter, content) for content in contents])

    def die_in(self, place: str) -> None:
        """From now on it kills itself where a record's checksum is made, or a record half put out."""
        die = partial(os.kill, os.getpid(), signal.SIGKILL)
        if place == "digest":
            cache_module._digest = lambda *_: die()  # type: ignore[assignment]
        else:
            Pages._evict = lambda pages, record: (pages._changing(record).__enter__(), die())  # type: ignore[method-assign,assignment,return-value]

    def pause_in_a_slab(self) -> None:
        """From now on it pauses where it has reserved a slab and not yet filled it."""
        Pages.fill = staticmethod(lambda *_: self._pause())  # type: ignore[method-assign,assignment]

    def close(self) -> None:
        """Lets go of the memory."""
        self.records.close()

    def free_space(self, folder: str) -> int:
        """Bytes free there."""
        return free_space(Path(folder))

    def enter_group(self, folder: str) -> None:
        """Moves into a control group."""
        Path(folder, "cgroup.procs").write_text("0")

    def tear(self, record: int) -> None:
        """Leaves a record's row of the table as a process does that is killed while it changes it."""
        pages = self.records.pages
        pages.version[record] |= 1
        pages.table[record, 1:] = -1

    def open_by_threads(self, folder: str, threads: int) -> int:
        """Makes as many caches of the same data at once; of how many slabs they are."""
        start, made = threading.Barrier(threads), list[CachedRecords]()

        def make() -> None:
            records = CachedRecords(self._decode, COUNT, SHAPE, np.uint8, "1%", content="test", folder=Path(folder))
            start.wait(PATIENCE)
            assert records.pages
            made.append(records)

        sys.setswitchinterval(1e-6)
        together([make] * threads)
        return len({id(records.pages.slab) for records in made})

    def share_a_plan(self, samples: int, *, seed: int = 4) -> list[int]:
        """Of a plan with so many samples: when each record is read next once half of them have been read."""
        plan = planned_epochs(samples, seed)
        plan.share(self.records.path)
        plan.mark(plan.times(0, np.arange(samples // 2)))
        return plan.next_use(np.arange(samples), np.full(samples, -1)).tolist()

    def fork_while_threads_read(self, forks: int) -> list[int]:
        """Statuses of children that each read one record, forked while two threads read."""
        stop = threading.Event()
        self.read([1])  # numpy imports some of its modules when they are first needed, under a lock
        sys.setswitchinterval(1e-6)

        def read() -> None:
            while not stop.is_set():
                self.read([1, 2])

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            children = [forked(lambda: self.read([3])) for _ in range(forks)]
            deadline = time.monotonic() + PATIENCE / 3
            return [status(child, deadline) for child in children]
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def plan_by_threads(self, folder: str, threads: int, rounds: int) -> list[str]:
        """Errors of threads that are the first to ask for the tables and marks of plans."""
        start, errors = threading.Barrier(threads), list[str]()
        sys.setswitchinterval(1e-6)

        def ask(plan: ReadPlan) -> None:
            start.wait(PATIENCE)
            try:
                plan.mark(plan.times(0, np.array([7])))
                due = plan.next_use(np.array([7]), np.array([-1])).tolist()
                assert due[0] in [int(plan.times(epoch, np.array([7]))[0]) for epoch in range(2)], due
            except Exception as error:
                errors.append(repr(error))

        for number in range(rounds):
            plan = planned_epochs(5000)
            plan.share(Path(folder) / f"slab{number}")
            together([partial(ask, plan)] * threads)
        return errors

    def storm(self, folder: str, **settings: Any) -> dict[str, Any]:
        """See there."""
        return Storm(Path(folder), **settings).run()

    def die_at_each_line(self, folder: str, **settings: Any) -> dict[str, Any]:
        """See there."""
        return Overtaking(Path(folder), **settings).run()

    def load(self, folder: str, mode: str, workers: int, *, bad: int = -1) -> list[Any]:
        """Two epochs of batches: the indices of each, and whether all its bytes were right."""
        self.loader, found = batches(Path(folder), mode, workers, bad=bad), []
        for epoch in range(2):
            self.loader.batch_sampler.sampler.set_epoch(epoch)
            for batch in self.loader:
                indices = batch["index"].tolist()
                frames = batch["frames"].numpy().reshape(-1, *SHAPE)
                pairs = zip(frames, WINDOWS[indices].ravel().tolist(), strict=True)
                found.append([indices, all(right(frame, record, "equal") for frame, record in pairs)])
        return found

    def load_and_kill(self, folder: str, mode: str) -> None:
        """Kills a worker while batches are made."""
        self.loader = batches(Path(folder), mode, 2, decode_s=0.02)
        stream = iter(self.loader)
        next(stream)
        os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)
        for _ in stream:
            pass

    def close_loader(self) -> None:
        """Ends the loader's workers."""
        self.loader.close()

    def _end(self, how: str) -> None:
        if how == "exit":
            sys.exit(5)
        if how == "raise":
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of its life
            raise RuntimeError("an error that nobody catches")

    def _say(self, kind: str, message: Any) -> None:
        self._lines.write(json.dumps([kind, message]) + "\n")
        self._lines.flush()

    def _listen(self) -> Any:
        line = self._lines.readline()
        if not line:
            os._exit(0)  # the test has ended
        return json.loads(line)


class Destination(list[np.ndarray]):
    """Arrays to copy to; calls `before` when the first is asked for."""

    before: Callable[[], None] | None = None

    def __getitem__(self, row: Any) -> Any:
        before, self.before = self.before, None
        if before is not None:
            before()
        return super().__getitem__(row)


def right(array: np.ndarray, record: int, kind: str) -> bool:
    """Whether these are the bytes of the record."""
    return np.array_equal(array, truth(record, kind))


def planned_epochs(samples: int = COUNT, seed: int = 4) -> ReadPlan:
    """Each record is a sample, in a new order each epoch."""
    return ReadPlan(np.arange(samples)[:, None], EpochSampler(samples, seed=seed, shuffle=True))


def accounts(records: CachedRecords, *, survey: bool = False) -> dict[str, int]:
    """Pages by their use, after looking for lost ones if asked to."""
    pages = records.pages
    with pages.slab.locks.exclusive():
        if survey:
            pages._survey(0)
        _, table, there = pages.cached(np.arange(COUNT))
        held = table[there]
        held, free = held[held >= 0].tolist(), pages.free[: pages.head[Head.FREE]].tolist()
    return {"all": pages.sizes.pages, "free": len(free), "cached": len(held), "different": len({*held, *free})}


def balanced(counts: Mapping[str, int]) -> bool:
    """Whether each page is either free or holds one record."""
    return counts["all"] == counts["free"] + counts["cached"] == counts["different"]


def together(tasks: Iterable[Callable[[], None]]) -> None:
    """Runs tasks in threads; raises the first error."""
    errors: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def forked(task: Callable[[], Any]) -> int:
    """A child that ends with 0 if the task returns nothing, with `WRONG` if it returns what was wrong."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(PATIENCE)  # it outlives nobody by much
    try:
        os._exit(WRONG if task() else 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def status(pid: int, deadline: float | None = None) -> int:
    """How a child ends; killed with SIGALRM where it hangs."""
    deadline = deadline or time.monotonic() + PATIENCE / 3
    while True:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(code)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGALRM)
        time.sleep(0.0005)


class Storm:
    """Processes that hammer one cache, of which some are killed at any moment and replaced.

    Args:
        folder: of the cache.
        kills: how many are killed.
        way: "forked" children share their parent's object; "ranks" make their own, beside the parent's, which stays;
            of "orphans" none stays, so the memory comes and goes with them.
        planned: they follow an announced plan.
        kind: of the records.
    """

    ALIVE = 4

    def __init__(self, folder: Path, *, kills: int, way: str, planned: bool, kind: str) -> None:
        self.folder, self.kills, self.way, self.planned, self.kind = folder, kills, way, planned, kind
        self.random = np.random.default_rng([kills, len(way), planned, len(kind)])
        self.statuses: dict[int, int] = {}
        for record in range(COUNT):
            truth(record, kind)  # children inherit it
        job_name()  # and this
        self.records = None if way == "orphans" else self._made()

    def run(self) -> dict[str, Any]:
        """Kills, then has the rest end by themselves, then looks what a fresh process finds."""
        alive: dict[int, tuple[int, float]] = {}  # when its time comes, and the pipe on which it said that it runs
        while self.statuses.get(-signal.SIGKILL, 0) < self.kills:
            while len(alive) < self.ALIVE:
                pid, pipe = self._started()
                alive[pid] = pipe, time.monotonic() + self.random.uniform(0.005, 0.06)
            pid = min(alive, key=lambda each: alive[each][1])
            pipe, moment = alive.pop(pid)
            time.sleep(max(0.0, moment - time.monotonic()))
            spared = self.random.random() < 0.15  # who is asked to end must be able to
            self._end(pid, pipe, signal.SIGUSR1 if spared else signal.SIGKILL)
        for pid, (pipe, _) in alive.items():
            self._end(pid, pipe, signal.SIGUSR1)
        return {"statuses": self.statuses, **self._fresh()}

    def _made(self) -> CachedRecords:
        budget = bytes_for(0.5, self.kind)
        records = CachedRecords(
            self._decode, COUNT, SHAPES[self.kind], np.uint8, budget, content="storm", folder=self.folder
        )  # fmt: skip
        if self.planned:
            records.announce(planned_epochs())
        assert records.pages
        return records

    def _decode(self, record: int) -> np.ndarray:
        if record % 3 == 0:
            time.sleep(0.0005)
        return truth(record, self.kind)

    def _started(self) -> tuple[int, int]:
        """A child that reads until it is killed or told to end, and a pipe; waits until it runs."""
        pipe, says = os.pipe()
        seed = int(self.random.integers(1 << 30))

        def read() -> list[int]:
            stop, wrong = threading.Event(), list[int]()
            signal.signal(signal.SIGUSR1, lambda *_: stop.set())
            os.write(says, b"r")
            if self.way != "forked":  # it may be killed while it makes the memory
                os.environ["LOCAL_RANK"] = "1"
                self.records = self._made()
            together([partial(self._hammer, seed + number, stop, wrong) for number in range(1 + seed % 2)])
            return wrong

        pid = forked(read)
        os.close(says)
        assert select.select([pipe], [], [], PATIENCE)[0], "a process did not start"
        assert os.read(pipe, 1) == b"r", "a process died before it started"
        return pid, pipe

    def _hammer(self, seed: int, stop: threading.Event, wrong: list[int]) -> None:
        random, plan, records = np.random.default_rng(seed), planned_epochs(), self.records
        assert records is not None
        epoch, place = int(random.integers(3)), int(random.integers(COUNT))
        while not stop.is_set():
            chosen, times = random.integers(0, COUNT, int(random.integers(1, 7))), None
            if self.planned and random.random() < 0.9:
                chosen = plan.sampler.order(epoch)[place : place + len(chosen)]
                times = plan.times(epoch, chosen)
                later, place = divmod(place + len(chosen), COUNT)
                epoch += later
            out = [np.empty(shape_of(record, self.kind), np.uint8) for record in chosen.tolist()]
            records.gather(chosen, out, times=times)
            pairs = zip(chosen.tolist(), out, strict=True)
            wrong.extend(record for record, array in pairs if not right(array, record, self.kind))
            if wrong:
                os._exit(WRONG)

    def _end(self, pid: int, pipe: int, how: signal.Signals) -> None:
        os.kill(pid, how)
        code = status(pid)
        os.close(pipe)
        self.statuses[code] = self.statuses.get(code, 0) + 1

    def _fresh(self) -> dict[str, Any]:
        """Of a process that starts now: reads all, fills, and counts pages and records."""
        answer, says = os.pipe()

        def look() -> None:
            os.environ["LOCAL_RANK"] = "2"
            records = self.records if self.way == "forked" else self._made()
            assert records is not None
            wrong = [record for record in range(COUNT) if not right(records[record], record, self.kind)]
            surveyed = accounts(records, survey=True)
            records.fill(progress=False)
            found = {"wrong": wrong, "surveyed": surveyed, "filled": accounts(records)}
            found |= {"damaged": records.stats().damaged, "per_record": records.pages.sizes.per_record}
            os.write(says, json.dumps(found).encode())
            records.close()

        assert status(forked(look)) == 0
        os.close(says)
        return json.loads(os.read(answer, 1 << 16))


class Overtaking:
    """Children that put a record out to write another, each killed one line of the cache's code later than the last.

    All the while this process stands in the middle of copying the first record. Before it goes on, another child writes
    over everything that the dead one gave away.

    Args:
        folder: of the cache.
        planned: reads follow an announced plan.
        kind: of the records.
    """

    def __init__(self, folder: Path, *, planned: bool, kind: str) -> None:
        self.planned, self.kind, self.plan = planned, kind, planned_epochs()
        sizes = np.array([math.prod(shape_of(record, kind)) for record in range(COUNT)])
        self.kept, *_, self.third, self.largest = np.argsort(sizes, kind="stable").tolist()
        needed = sizes_module.pages_for(sizes)[1]
        budget = bytes_for(needed.max() / needed.sum(), kind) + 1  # the largest record fits, and nothing beside it
        self.records = CachedRecords(partial(truth, kind=kind), COUNT, SHAPES[kind], np.uint8, budget, folder=folder)
        assert self.records.pages.sizes.pages == needed.max()
        if planned:
            self.records.announce(self.plan)

    def run(self) -> dict[str, Any]:
        """What was found.

        deaths: how many lines there were. Then the lines after which...
        wrong: somebody was handed a wrong byte;
        hung: the other child hung or failed;
        lost: pages were neither free nor cached, even after a survey.
        """
        found: dict[str, Any] = {"deaths": 0, "wrong": [], "hung": [], "lost": []}
        for line in itertools.count(1):
            codes: list[int] = []
            self._read([self.kept])
            if self._read([self.kept], partial(self._overtake, line, codes)) or WRONG in codes:
                found["wrong"].append(line)
            if codes[1:] not in ([0], [WRONG]):
                found["hung"].append(line)
            if not balanced(accounts(self.records, survey=True)):
                found["lost"].append(line)
            if codes[0] == 0:
                break
            assert codes[0] == -signal.SIGKILL, codes
            found["deaths"] += 1
        return found

    def _overtake(self, line: int, codes: list[int]) -> None:
        codes.append(status(forked(lambda: dying(line, partial(self._read, [self.largest])))))
        codes.append(status(forked(partial(self._read, [self.third, self.largest] * 2))))

    def _read(self, wanted: Sequence[int], before: Callable[[], None] | None = None) -> list[int]:
        wrong = []
        for record in wanted:
            out = Destination([np.zeros(shape_of(record, self.kind), np.uint8)])
            out.before = before
            self.records.pages.asked[record] = 1  # it is kept, whatever the plan says
            some = np.array([record])
            self.records.gather(some, out, times=self.plan.times(0, some) if self.planned else None)
            wrong += [] if right(out[0], record, self.kind) else [record]
        return wrong


def dying(line: int, task: Callable[[], Any]) -> Any:
    """Runs the task up to this many lines of the code that changes pages."""
    left = line

    def each(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != pages_module.__file__ and frame.f_code.co_name != "_keep":
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return each

    sys.settrace(each)
    try:
        return task()
    finally:
        sys.settrace(None)


# --- Batches.

WINDOWS = np.arange(COUNT - 5)[:, None] + np.array([0, 2, 5])


class Frames:
    """A source of records, of which one may be bad."""

    shape, dtype, content = SHAPE, np.uint8, "frames"

    def __init__(self, bad: int, decode_s: float) -> None:
        self.bad, self.decode_s = bad, decode_s

    def __len__(self) -> int:
        return COUNT

    def read_many(self, records: Sequence[int]) -> Iterator[np.ndarray]:
        for record in records:
            if record == self.bad:
                raise UserError(f"frame {record} of rally.mp4 cannot be decoded")
            time.sleep(self.decode_s)
            yield truth(record, "equal")


class Windows(RecordSamples):
    """Three frames and their index."""

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"frames": Field((3, *SHAPE), np.uint8), "index": Field((), np.int64)}

    def fetch(self, epoch: int, indices: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        self.gather(epoch, indices, out["frames"])
        out["index"][:] = indices


def batches(folder: Path, mode: str, workers: int, *, bad: int = -1, decode_s: float = 0) -> Any:
    """A loader with a cache in which half of the frames fit."""
    samples = Windows(Frames(bad, decode_s), WINDOWS)
    sampler = EpochSampler(len(WINDOWS), seed=3, shuffle=True)
    samples.cache(ReadPlan(WINDOWS, sampler, in_flight=20), budget=bytes_for(0.5, "equal"), folder=folder)
    loader = importlib.import_module("common.data.loader").BatchLoader
    return loader(samples, sampler, batch_size=4, workers=workers, mode=mode)


if __name__ == "__main__":
    for module in ("numpy.ma", *sys.argv[2:]):  # numpy imports some of its modules when they are first needed
        importlib.import_module(module)
    gc.freeze()
    Process(serve(sys.argv[1])).obey()
