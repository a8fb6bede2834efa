"""Stopping on request: by signal, or by the clock."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType

UNFINISHED = 85
"""Exit status of a run that was stopped before its end and goes on when it is started again.

85 is what BSD's sysexits and the shells leave free, and what SLURM's and PBS's scripts here look for.
"""

_STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class Stopped(SystemExit):
    """Ends the process with status `UNFINISHED`.

    Args:
        reason: why, such as "SIGTERM".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(UNFINISHED)
        self.reason = reason


class StopRequest:
    """Whether this process was asked to stop.

    In a loop, the request is kept until the loop asks for it, at the end of a batch: nothing is ever saved or ended
    inside a signal handler, in the middle of a step. Outside of loops it takes effect at once.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what was asked before."""
        self.reason: str | None = None
        self.in_loop = False
        self.deadline: float | None = None
        self._process = os.getpid()

    def set_time_limit(self, seconds: float) -> None:
        """Asks to stop this many seconds from now."""
        self.deadline = time.monotonic() + seconds

    def asked(self) -> bool:
        """Whether to stop now; by a signal before, or as the time is over."""
        if self.reason is None and self.deadline is not None and time.monotonic() > self.deadline:
            self.reason = "time limit"
        return self.reason is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if os.getpid() != self._process:  # a forked loader worker, which its parent ends
            return
        name = signal.Signals(number).name
        if number == signal.SIGINT and self.reason is not None:  # pressed twice: now
            raise KeyboardInterrupt
        self.reason = name
        if not self.in_loop:
            raise Stopped(name)
        with contextlib.suppress(OSError):  # a terminal or a pipe that is gone must not end the step
            os.write(2, f"{name}: stopping after this batch{_AGAIN if number == signal.SIGINT else ''}\n".encode())


_AGAIN = "; press again to stop at once, without saving"

request = StopRequest()
"""Of this process: signals know no other scope."""


@contextmanager
def stopping_on_signals() -> Iterator[StopRequest]:
    """Catches SIGTERM, SIGUSR1, SIGHUP and the first SIGINT meanwhile, but what is ignored, as by `nohup`.

    In a thread beside the main one, where Python takes no handlers, signals do what they did.
    """
    request.reset()
    caught = _STOPPING if threading.current_thread() is threading.main_thread() else ()
    heard = [number for number in caught if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, request.handle) for number in heard}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """From now on, what would stop this process does nothing: it is ending."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def leave_signals_to_parent() -> None:
    """In a loader's worker: only its parent ends it; what a cluster sends to every process of a job does nothing.

    The parent's own batch may still need it.
    """
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()  # killed; a worker of a fork server would never hear of it
    os._exit(0)


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
