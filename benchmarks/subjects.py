"""The trainings that are killed: ours, forked and as a command, and Lightning's; and whether one ended as another."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import stock
import torch
from killing import Subject, fork, spawn
from noting import Note, Progress
from torch import Tensor

from common.checkpoints import BEST, RunCheckpointIO, load, newest
from common.cli import run
from projects.ball.train import PROJECT

EVERY = 5
"""Steps from one save to the next."""

TRAINER = {"max_epochs": 3, "limit_train_batches": 12, "limit_val_batches": 4, "num_sanity_val_steps": 1}
MODEL = {"size_hw": [64, 96], "tau": 60.0, "threshold": 0.1}  # so that a few steps have a score, and it changes
STEPS = 36
SET_UP_S, IMPORTS_S = 1.0, 10.0
"""Seconds, about, before a fork trains, and before a command of its own has handlers for signals."""

Settings = Mapping[str, Mapping[str, Any]]


class Places(NamedTuple):
    """Where a run writes.

    Attributes:
        folder: of the run, on the disk.
        data: that all train on, on the disk.
        temporary: TMPDIR, on another file system.
        cache: in shared memory.
        threads: that load.
    """

    folder: Path
    data: Path
    temporary: Path
    cache: Path
    threads: int = 0

    @classmethod
    def make(cls, roots: tuple[Path, Path], name: str, *, threads: int = 0) -> "Places":
        disk, memory = roots
        made = cls(disk / name, disk / "data", memory / name / "tmp", memory / name / "cache", threads)
        made.temporary.mkdir(parents=True)
        made.cache.mkdir()
        return made

    def settings(self) -> dict[str, dict[str, Any]]:
        store = str(self.data.with_name("store"))
        places = {"root": str(self.data), "store": store, "cache_folder": str(self.cache)}
        trainer = TRAINER | {"log_every_n_steps": 1}
        return {"model": MODEL, "data": places | {"num_workers": self.threads}, "trainer": trainer}

    def note(self) -> Note:
        return Note(self.folder / "note")

    def left(self) -> list[str]:
        """Temporary files in the run's folder and in the cache's that nobody removed."""
        hidden = [path for path in self.folder.rglob(".*") if path.is_file() or path.is_symlink()]
        return [str(path) for path in (*hidden, *self.cache.rglob("*"))]

    def left_in_tmpdir(self) -> list[str]:
        """What killed processes left where the system clears up."""
        return [str(path) for path in self.temporary.rglob("*")]


class Difference(NamedTuple):
    """Of two runs: what is not alike, and the rows of metrics.csv that the second one lost and doubled."""

    faults: list[str]
    rows: tuple[int, int]


@dataclass(frozen=True)
class Kind:
    """What is soaked.

    Attributes:
        subject: to be started, in its places.
        compare: the run that was not killed and another one.
        lead_s: seconds of a start that no training happens in.
    """

    name: str
    subject: Callable[[Places], Subject]
    compare: Callable[[Places, Places], Difference]
    lead_s: float = SET_UP_S


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two checkpoints differ, bit by bit."""
    if path.startswith(_APART):
        return
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if not torch.equal(one, other):
            yield path
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}/{number}")
    elif one != other and not (one != one and other != other):  # noqa: PLR0124 - not a number
        yield f"{path}: {one} {other}"


_APART = ("/loops", "/run/seconds", "/run/settings", "/run/metrics/data/")
"""Counters of validation batches, times, and the number of threads may differ."""


def _words(places: Places) -> list[str]:
    words = ["fit", "--runs", str(places.folder / "runs"), "--run", "soaked", f"--save.every_steps={EVERY}"]
    settings = places.settings().items()
    return words + [f"--{part}.{name}={value}" for part, group in settings for name, value in group.items()]


def _train(folder: Path, words: Sequence[str]) -> None:
    note = Note(folder / "note")
    note.watch(RunCheckpointIO)
    run(replace(PROJECT, callbacks=lambda output: [*PROJECT.callbacks(output), Progress(note)]), words)


def _output(places: Places) -> Path:
    return places.folder / "runs" / PROJECT.name / "soaked"


def _last(places: Places, folder: Path) -> Path | None:
    return max((_output(places) / "checkpoints").glob("step-*.ckpt"), default=None)


def _forked(places: Places) -> Subject:
    start = partial(fork, partial(_train, words=_words(places)), temporary=places.temporary)
    return Subject(start, partial(_last, places))


def _command(places: Places) -> Subject:
    words = ["-m", "projects.ball.train", *_words(places)]
    return Subject(partial(spawn, words, temporary=places.temporary), partial(_last, places))


def _compare(one: Places, other: Places) -> Difference:
    """Ours: all of it."""
    folders = [_output(places) for places in (one, other)]
    last, best = ([path(folder / "checkpoints") for folder in folders] for path in (newest, _best))
    faults = [f"{a and a.name}, {b and b.name}" for a, b in (last, best) if a is None or b is None or a.name != b.name]
    for kind, (a, b) in (("last", last), ("best", best)):
        if a is not None and b is not None:
            faults += [f"{kind}{where}" for where in differences(load(a), load(b))][:9]
    tables = [_table(folder / "metrics.csv") for folder in folders]
    if tables[0] != tables[1]:
        faults.append("metrics.csv")
    return Difference(faults, _lost_and_doubled(*tables))


def _best(folder: Path) -> Path | None:
    return (folder / BEST).resolve() if (folder / BEST).is_file() else None


def _stock(places: Places, *, two: bool) -> Subject:
    train = partial(stock.train, settings=places.settings(), every=EVERY, two=two)
    return Subject(partial(fork, train, temporary=places.temporary), stock.last, _ended)


def _ended(folder: Path) -> bool:
    return (folder / stock.FINAL).is_file()


def _compare_stock(one: Places, other: Places) -> Difference:
    """Lightning's: the weights and the optimizer at the end, and the rows of all the tables that it began."""
    a, b = (torch.load(places.folder / stock.FINAL, weights_only=True) for places in (one, other))
    tables = [
        [row for path in sorted(places.folder.glob("rows/*/metrics.csv")) for row in _table(path)]
        for places in (one, other)
    ]
    return Difference(list(differences(a, b))[:9], _lost_and_doubled(*tables))


def _table(path: Path) -> list[dict[str, str]]:
    """Rows without empty cells and without what loading cost."""
    with path.open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if cell and not name.startswith("data/")}
            for row in csv.DictReader(file)
        ]


def _lost_and_doubled(one: Sequence[Mapping[str, str]], other: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    """A row is known by its step and its columns."""
    a, b = (Counter((row.get("step"), *sorted(row)) for row in rows) for rows in (one, other))
    return (a - b).total(), (b - a).total()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ours", _forked, _compare),
        Kind("command", _command, _compare, IMPORTS_S),
        Kind("one callback", partial(_stock, two=False), _compare_stock),
        Kind("two callbacks", partial(_stock, two=True), _compare_stock),
        Kind("two callbacks undamaged", partial(_stock, two=True), _compare_stock),
    )
}
