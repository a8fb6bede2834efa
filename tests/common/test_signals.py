import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from common.signals import (
    UNFINISHED,
    Stopped,
    StopRequest,
    leave_signals_to_parent,
    request,
    stopping_on_signals,
)


@pytest.fixture
def asked() -> Iterator[StopRequest]:
    with stopping_on_signals() as found:
        yield found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_outside_of_loops_a_signal_ends_the_process_at_once(asked: StopRequest, number: signal.Signals) -> None:
    with pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.code == UNFINISHED == 85
    assert stopped.value.reason == number.name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_in_a_loop_it_waits_until_it_is_asked_for(
    asked: StopRequest, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    asked.in_loop = True
    assert not asked.asked()
    os.kill(os.getpid(), number)
    assert asked.asked()
    assert asked.reason == number.name
    assert f"{number.name}: stopping after this batch" in capfd.readouterr().err


def test_a_second_interrupt_is_immediate(asked: StopRequest) -> None:
    asked.in_loop = True
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_term_changes_nothing(asked: StopRequest) -> None:
    asked.in_loop = True
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked.reason == "SIGTERM"


def test_a_forked_worker_leaves_signals_to_its_parent(asked: StopRequest) -> None:
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)  # a cluster signals every process of a job
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert not asked.asked()


def _work(link: Connection) -> None:
    leave_signals_to_parent()
    while True:
        link.send("here")
        link.recv()


def await_that_taken(process: int) -> None:
    """Waits until no signal is pending for a process, or it has ended."""
    limit, status = time.monotonic() + 300, Path(f"/proc/{process}/status")
    while re.search(r"State:\t[^Z](.*\n)*(Sig|Shd)Pnd:.*[1-9a-f]", status.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_is_ended_by_its_parent_and_by_nobody_else(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    link, theirs = context.Pipe()
    worker = context.Process(target=_work, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    assert link.recv() == "here"
    for number in ("USR1", "INT", "TERM", "TERM"):  # who takes the second has survived the first
        subprocess.run(["kill", f"-{number}", str(worker.pid)], check=True)  # from another process
        await_that_taken(worker.pid)
    link.send("still there?")
    assert link.recv() == "here"
    worker.terminate()
    worker.join(timeout=60)
    assert worker.exitcode == 0


def test_the_clock_asks_too(asked: StopRequest) -> None:
    asked.set_time_limit(3600.0)
    assert not asked.asked()
    asked.set_time_limit(-1.0)
    assert asked.asked()
    assert asked.reason == "time limit"


def test_handlers_and_requests_are_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_signals() as asked:
        asked.reason = "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before
    with stopping_on_signals() as again:
        assert again is request
        assert not again.asked()
