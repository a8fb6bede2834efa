"""Processes that end with the one that started them."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Collection

import psutil

_PDEATHSIG = 1  # of prctl(2)
_LAUNCHER = "DENSE_LAUNCHER"
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_forking = {"watched": False, "by_main": False}


def die_with_parent(yes: bool = True) -> None:
    """Has the kernel kill this process when the thread that started it ends; on Linux only."""
    if _libc is not None:
        _libc.prctl(_PDEATHSIG, int(signal.SIGKILL) if yes else 0, 0, 0, 0)


def announce_launcher() -> None:
    """Tells processes that this one will start, by their environment, whom they follow."""
    os.environ[_LAUNCHER] = str(os.getpid())


def follow_launcher() -> None:
    """In a process that a rank has started as another rank: ends with it."""
    launcher = int(os.environ.get(_LAUNCHER, "0"))
    if launcher == 0 or os.environ.get("LOCAL_RANK", "0") == "0":  # a launcher's other children owe it nothing
        return
    if launcher == os.getppid():
        die_with_parent()
    elif not psutil.pid_exists(launcher):  # it died while this one started
        raise SystemExit(1)


def end_children_with_me() -> None:
    """From now on, processes that the main thread forks, such as a loader's, are killed when this one ends."""
    _forking["watched"] = True


def kill_children(*, but: Collection[int]) -> None:
    """Kills what this process has started, and what those have started.

    Args:
        but: process numbers that are left alone.
    """
    for child in psutil.Process().children():
        if child.pid in but or _is_tracker(child):
            continue
        for process in [*_below(child), child]:
            _kill(process)


def kill(pid: int) -> None:
    """Kills a process of this user, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return


def _is_tracker(process: psutil.Process) -> bool:
    """Python's own, which removes shared memory once all its users are gone, and then ends."""
    try:
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _before_fork() -> None:
    _forking["by_main"] = threading.current_thread() is threading.main_thread()


def _in_forked_child() -> None:
    if _forking["watched"] and _forking["by_main"]:  # of another thread the child would not survive the end
        die_with_parent()


os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child)
