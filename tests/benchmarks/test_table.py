"""Bars from above and from below, on paper and in JSON."""

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return importlib.import_module("table")


@pytest.mark.parametrize(
    ("value", "least", "holds"),
    [(1.0, False, True), (1.1, False, False), (1.0, True, True), (0.9, True, False), (math.nan, True, False)],
)
def test_a_bar_is_an_upper_limit_or_a_lower_one(table: ModuleType, value: float, least: bool, holds: bool) -> None:
    figure = table.Figure("any", value, "x", 1.0, {}, least)
    assert figure.holds is holds
    assert figure.verdict == f"{'>=' if least else '<='} 1 {'holds' if holds else 'MISSED'}"


def test_what_is_not_shown_is_written(table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = table.Results("any")
    results.add("upper", 1, "x", bar=2, peer=3.0)
    results.add("lower", 1, "x", bar=2, least=True)
    results.add("detail", 1, "x", shown=False)
    results.finish(tmp_path)
    found = json.loads((tmp_path / "any.json").read_text())
    upper = {"name": "upper", "value": 1, "unit": "x", "beside": {"peer": 3.0}, "bar": 2, "holds": True}
    assert found["bars"] == [upper]
    assert [(row["name"], row["holds"]) for row in found["floors"]] == [("lower", False)]
    assert [row["name"] for row in found["figures"]] == ["detail"]
    printed = capsys.readouterr().out
    assert "lower" in printed
    assert "detail" not in printed
