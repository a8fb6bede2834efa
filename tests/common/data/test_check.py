"""Every record is read once, and every bad one is listed."""

import csv
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data import check as check_module
from common.data.check import check_records, write_problems
from common.data.report import Problem
from common.errors import BadRecordError, UserError


class Records:
    """Records that count how often they are read; some are damaged, others gone."""

    shape, dtype, content = (2, 3), np.float32, "test records"

    def __init__(self, count: int, bad: Sequence[int] = (), gone: Sequence[int] = ()) -> None:
        self.count, self.bad, self.gone = count, set(bad), set(gone)
        self.read, self._mutex = Counter[int](), threading.Lock()

    def __len__(self) -> int:
        return self.count

    def read_many(self, records: Sequence[int]) -> Iterator[np.ndarray]:
        for record in records:
            if record in self.bad:
                raise BadRecordError(Path(f"{record // 10}.h5"), "wrong checksum")
            if record in self.gone:
                raise UserError(f"record {record} was never stored")
            with self._mutex:
                self.read[record] += 1
            yield np.zeros(self.shape, np.float32)


class NamedRecords(Records):
    def source_of(self, record: int) -> tuple[str, int]:
        return f"clip_{record // 10}", record % 10


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "_CHUNK_BYTES", 7 * 24)


@pytest.mark.parametrize("workers", [1, 4])
def test_all_bad_records_of_all_splits_are_listed(workers: int) -> None:
    sources = {"train": NamedRecords(30, bad=[0, 1, 13, 29]), "val": Records(5, bad=[4]), "test": Records(0)}
    found = check_records(sources, workers=workers, progress=False)
    kind = "damaged record"
    assert found == [
        Problem(Path("0.h5"), kind, "clip_0 0 of train: wrong checksum"),
        Problem(Path("0.h5"), kind, "clip_0 1 of train: wrong checksum"),
        Problem(Path("0.h5"), kind, "val 4: wrong checksum"),
        Problem(Path("1.h5"), kind, "clip_1 3 of train: wrong checksum"),
        Problem(Path("2.h5"), kind, "clip_2 9 of train: wrong checksum"),
    ]
    assert set(sources["train"].read) == set(range(30)) - {0, 1, 13, 29}


def test_whole_records_are_read_once() -> None:
    source: Any = Records(100)
    assert check_records({"train": source}, workers=3, progress=False) == []
    assert source.read == Counter(range(100))


def test_another_mistake_than_damage_is_not_listed_but_raised() -> None:
    with pytest.raises(UserError, match="record 17 was never stored"):
        check_records({"train": Records(30, gone=[17])}, workers=2, progress=False)


def test_the_table_holds_everything(tmp_path: Path) -> None:
    problems = [Problem(Path(f"a, {n}.h5"), "kind", f'"{n}"\nof 9') for n in range(9)]
    problems.append(Problem(Path("b\udcff.h5"), "kind", "a name that is no UTF-8"))
    write_problems(tmp_path / "deep" / "check.csv", problems)
    with (tmp_path / "deep" / "check.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows == [["path", "kind", "detail"], *([str(p.path), p.kind, p.detail] for p in problems)]
