import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
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


def _work(answers: Any) -> None:
    leave_signals_to_parent()
    answers.put("ready")
    while True:
        signal.pause()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_is_ended_by_its_parent_and_by_nobody_else(method: str) -> None:
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    worker = context.Process(target=_work, args=(answers,), daemon=True)
    worker.start()
    assert answers.get(timeout=60) == "ready"
    for number in ("TERM", "USR1", "INT"):
        subprocess.run(["kill", f"-{number}", str(worker.pid)], check=True)  # from another process
    worker.join(timeout=1)
    assert worker.is_alive()
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
