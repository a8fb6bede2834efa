"""The thread by which a rank tells the sentry how it is, and ends when the sentry says so."""

import os
import socket
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path
from subprocess import Popen
from typing import Any

from common.watch.judge import Cause
from common.watch.link import BEAT_S, Link
from common.watch.processes import kill_children

TEARDOWN_S = 3.0
"""Seconds that a rank which has failed has to close its loggers."""

GO_S = 15.0
"""Seconds that a rank waits for the sentry's last word."""

_SENTRY_GONE = Cause(
    0, ["the sentry of this run, a process beside rank 0, ended without a word (killed? machine gone?)"]
)
_STACK = 12  # frames shown; the innermost
_WAITING = ("torch/distributed/", "torch/autograd/", "torch/nn/parallel/", "common/ranks.py")
_PYTHON = sysconfig.get_paths()["stdlib"]

Mark = tuple[int, str, bool]
"""How many marks of progress, where the last one was, and whether the next one may be long in coming."""


class Member(threading.Thread):
    """A rank's end of the watch.

    Args:
        rank: of this process.
        link: to the sentry.
        token: that the sentry expects.
        mark: says where the rank is now.
        launched: processes that this one has started, by rank.
        sentry: process of the sentry, if this one has started it.
    """

    def __init__(
        self,
        rank: int,
        link: Link,
        *,
        token: str,
        mark: Callable[[], Mark],
        launched: Mapping[int, Popen[Any]],
        sentry: Popen[Any] | None = None,
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self.rank, self.link, self.mark = rank, link, mark
        self.launched, self.sentry = dict(launched), sentry
        self._failed, self._left, self._closed = False, False, threading.Event()
        self._go = False
        self.kept: object = None  # lives as long as this
        link.send(token=token, rank=rank, join={"host": socket.gethostname(), "pid": os.getpid()})

    def run(self) -> None:
        """Says every second where the rank is; ends the process on the sentry's word, or with the sentry."""
        while not self._go:
            messages = self.link.receive() if wait([self.link.connection], BEAT_S) else []
            if messages is None and self._left:
                return
            if messages is None:
                self._end(_SENTRY_GONE, say=True)
            for message in messages or []:
                self._obey(message)
            if not self._left:
                self.link.send(mark=self.mark())
            self._report_ended()

    def fail(self, error: BaseException) -> None:
        """Says why this rank fails; the first time counts."""
        if not self._failed:
            self._failed = True
            self.link.send(failed=asdict(Cause.of(error, self.rank, socket.gethostname())))

    def end(self, error: BaseException) -> None:
        """Fails, and does not return: the process ends when the first cause is known."""
        self.fail(error)
        self._closed.set()
        while self.is_alive():
            with suppress(SystemExit):  # asked to stop by a signal: it does
                self.join()

    def leave(self, status: int) -> None:
        """Says goodbye as planned, and waits for the others: all exit together, and with their status if one fails."""
        self._left = True
        self.link.send(left=status)
        self.join()

    def _obey(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"where": True}:
                self.link.send(answer=where_main_thread_stands())
            case {"verdict": cause}:
                self._end(Cause(**cause))
            case {"go": True}:
                self._go = True

    def _report_ended(self) -> None:
        for rank, process in list(self.launched.items()):
            if process.poll() is not None:
                del self.launched[rank]
                self.link.send(ended={"rank": rank, "pid": process.pid, "status": process.returncode})

    def _end(self, cause: Cause, *, say: bool = False) -> None:
        """Ends this process and what it has started: a main thread inside a collective cannot be interrupted."""
        if self._failed:
            self._closed.wait(TEARDOWN_S)
        _flush()
        kill_children(but=[process.pid for process in (*self.launched.values(), self.sentry) if process])
        self.link.send(quiet=True)
        self.link.connection.settimeout(GO_S)
        while (messages := self.link.receive()) is not None and {"go": True} not in messages:
            pass  # the sentry's last word comes first
        if say:
            print(*cause.lines, sep="\n", file=sys.stderr, flush=True)
        os._exit(cause.status)


def where_main_thread_stands() -> dict[str, Any]:
    """`at`: the innermost line outside of Python's library; `stack`: as in a traceback; `waiting`: for other ranks."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    frames = traceback.extract_stack(frame)
    own = [each for each in frames if "site-packages" in each.filename or not each.filename.startswith(_PYTHON)]
    return {
        "at": f"{Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}" if own else "Python's library",
        "stack": "".join(traceback.format_list(frames[-_STACK:])).rstrip().splitlines(),
        "waiting": any(part in frames[-1].filename for part in _WAITING),
    }


def _flush() -> None:
    """Writes out what was printed, if no other thread is stuck in doing so."""

    def flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    thread.join(1.0)
