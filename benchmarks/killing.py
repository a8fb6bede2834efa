"""A training that is killed at random moments, its newest checkpoint damaged at times, and started again until it ends.

Each start is a process in a session of its own. `fork` makes one from this process, which has imported everything, in
milliseconds; `spawn` runs the command as a person would.
"""

import atexit
import os
import random
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from noting import SAVING, Note

SIGNALS, SHARES = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1), (0.6, 0.3, 0.1)
IN_SAVES = 0.25
"""Share of the kills that come while a checkpoint is written."""

SAVE_S = 0.05
"""About what a save takes."""


class Subject(NamedTuple):
    """What is killed.

    Attributes:
        start: starts a training in this folder, or goes on with it; the process.
        newest: the checkpoint that it would go on from.
        ended: whether a status of 0 is true.
    """

    start: Callable[[Path], int]
    newest: Callable[[Path], Path | None]
    ended: Callable[[Path], bool] = lambda folder: True


class Kills(NamedTuple):
    """How a subject is treated.

    Attributes:
        lead_s: seconds of a start that no training happens in, such as imports: most kills come after them.
        span_s: seconds after them in which kills come.
        damage: probability that the newest checkpoint is damaged before a restart.
        limit_s: seconds after which a process is stuck.
        most: kills of one run; after them it may go on in peace.
    """

    lead_s: float
    span_s: float
    damage: float
    limit_s: float
    most: int


class Kill(NamedTuple):
    """One to come.

    Attributes:
        after_s: seconds after the start.
        within_s: not before the next save then, and so many seconds after that begins; None: at once.
    """

    number: signal.Signals
    after_s: float
    within_s: float | None

    @classmethod
    def drawn(cls, draw: random.Random, kills: Kills) -> "Kill":
        after = draw.uniform(0, kills.span_s) + kills.lead_s * (draw.random() < 0.8)
        within = draw.uniform(0, SAVE_S) if draw.random() < IN_SAVES else None
        return cls(draw.choices(SIGNALS, SHARES)[0], after, within)


class Start(NamedTuple):
    """One process.

    Attributes:
        status: exit status, negative for the signal that ended it; None: stuck.
        signal: that it was sent; None: it ended by itself.
        phase: in which the signal came, or the process ended.
        resumed: step it went on from; -1: it did not come to train.
        step: that the run has reached.
        damaged: what was done to the newest checkpoint before.
    """

    status: int | None
    signal: signal.Signals | None
    phase: str
    resumed: int
    step: int
    damaged: str


def live(subject: Subject, folder: Path, draw: random.Random, kills: Kills) -> list[Start]:
    """Starts a subject until it ends with status 0, cannot go on, or is stuck."""
    folder.mkdir(parents=True)
    starts: list[Start] = []
    while not starts or _goes_on(starts[-1], subject, folder):
        damaged = _damage(subject.newest(folder), draw) if starts and draw.random() < kills.damage else ""
        kill = Kill.drawn(draw, kills) if len(starts) < kills.most else None
        starts.append(_one(subject, folder, damaged, kill, kills.limit_s))
    return starts


def lost_steps(starts: Sequence[Start], every: int) -> list[tuple[int, int]]:
    """Steps that each training repeated of what had been done before, and the most that it may.

    After polite ends that is none, else the interval of saves, or two where the newest checkpoint was damaged.
    """
    found, since = [], list[Start]()
    for start in starts:
        if start.resumed >= 0 and since:
            hurt = bool(start.damaged) or any(one.damaged for one in since[1:])
            polite = all(one.status == 85 for one in since)
            allowed = 2 * every if hurt else 0 if polite else every
            found.append((since[-1].step - start.resumed, allowed))
        since = [start] if start.resumed >= 0 else [*since, start]
    return found


def fork(train: Callable[[Path], None], folder: Path, temporary: Path) -> int:
    """Runs `train(folder)` in a new process that starts as the command would; its output goes to `folder/log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status: Any = 1
    try:
        _as_new(folder, temporary)
        train(folder)
        status = 0
    except SystemExit as left:
        status = left.code or 0
    except BaseException:  # of any kind: it ends here
        traceback.print_exc()
    finally:  # as the interpreter ends
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status if isinstance(status, int) else 1)


def spawn(words: Sequence[str], folder: Path, temporary: Path) -> int:
    """Runs a Python command in a new process; its output goes to `folder/log`."""
    mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [(os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), mode, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
    env = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    return os.posix_spawn(sys.executable, [sys.executable, *words], env, file_actions=files, setsid=True)


def _as_new(folder: Path, temporary: Path) -> None:
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    torch.set_num_threads(1)
    torch.seed()  # nobody counts on what a fork inherits
    random.seed()
    np.random.seed()


def _one(subject: Subject, folder: Path, damaged: str, kill: Kill | None, limit: float) -> Start:
    note = Note(folder / "note")
    note.begin()
    process = subject.start(folder)
    sent, status = None, _wait(process, limit if kill is None else kill.after_s)
    if kill is not None and kill.within_s is not None:
        status = _wait_for_save(process, status, note, kill.within_s)
    phase = note.phase
    if status is None and kill is not None:
        os.kill(process, kill.number)
        sent, status = kill.number, _wait(process, limit)
    if status is None:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return Start(status, sent, phase, note.resumed, note.step, damaged)


def _wait_for_save(process: int, status: int | None, note: Note, within: float) -> int | None:
    """Returns that many seconds into the next save, or when the process ends or hangs."""
    until = perf_counter() + 60
    while status is None and note.phase != SAVING and perf_counter() < until:
        status = _wait(process, 0.002)
    return _wait(process, within) if status is None else status


def _wait(process: int, seconds: float) -> int | None:
    """The exit status of a child; None while it runs."""
    descriptor = os.pidfd_open(process)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            return None
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _goes_on(last: Start, subject: Subject, folder: Path) -> bool:
    if last.status == 0:
        return not subject.ended(folder)
    return last.status is not None and (last.signal is not None or last.status == 85)


def _damage(path: Path | None, draw: random.Random) -> str:
    """Cuts a file short or flips one of its bits; what was done."""
    if path is None or not path.is_file() or not path.stat().st_size:
        return ""
    place = draw.randrange(path.stat().st_size)
    if draw.random() < 0.5:
        os.truncate(path, place)
        return f"{path.name} cut to {place} bytes"
    with path.open("rb+") as file:
        file.seek(place)
        byte, bit = file.read(1)[0], draw.randrange(8)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
    return f"{path.name} bit {bit} of byte {place} flipped"
