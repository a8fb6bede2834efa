"""What an evaluation says does not depend on the number of processes; two train as one network."""

import json
from pathlib import Path

import pytest

from tests.projects.forecast.flood.rank_scores import COUNTS, scores_of_ranks

DRAWN = ("test/best_h_rmse", "test/spread_m")


def test_ranks_score_as_one_process(floods: Path, tmp_path: Path) -> None:
    (alone,), ranks = (scores_of_ranks(floods, tmp_path, world) for world in (1, 2))
    scores = {"test/csi_005", "test/h_rmse", "test/loss", "baseline/training_mean/test/q_rmse", *DRAWN}
    assert scores <= alone["1"].keys()
    for count in map(str, COUNTS):
        expected = {name: value for name, value in alone[count].items() if name not in DRAWN}  # by batches
        for rank in ranks:
            got = {name: rank[count][name] for name in expected}
            assert got == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True), count
            assert rank[count].keys() == alone[count].keys()
    one, other = ranks
    assert json.dumps(one) == json.dumps(other), "the same scores, weights and codebook on both"
