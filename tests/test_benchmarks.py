"""Every benchmark runs and writes what it found."""

import importlib
import json
import math
from pathlib import Path

import jaxtyping
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("bench_*.py")), ids=lambda path: path.stem)
def test_a_quick_run_writes_finite_figures(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as they are run: checks would be what they time
    monkeypatch.syspath_prepend(BENCHMARKS)
    importlib.import_module(path.stem).main(["--quick", "--results", str(tmp_path)])
    found = json.loads((tmp_path / f"{path.stem.removeprefix('bench_')}.json").read_text())
    rows = found["bars"] + found["figures"]
    assert rows
    assert all(math.isfinite(value) for row in rows for value in (row["value"], *row["beside"].values()))
    assert all(bar["holds"] == (bar["value"] <= bar["bar"]) for bar in found["bars"])
    assert found["machine"]["cores"] > 0
    assert found["versions"]["torch"]
