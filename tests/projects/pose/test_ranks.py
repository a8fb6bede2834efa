"""What an evaluation says does not depend on the number of processes; two train as one network."""

import json
from pathlib import Path

import pytest

from tests.projects.pose.fish import write_fish
from tests.projects.pose.rank_scores import COUNTS, scores_of_ranks


def test_ranks_score_as_one_process(tmp_path: Path) -> None:
    write_fish(tmp_path / "fish", {"train": 9, "val": 5})
    (alone,), ranks = (scores_of_ranks(tmp_path / "fish", tmp_path, world) for world in (1, 2))
    scores = {"val/ap", "val/pck", "val/loss/paf/1", "val/island_recall/heat/2", "baseline/mean_pose/val/ar"}
    assert scores <= alone["1"].keys()
    assert 0.1 < alone["5"]["val/ap"] < 0.95
    counts = [str(count) for count in COUNTS]
    assert len({alone[count]["val/loss"] for count in counts}) == len(counts)
    for count in counts:
        for rank in ranks:
            assert rank[count] == pytest.approx(alone[count], rel=0, abs=1e-9, nan_ok=True), count
            assert rank[count].keys() == alone[count].keys()
    one, other = ranks
    assert json.dumps(one) == json.dumps(other), "the same scores and weights on both"
