import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from common.pool import in_processes

STOPPED = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from common.pool import in_processes
from common.signals import stopping_on_signals
root = Path(sys.argv[1])

def task(number):
    (root / f"{os.getpid()}.pid").touch()
    while not (root / "asked").exists():
        time.sleep(0.01)
    (root / f"{number}.done").touch()

with stopping_on_signals():
    for _ in in_processes([partial(task, number) for number in range(40)], 2):
        pass
"""


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_run_once(tmp_path: Path, workers: int) -> None:
    tasks = [partial(os.mkdir, tmp_path / str(number)) for number in range(5)]
    assert len(list(in_processes(tasks, workers))) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]
    assert list(in_processes([], workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(tmp_path: Path, workers: int) -> None:
    tasks = [partial(os.rmdir, tmp_path / "absent"), partial(os.mkdir, tmp_path / "made")]
    with pytest.raises(FileNotFoundError, match="absent"):
        list(in_processes(tasks, workers))


def await_that(fulfilled: object) -> None:
    limit = time.monotonic() + 60
    while not fulfilled():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.01)


def started(folder: Path) -> "subprocess.Popen[bytes]":
    run = subprocess.Popen([sys.executable, "-c", STOPPED, str(folder)], start_new_session=True, stderr=subprocess.PIPE)
    await_that(lambda: len(list(folder.glob("*.pid"))) == 2)
    return run


def test_a_signal_to_all_processes_ends_it_after_the_tasks_in_hand(tmp_path: Path) -> None:
    run = started(tmp_path)
    os.killpg(run.pid, signal.SIGTERM)
    (tmp_path / "asked").touch()
    assert run.wait(timeout=60) == 85
    assert 2 <= len(list(tmp_path.glob("*.done"))) < 10  # and none begun afterwards, but what was queued


def test_workers_end_when_they_are_left_alone(tmp_path: Path) -> None:
    run = started(tmp_path)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    run.kill()
    run.wait(timeout=60)
    await_that(lambda: not any(alive(worker) for worker in workers))
    assert len(workers) == 2


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
