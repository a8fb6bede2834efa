"""Reads every record once, and lists what cannot be read."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from common.data.datamodule import PlannedDataModule
from common.data.progress import progress_bar
from common.data.report import Problem, report
from common.data.samples import RecordSource
from common.errors import BadRecordError
from common.files import atomic_path

KIND = "damaged record"
"""Of the problems that `check_records` finds."""

_CHUNK_BYTES = 1 << 25  # neighbours are read together, as decoding starts at a keyframe


@runtime_checkable
class Named(Protocol):
    """A source that can say what a record is."""

    def source_of(self, record: int) -> tuple[str, int]:
        """Name and number for people."""
        ...


def check_data(data: PlannedDataModule, table: Path) -> bool:
    """Prepares data, reads every record of every split once, and prints what cannot be read; whether all can.

    Args:
        data: before `setup`.
        table: file for the full list: path, kind, detail.
    """
    data.checking = True
    data.prepare_data()
    data.setup("fit")
    sources = {split: samples.source for split, samples in data.datasets.items() if samples.source is not None}
    records = data.lost_records + check_records(sources, workers=len(os.sched_getaffinity(0)))
    total = len(data.lost_records) + sum(len(source) for source in sources.values())
    problems = [*data.lost_files, *records]
    write_problems(table, problems)
    if problems:
        print(report(problems, heading="cannot be read"))
    files = f", and {len(data.lost_files)} files cannot be opened" if data.lost_files else ""
    print(f"{len(records):,} of {total:,} records cannot be read{files}; the full list: {table}", flush=True)
    return not problems


def check_records(sources: Mapping[str, RecordSource], *, workers: int, progress: bool = True) -> list[Problem]:
    """The records that cannot be read, each with its file and the reason.

    Args:
        sources: by split.
        workers: threads.
        progress: show a progress bar with records per second.
    """
    work = [(split, source, chunk) for split, source in sources.items() for chunk in _chunks(source)]
    problems: list[Problem] = []
    with ThreadPoolExecutor(max(workers, 1)) as pool, progress_bar(progress and bool(work), "records") as bar:
        task = bar.add_task("checking", total=sum(len(chunk) for *_, chunk in work))
        try:
            pending = {pool.submit(_bad, split, source, chunk): len(chunk) for split, source, chunk in work}
            for done in as_completed(pending):
                problems += done.result()
                bar.advance(task, pending[done])
        finally:
            pool.shutdown(cancel_futures=True)
    return sorted(problems)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Writes a table of all problems: path, kind, detail."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(("path", "kind", "detail"))
        rows.writerows((problem.path, problem.kind, problem.detail) for problem in problems)


def _chunks(source: RecordSource) -> Iterator[range]:
    largest = int(np.prod(source.shape, axis=-1, dtype=np.int64).max(initial=1)) * np.dtype(source.dtype).itemsize
    size = max(1, _CHUNK_BYTES // largest)
    return (range(start, min(start + size, len(source))) for start in range(0, len(source), size))


def _bad(split: str, source: RecordSource, chunk: range) -> list[Problem]:
    """The bad ones of some records; one by one only where there are any."""
    error = _read(source, chunk)
    if error is None:
        return []
    errors = [(record, error if len(chunk) == 1 else _read(source, [record])) for record in chunk]
    return [Problem(bad.path, KIND, f"{_name(split, source, record)}: {bad.reason}") for record, bad in errors if bad]


def _read(source: RecordSource, records: Sequence[int]) -> BadRecordError | None:
    try:
        for _ in source.read_many(records):
            pass
    except BadRecordError as error:
        return error
    return None


def _name(split: str, source: RecordSource, record: int) -> str:
    return "{} {} of {}".format(*source.source_of(record), split) if isinstance(source, Named) else f"{split} {record}"
