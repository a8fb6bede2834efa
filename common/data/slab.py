"""Named shared memory of one job on one node: reserved up front, gone with its last owner, like its locks."""

import contextlib
import errno
import fcntl
import mmap
import multiprocessing
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import psutil

from common.data.memory import show_bytes
from common.errors import UserError

PREFIX = "dense-"
_JOB = "DENSE_JOB"
_HEADER = mmap.PAGESIZE
_READY = b"\1"  # at the start of the file, written last
_RENEWED: "weakref.WeakSet[Renewed]" = weakref.WeakSet()
_OPEN: "weakref.WeakValueDictionary[Path, Slab]" = weakref.WeakValueDictionary()


class Layout(NamedTuple):
    """What the creator of a slab decides for all.

    Attributes:
        size: bytes.
        fill: writes the first contents; the others see the slab after that.
    """

    size: int
    fill: Callable[[np.ndarray], None]


def shared_folder() -> Path:
    """Where shared memory lives: /dev/shm, or the folder for temporary files on systems without it."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def job_name(environ: Mapping[str, str] = os.environ) -> str:
    """The same for all processes of one job on this node, different for any two jobs.

    SLURM's job and step where `srun` started the ranks; the process of torchrun or mpirun; else the first process of
    the job, whose children inherit it. Call it before ranks are started.
    """
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        restarts = environ.get("SLURM_RESTART_COUNT", "0")
        return f"slurm{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}.{restarts}"
    if {"TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"} & environ.keys():
        return _process_name(os.getppid())
    child = "LOCAL_RANK" in environ or multiprocessing.parent_process() is not None
    if not (child and _JOB in environ):  # anybody else's variable is of a program that merely started this one
        os.environ[_JOB] = _process_name(os.getpid())
    return os.environ[_JOB]


def _process_name(pid: int) -> str:
    return f"{pid}.{int(psutil.Process(pid).create_time() * 100)}"  # numbers of processes are used again


class Slab:
    """A file in shared memory, mapped by all processes of a job on this node.

    The first to `open` it creates it; others find it. Every opener holds a lock for as long as the object lives; the
    last one removes the file, and what a killed job left is removed by `sweep`. Loader processes `attach` and own
    nothing.

    Attributes:
        path: of the file.
        bytes: its contents, uint8.
        locks: for writers.
    """

    def __init__(self, path: Path, descriptor: int, *, owner: bool) -> None:
        self.path = path
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.bytes: np.ndarray = np.frombuffer(self._map, dtype=np.uint8)[_HEADER:]
        self.locks = Locks(descriptor)
        weakref.finalize(self, _release, path, descriptor, os.getpid() if owner else 0)
        _OPEN[path] = self

    @classmethod
    def open(cls, path: Path, layout: Callable[[], Layout]) -> "Slab":
        """Finds the slab or creates it.

        Args:
            path: of the file.
            layout: called by the creator alone.

        Raises:
            UserError: the file system cannot hold it.
        """
        with _OPENING.mutex:
            while True:
                slab = _OPEN.get(path)
                if slab is not None:
                    return slab
                descriptor = _created(path, layout) or _found(path)
                if descriptor is None:
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for the creator
                if os.pread(descriptor, 1, 0) == _READY and _is_at(path, descriptor):
                    return cls(path, descriptor, owner=True)
                _remove(path, descriptor)  # its creator was killed
                os.close(descriptor)

    @classmethod
    def attach(cls, path: Path) -> "Slab":
        """In a loader's process: maps what its parent owns."""
        with _OPENING.mutex:
            return _OPEN.get(path) or cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC), owner=False)


class Locks:
    """Locks on numbers, held by one thread of one process of all that map the slab.

    POSIX record locks: the kernel lifts them when their process ends, however it ends, and a forked child has none. As
    they do not tell threads of one process apart, and the process loses them all when it closes any descriptor of the
    file, each slab is opened once per process, and threads are told apart here.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """In a forked child: the locks of its parent's threads are not its own."""
        self._held, self._mutex, self._first = set[int](), threading.Lock(), threading.Lock()

    def try_lock(self, number: int) -> bool:
        """Takes the lock unless somebody holds it."""
        with self._mutex:
            if number in self._held:
                return False
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                return False
            self._held.add(number)
            return True

    def unlock(self, number: int) -> None:
        """Gives the lock back."""
        with self._mutex:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)
            self._held.discard(number)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds number 0, waiting for it; for work of microseconds that waits for nothing else."""
        with self._first:
            while not _locked(self._descriptor):
                time.sleep(1e-4)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, 0)


def _locked(descriptor: int) -> bool:
    """Waits for lock 0; False where the kernel, which looks at processes and not at threads, sees a circle of waits."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, 0)
    except OSError as error:
        if error.errno != errno.EDEADLK:
            raise
        return False
    return True


@runtime_checkable
class Renewed(Protocol):
    """What must not go into a forked child as it is, because a thread of the parent may hold it."""

    def renew(self) -> None:
        """Called in the child."""
        ...


def renewed_in_children(owner: Renewed) -> None:
    """Has an object's `renew` called in every forked child."""
    _RENEWED.add(owner)


class _Opening:
    """One thread at a time: a process opens each slab once, see `Locks`."""

    def __init__(self) -> None:
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        self.mutex = threading.Lock()


_OPENING = _Opening()


def _renew_all() -> None:
    for owner in list(_RENEWED):
        owner.renew()


os.register_at_fork(after_in_child=_renew_all)


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Takes the space now: a mapping that the file system cannot back would kill the process with SIGBUS later.

    Raises:
        UserError: there is too little of it.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG):
            raise
        os.ftruncate(descriptor, 0)
        raise UserError(
            f"{path.parent}: {show_bytes(size)} of shared memory needed, {show_bytes(free_space(path.parent))} free; "
            "give a smaller cache (`cache: 10%`, `2GB`, or 0 for none), another folder (`cache_folder`, on a local "
            "disk), or enlarge it (docker: --shm-size; as root: mount -o remount,size=...)"
        ) from error


def free_space(folder: Path) -> int:
    """Bytes that this user can still write to the folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def sweep(folder: Path) -> None:
    """Removes slabs of this user whose owners are all dead."""
    for path in folder.glob(f"{PREFIX}{os.getuid()}-*"):
        if path in _OPEN:  # closing a second descriptor of it would lift this process's locks
            continue
        slab, plan, _ = path.name.partition(".plan-")
        if plan:  # goes with its slab
            if not path.with_name(slab).exists():
                path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path, descriptor)
            os.close(descriptor)


def _created(path: Path, layout: Callable[[], Layout]) -> int | None:
    """A descriptor of the slab, made here; None where there is one already."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size, fill = layout()
        reserve(descriptor, _HEADER + size, path)
        fill(np.frombuffer(mmap.mmap(descriptor, _HEADER + size), dtype=np.uint8)[_HEADER:])
    except BaseException:
        _remove(path, descriptor)
        os.close(descriptor)
        raise
    os.pwrite(descriptor, _READY, 0)
    return descriptor


def _found(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # removed by its last owner just now
        return None


def _release(path: Path, descriptor: int, owner: int) -> None:
    if owner not in (0, os.getpid()):  # a forked child shares its parent's lock
        return
    if owner:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # the mapping keeps a duplicate of the descriptor open
    os.close(descriptor)


def _remove(path: Path, descriptor: int) -> None:
    """Removes the file and the plans beside it, unless another has taken its name."""
    if _is_at(path, descriptor):
        path.unlink(missing_ok=True)
        for plan in path.parent.glob(f"{path.name}.plan-*"):
            plan.unlink(missing_ok=True)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
