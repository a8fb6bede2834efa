"""What an evaluation says does not depend on the number of processes, nor on their batches."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("rank_scores.py")
REPOSITORY = Path(__file__).resolve().parents[3]


# by 1, 2 and 3 ranks: with and without a rank that has none, batches that are whole, short and empty
TELLING = (1, 2, 3, 7, 8, 9, 10, 16, 17, 24, 25, 40)


def found_by_ranks(rallies: Path, folder: Path, counts: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """What each rank found, by the number of ranks."""
    command = [
        sys.executable,
        str(PROGRAM),
        str(rallies),
        str(rallies.parent / "store"),
        str(folder),
        *map(str, counts),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        assert program.wait(timeout=1800) == 0
    finally:
        if program.returncode != 0:
            os.killpg(program.pid, signal.SIGKILL)
    return {
        world: [json.loads((folder / f"{rank}_of_{world}.json").read_text()) for rank in range(world)]
        for world in (1, 2, 3)
    }


@pytest.mark.parametrize(
    "counts", [TELLING, pytest.param(range(1, 41), marks=pytest.mark.slow)], ids=["telling", "all"]
)
def test_ranks_score_as_one_process(counts: Sequence[int], rallies: Path, tmp_path: Path) -> None:
    found = found_by_ranks(rallies, tmp_path, counts)
    alone = found[1][0]
    scores = {"val/loss", "val/heatmap", "val/offset", "val/f1", "val/rmse_px", "val/median_px", "baseline/blob/val/ap"}
    assert scores <= alone["40"].keys()
    for windows in counts:
        expected = pytest.approx(alone[str(windows)], rel=0, abs=1e-12, nan_ok=True)
        for rank in (*found[2], *found[3]):
            assert rank[str(windows)] == expected, windows
    for name in ("10 by 1", "10 by 3"):  # convolutions differ by as much with the shape of their input
        assert alone[name] == pytest.approx(alone["10"], rel=1e-6, nan_ok=True)
        assert found[3][2][name] == pytest.approx(alone[name], rel=0, abs=1e-12, nan_ok=True)
    for ranks in found.values():  # what follows val/loss is the same on all ranks, to the last bit
        assert len({json.dumps(rank["fit"]) for rank in ranks}) == 1
        assert [epoch["rate"] for epoch in ranks[0]["fit"]] == pytest.approx([1e-3, 1e-4])  # and then it was stopped
