import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from projects.pose.scores.evaluate import MOST_RESULTS
from projects.pose.scores.pck import pck
from projects.pose.skeleton import COCO
from tests.projects.pose.scenes import person, random_results, random_truth, truth_of

SHAPE = np.array([(x, y) for y in range(0, 34, 2) for x in (y % 6,)], dtype=float)


def body(x: float, y: float, **others: Any) -> dict[str, Any]:
    """Everything labelled; a box 20 wide and 40 high, so that a tenth is 4 pixels."""
    return person(np.c_[np.add(SHAPE, (x, y)), np.full(17, 2)], bbox=[x, y, 20, 40], **others)


def guess(x: float, y: float, score: float = 0.5, image: int = 1) -> dict[str, Any]:
    keypoints = np.c_[np.add(SHAPE, (x, y)), np.full(17, 0.9)].ravel().tolist()
    return {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}


def test_literal_shares() -> None:
    truth = truth_of([body(10, 10, id=1), body(50, 10, id=2)])
    assert pck(truth, [], skeleton=COCO) == 0
    assert pck(truth, [guess(10, 10)], skeleton=COCO) == 0.5, "somebody is missing"
    assert pck(truth, [guess(10, 10), guess(54, 10)], skeleton=COCO) == 1, "4 of 40 pixels away is near"
    assert pck(truth, [guess(10, 10), guess(54.1, 10)], skeleton=COCO) == 0.5
    assert pck(truth, [guess(10, 10), guess(54.1, 10)], skeleton=COCO, alpha=0.2) == 1
    twice = [guess(10, 10), guess(10, 10, 0.9), guess(12, 10, 0.9)]
    assert pck(truth, twice, skeleton=COCO) == 0.5, "each person once, whatever the scores"
    assert pck(truth, [*twice, guess(50, 10, 0.1)], skeleton=COCO) == 1, "what is too much changes nothing"
    assert pck(truth, [guess(50, 10) | {"category_id": 2}], skeleton=COCO) == 0


def test_joints_that_are_not_found_are_wrong_and_unlabelled_ones_do_not_count() -> None:
    half = body(10, 10)
    half["keypoints"][2 : 3 * 8 : 3] = [0] * 8
    half["num_keypoints"] = 9
    found = guess(10, 10)
    assert pck(truth_of([half]), [found], skeleton=COCO) == 1
    found["keypoints"][3 * 14 + 2 :: 3] = [0] * 3
    assert pck(truth_of([half]), [found], skeleton=COCO) == pytest.approx(6 / 9)


def test_only_the_best_count_as_in_ap() -> None:
    truth = truth_of([body(10, 10)])
    ghosts = [guess(300 + 50 * n, 300, 0.9) for n in range(MOST_RESULTS)]
    assert pck(truth, [*ghosts[1:], guess(10, 10, 0.1)], skeleton=COCO) == 1
    assert pck(truth, [*ghosts, guess(10, 10, 0.1)], skeleton=COCO) == 0


def test_crowds_and_other_pictures_do_not_count() -> None:
    nobody = truth_of([body(10, 10, iscrowd=1), person(id=2)], (1, 2))
    assert math.isnan(pck(nobody, [guess(10, 10)], skeleton=COCO))
    assert math.isnan(pck(truth_of([]), [], skeleton=COCO))
    truth = truth_of([body(10, 10), body(10, 10, id=2, image_id=2)], (1, 2))
    found = [guess(10, 10, image=2)]
    assert [pck(truth, found, skeleton=COCO, image_ids=ids) for ids in ([1], [2], [1, 2], None)] == [0, 1, 0.5, 0.5]
    with pytest.raises(UserError, match="image_id 3 is not in the ground truth"):
        pck(truth, [guess(1, 1, image=3)], skeleton=COCO)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_laws_on_random_scenes(seed: int) -> None:
    truth = random_truth(seed)
    results = random_results(truth, seed + 1)
    shares = [pck(truth, results, skeleton=COCO, alpha=alpha) for alpha in (0.0, 0.05, 0.1, 0.5)]
    if math.isnan(shares[0]):
        return
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] <= 1
    perfect = [
        {"image_id": one["image_id"], "category_id": 1, "score": 1.0, "keypoints": one["keypoints"]}
        for one in truth["annotations"]
        if one["num_keypoints"] and not one["iscrowd"]
    ]
    per_image = {one["image_id"]: 0 for one in perfect}
    for one in perfect:
        per_image[one["image_id"]] += 1
    if max(per_image.values()) <= MOST_RESULTS:
        assert pck(truth, perfect, skeleton=COCO, alpha=0.0) == 1
