"""What an evaluation says does not depend on the number of processes; two train as one network."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.projects.pose.fish import write_fish

PROGRAM = Path(__file__).with_name("rank_scores.py")
REPOSITORY = Path(__file__).resolve().parents[3]


def found_by_ranks(fish: Path, folder: Path) -> dict[int, list[dict[str, Any]]]:
    """What each rank found, by the number of ranks."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(fish), str(folder)], env=environment, start_new_session=True
    )
    try:
        assert program.wait(timeout=240) == 0
    finally:
        if program.returncode != 0:
            os.killpg(program.pid, signal.SIGKILL)
    return {
        world: [json.loads((folder / f"{rank}_of_{world}.json").read_text()) for rank in range(world)]
        for world in (1, 2)
    }


def test_ranks_score_as_one_process(tmp_path: Path) -> None:
    write_fish(tmp_path / "fish", {"train": 9, "val": 5})
    found = found_by_ranks(tmp_path / "fish", tmp_path)
    alone = found[1][0]
    scores = {"val/ap", "val/pck", "val/loss/paf/1", "val/island_recall/heat/2", "baseline/mean_pose/val/ar"}
    assert scores <= alone["1"].keys()
    assert 0.1 < alone["5"]["val/ap"] < 0.95
    assert len({alone[count]["val/loss"] for count in "12345"}) == 5
    for count in "12345":  # the second of two ranks looks at none of one picture
        for rank in found[2]:
            assert rank[count] == pytest.approx(alone[count], rel=0, abs=1e-9, nan_ok=True), count
            assert rank[count].keys() == alone[count].keys()
    one, other = found[2]
    assert json.dumps(one) == json.dumps(other), "the same scores and weights on both"
