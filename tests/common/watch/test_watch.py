"""Real runs of two and three processes, in which a rank fails, dies or hangs."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.common.watch.ports import own_ports

PROGRAM = Path(__file__).with_name("program.py")
ROOT = Path(__file__).resolve().parents[3]
HOST = r"\(host \S+\)"
ENDED = r"rank {} \(host \S+, pid \d+\) ended without a word \(killed\? out of memory\?\)"
HANGS = r"rank {} \(host \S+, pid \d+\) hangs: "
MISTAKE = r"data.root: found nothing, expected films; give --data.root FOLDER"

# ranks, unlucky ranks, harm, place, loader workers, timeout in seconds: status of rank 0, last line
RUNS = {
    "2 1 deadlock read 1 3": (
        1,
        HANGS.format(1) + r"no progress .*; its main thread stands at dataloader.py:\d+ in .*",
    ),
    "3 1 stop step 0 3": (1, HANGS.format(1) + "no heartbeat, .*"),
    "2 0 stop step 0 3": (-9, HANGS.format(0) + "no heartbeat, .*"),
    "2 1 deadlock step 1 3": (1, HANGS.format(1) + r"no progress .* stands at program.py:\d+ in stop_for_ever"),
    "2 1 nothing step 0 600": (0, r".*max_epochs=1.* reached.*"),
    "3 1 error step 0 600": (1, rf"rank 1 {HOST} failed first: ValueError: boom"),
    "2 0 error step 0 600": (1, rf"rank 0 {HOST} failed first: ValueError: boom"),
    "2 1 error validation 0 600": (1, rf"rank 1 {HOST} failed first: ValueError: boom"),
    "2 0 error after 0 600": (1, rf"rank 0 {HOST} failed first: ValueError: boom"),
    "2 1 mistake setup 0 600": (2, rf"rank 1 {HOST} failed first: {MISTAKE}"),
    "2 1 error read 1 600": (1, rf"rank 1 {HOST} failed first: ValueError: boom"),
    "2 1 interrupt step 0 600": (1, rf"rank 1 {HOST} failed first: KeyboardInterrupt"),
    "3 2 kill step 1 600": (1, ENDED.format(2)),
    "3 0 kill step 1 600": (-9, ENDED.format(0)),
    "2 1 crash step 0 600": (1, ENDED.format(1)),
    "2 1 kill import 0 600": (1, r"rank 1 \(host \S+, pid \d+\) ended before it had joined the others, by signal 9"),
    "2 0,1 leave step 1 600": (85, None),
    "2 0 leave setup 0 600": (85, None),
}


@dataclass
class Server:
    """The program that starts runs by forking."""

    process: "subprocess.Popen[str]"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


@dataclass
class Outcome:
    status: int | None
    lines: list[str]
    left: list[int]


def processes_of(session: int) -> list[int]:
    """Those that run, of a session: all ranks, loader processes and the sentry."""
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def outcome(server: Server, words: list[str], output: Path) -> Outcome:
    with own_ports(1) as ports:
        session = server.ask([str(output), ports[0], words])
        status, left, end = None, [session], time.monotonic() + 900
        while (left or status is None) and time.monotonic() < end:
            time.sleep(0.2)  # nothing tells when the last process of a session has ended
            status, left = server.ask(session) if status is None else status, processes_of(session)
    for pid in left:
        os.kill(pid, 9)
    return Outcome(status, output.read_text().strip().splitlines(), left)


@contextmanager
def serving() -> Iterator[Server]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(PROGRAM)], env=environment, **pipes) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Outcome]"]]:
    folder = tmp_path_factory.mktemp("runs")
    with serving() as server, ThreadPoolExecutor(6) as pool:  # four of them wait most of the time
        yield {
            words: pool.submit(outcome, server, words.split(), folder / f"{number}.txt")
            for number, words in enumerate(RUNS)
        }


@pytest.mark.parametrize("words", RUNS)
def test_all_processes_end_and_the_last_line_says_why(outcomes: "dict[str, Future[Outcome]]", words: str) -> None:
    status, last = RUNS[words]
    found = outcomes[words].result()
    assert found.left == []
    assert found.status == status
    if last is None:
        assert not any(re.match("rank|Traceback", line) for line in found.lines), "a planned stop is no failure"
    else:
        assert re.fullmatch(last, found.lines[-1]), "\n".join(found.lines)


def test_nothing_is_said_of_the_ranks_that_suffer_from_the_first(outcomes: "dict[str, Future[Outcome]]") -> None:
    lines = outcomes["3 1 error step 0 600"].result().lines
    assert sum(line.startswith("Traceback") for line in lines) == 1
    assert not any("closed by peer" in line for line in lines)


def test_processes_that_python_starts_anew_follow_rank_0(tmp_path: Path) -> None:
    """As Lightning starts them: rank 0 is killed before its child has imported torch, let alone joined."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    code = "import sys, common.watch.processes as p; p.follow_launcher(); print(flush=True); sys.stdin.read()"
    parent = f"""
import os, subprocess, sys, common.watch.processes as p
p.announce_launcher()
os.environ["LOCAL_RANK"] = "1"
child = subprocess.Popen([sys.executable, "-c", {code!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", parent], env=environment, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
