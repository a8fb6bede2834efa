"""The soak, in short: runs that are killed and started again end as the one that was never killed."""

import importlib
import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("killing")


@pytest.mark.slow
def test_runs_that_are_killed_end_as_the_one_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/soak.py", "--quick", "--folder", str(tmp_path), "--results", str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=BENCHMARKS.parent, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert [row for row in (*found["bars"], *found["floors"]) if not row["holds"]] == [], done.stdout
    values = {row["name"]: row["value"] for row in (*found["floors"], *found["figures"])}
    assert values["equal to the run that was never killed"] == values["runs killed"] == 3
    assert values["restarts"] > 3


def test_lost_steps_are_none_after_a_stop_and_at_most_one_interval_or_two(killing: Any) -> None:
    def start(status: int, resumed: int, step: int, damaged: str = "") -> Any:
        return killing.Start(status, SIGKILL if status < 0 else SIGTERM, "training", resumed, step, damaged)

    starts = [
        start(-9, 0, 8),
        start(-9, -1, 8),  # killed before it trained
        start(85, 5, 12),
        start(85, 12, 20),
        start(-9, 10, 23, "step-00000020.ckpt cut to 5 bytes"),
        start(0, 20, 36),
    ]
    assert killing.lost_steps(starts, 5) == [(3, 5), (0, 0), (10, 10), (3, 5)]


def test_a_subject_that_hangs_is_stuck_and_one_that_fails_by_itself_is_not_started_again(
    killing: Any, tmp_path: Path
) -> None:
    fails, hangs = "raise SystemExit(1)", "import signal; signal.pause()"
    for code, status, limit in ((fails, 1, 60.0), (hangs, None, 0.3)):
        kills = killing.Kills(lead_s=0.0, span_s=0.0, damage=0.0, limit_s=limit, most=0)
        start = partial(killing.spawn, ["-c", code], temporary=tmp_path)
        subject = killing.Subject(start, newest=lambda folder: None)
        starts = killing.live(subject, tmp_path / str(status), random.Random(0), kills)
        assert [start.status for start in starts] == [status]


def test_damage_cuts_a_file_or_flips_one_bit(killing: Any, tmp_path: Path) -> None:
    path, cut = tmp_path / "x.ckpt", 0
    for seed in range(20):
        path.write_bytes(bytes(100))
        said = killing._damage(path, random.Random(seed))
        content = path.read_bytes()
        cut += "cut to" in said
        assert len(content) < 100 if "cut to" in said else sum(byte.bit_count() for byte in content) == 1
    assert 0 < cut < 20
    assert killing._damage(tmp_path / "absent", random.Random(0)) == ""
