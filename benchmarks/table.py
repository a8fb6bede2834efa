"""What a benchmark found: a table for people and `results/<name>.json` for programs."""

import argparse
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from common.files import write_text
from common.run import command, commit, versions

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        bar: the value should be at most this; None for a figure that only informs.
        beside: values of the peers, in the same unit.
        least: the value should be at least `bar` instead.
        shown: printed; else only written.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    beside: Mapping[str, float] = field(default_factory=dict)
    least: bool = False
    shown: bool = True

    @property
    def holds(self) -> bool:
        """Whether a finite value keeps to its bar."""
        if not math.isfinite(self.value) or self.bar is None:
            return math.isfinite(self.value)
        return self.value >= self.bar if self.least else self.value <= self.bar

    @property
    def verdict(self) -> str:
        """The bar and whether it holds; nothing for a figure that only informs."""
        if self.bar is None:
            return ""
        return f"{'>=' if self.least else '<='} {self.bar:g} {'holds' if self.holds else 'MISSED'}"


class Results:
    """Collects figures; made before the measuring, so that it knows how busy the machine was."""

    def __init__(self, name: str) -> None:
        self.name, self.figures = name, list[Figure]()
        self.machine = _machine()

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        bar: float | None = None,
        least: bool = False,
        shown: bool = True,
        **beside: float,
    ) -> None:
        """Adds a figure; see `Figure`."""
        self.figures.append(Figure(name, value, unit, bar, beside, least, shown))

    def finish(self, folder: Path | None) -> None:
        """Prints the table and writes `<folder>/<name>.json` unless there is no folder.

        There `bars` are those a value should not exceed, `floors` those it should reach.
        """
        self._print()
        if folder is not None:
            barred = [figure for figure in self.figures if figure.bar is not None]
            bars = [_row(figure) for figure in barred if not figure.least]
            floors = [_row(figure) for figure in barred if figure.least]
            rest = [_row(figure) for figure in self.figures if figure.bar is None]
            facts = {"machine": self.machine, "command": " ".join(command()), "commit": commit()}
            path = folder / f"{self.name}.json"
            content = {"bars": bars, "floors": floors, "figures": rest, **facts, "versions": versions()}
            write_text(path, json.dumps(content, indent=1) + "\n")
            print(f"written: {path}")

    def _print(self) -> None:
        machine = "{cores} cores, {cpu}, {threads} torch threads, load {load:.1f} at the start".format(**self.machine)
        table = Table("", "value", "unit", "bar", "beside", title=f"{self.name}: {machine}", title_justify="left")
        for figure in self.figures:
            if not figure.shown:
                continue
            beside = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in figure.beside.items())
            table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, figure.verdict, beside)
        Console(width=None if os.isatty(1) else 160).print(table)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke run: small, its figures mean little")
    parser.add_argument("--results", type=Path, help=f"folder of the JSON; {RESULTS} by default, none for --quick")
    return parser


def results_folder(options: argparse.Namespace) -> Path | None:
    """Where the JSON goes."""
    folder: Path | None = options.results or (None if options.quick else RESULTS)
    return folder


def race(rounds: int, **runners: Callable[[], object]) -> dict[str, float]:
    """Seconds of the fastest of several runs of each, taken in turns so that a busy moment hits all alike."""
    seconds = dict.fromkeys(runners, math.inf)
    for _ in range(rounds):
        for name, run in runners.items():
            started = perf_counter()
            run()
            seconds[name] = min(seconds[name], perf_counter() - started)
    return seconds


def _row(figure: Figure) -> dict[str, Any]:
    row = {"name": figure.name, "value": figure.value, "unit": figure.unit, "beside": dict(figure.beside)}
    return row if figure.bar is None else row | {"bar": figure.bar, "holds": figure.holds}


def _machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model or platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }
