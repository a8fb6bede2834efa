import copy
import io
import json
import math
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from common.errors import UserError
from projects.pose.coco.annotations import read_annotations
from projects.pose.scores.evaluate import SCORES, keypoint_scores
from projects.pose.scores.oks import oks_nms, rescore
from projects.pose.skeleton import COCO, Skeleton, find_skeleton
from tests.projects.pose.scenes import FIVE, person, random_results, random_truth, truth_of


def oracle(
    truth: dict[str, Any], results: list[dict[str, Any]], *, sigmas: Any, image_ids: list[int] | None = None
) -> list[float]:
    """COCO's own evaluation of raw JSON; -1, where nobody is to be found, as NaN."""
    with redirect_stdout(io.StringIO()):
        known = indexed(copy.deepcopy(truth))
        found = known.loadRes(copy.deepcopy(results)) if results else indexed(truth | {"annotations": []})
        evaluation = COCOeval(known, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [value if value >= 0 else math.nan for value in evaluation.stats]


def indexed(truth: dict[str, Any]) -> coco.COCO:
    known = coco.COCO()
    known.dataset = truth
    known.createIndex()
    return known


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 100_000), images=st.integers(1, 6), some=st.booleans())
def test_equals_pycocotools(seed: int, images: int, some: bool) -> None:
    """Crowds, people without keypoints, ghosts, more than 20 results to a picture, equal scores."""
    truth = random_truth(seed, images=images)
    results = random_results(truth, seed + 1)
    ids = list(range(1, images + 1))[: max(images // 2, 1)] if some else None
    found = keypoint_scores(truth, results, skeleton=COCO, image_ids=ids)
    assert list(found) == list(SCORES)
    expected = oracle(truth, results, sigmas=COCO.sigmas, image_ids=ids)
    assert list(found.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_random_scenes_have_middling_scores() -> None:
    """Or else the comparison above would compare zeros."""
    truth = random_truth(26, images=6)
    found = keypoint_scores(truth, random_results(truth, 27), skeleton=COCO)
    assert all(0.1 < value < 0.9 for value in found.values())
    assert sum(one["iscrowd"] for one in truth["annotations"]) > 1
    assert len([one for one in random_results(truth, 27) if one["image_id"] == 1]) > 20


def test_another_skeleton_as_read(tmp_path: Path) -> None:
    (tmp_path / "fish.yaml").write_text(FIVE)
    fish = find_skeleton(str(tmp_path / "fish.yaml"))
    truth = random_truth(26, skeleton=fish)
    (tmp_path / "fish.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        (tmp_path / image["file_name"]).touch()
    read = read_annotations(tmp_path / "fish.json", skeleton=fish, folders=[tmp_path]).ground_truth
    results = random_results(truth, 27)
    found = keypoint_scores(read, results, skeleton=fish)
    expected = oracle(truth, results, sigmas=fish.sigmas)
    assert list(found.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    blunt = Skeleton(**{**vars_of(fish), "sigmas": [0.5] * 5})
    assert keypoint_scores(read, results, skeleton=blunt)["ap"] > found["ap"] + 0.1


def vars_of(skeleton: Skeleton) -> dict[str, Any]:
    return {name: getattr(skeleton, name) for name in ("name", "keypoints", "limbs", "midpoints", "category")}


def test_nothing_found_and_nobody_to_find(capfd: pytest.CaptureFixture[str]) -> None:
    truth = random_truth(26, images=6)
    assert set(keypoint_scores(truth, [], skeleton=COCO).values()) == {0.0}
    assert list(keypoint_scores(truth, [], skeleton=COCO).values()) == oracle(truth, [], sigmas=COCO.sigmas)
    ghosts = [one for one in random_results(truth, 3) if one["image_id"] == 1]
    for nobody in (truth_of([]), truth_of([person()]), {"images": [{"id": 1}], "annotations": [], "categories": []}):
        for results in ([], ghosts):
            assert all(map(math.isnan, keypoint_scores(nobody, results, skeleton=COCO).values()))
    assert all(map(math.isnan, keypoint_scores(truth, ghosts, skeleton=COCO, image_ids=[]).values()))
    empty: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    assert all(map(math.isnan, keypoint_scores(empty, [], skeleton=COCO).values()))
    assert capfd.readouterr() == ("", ""), "it prints nothing"


def test_arguments_stay_as_they_are() -> None:
    truth = random_truth(2)
    results = random_results(truth, 3)
    before = copy.deepcopy((truth, results))
    first = keypoint_scores(truth, results, skeleton=COCO)
    assert (truth, results) == before
    assert keypoint_scores(truth, results, skeleton=COCO) == pytest.approx(first, nan_ok=True)


def test_results_of_another_category_count_nowhere() -> None:
    truth = random_truth(26, images=6)
    results = random_results(truth, 27)
    alien = [one | {"category_id": 2, "score": 2.0} for one in results]
    expected = keypoint_scores(truth, results, skeleton=COCO)
    assert keypoint_scores(truth, alien + results, skeleton=COCO) == expected


def test_foreign_results_are_refused() -> None:
    truth = random_truth(2)
    results = random_results(truth, 3)
    with pytest.raises(UserError, match=r"results\[1\]: image_id 99 is not in the ground truth of 5 pictures"):
        keypoint_scores(truth, [results[0], results[1] | {"image_id": 99}], skeleton=COCO)
    with pytest.raises(UserError, match=r"results\[0\]: found 6 numbers for keypoints, expected 51"):
        keypoint_scores(truth, [results[0] | {"keypoints": [1.0] * 6}], skeleton=COCO)


def test_the_truth_found_is_perfect(real_data: Path) -> None:
    folder = real_data / "pose" / "coco"
    truth = read_annotations(folder / "test_coco.json", skeleton=COCO, folders=[folder]).ground_truth
    results = [
        {"image_id": one["image_id"], "category_id": 1, "keypoints": one["keypoints"].tolist(), "score": 1.0}
        for one in truth["annotations"]
        if one["num_keypoints"]
    ]
    assert set(keypoint_scores(truth, results, skeleton=COCO).values()) == {1.0}


def test_the_published_value_of_mmpose(real_data: Path) -> None:
    """mmpose's own unit test of its COCO metric, all ten: score "bbox_keypoint", OKS-NMS.

    Every annotation, those without a keypoint too, is a detection with x * .98, y * 1.02 and .8 of its visibility as
    the keypoints' scores, in float32; its box scores .98, and its area is that of the box scaled by 1.25.
    """
    folder = real_data / "pose" / "coco"
    truth = read_annotations(folder / "test_coco.json", skeleton=COCO, folders=[folder]).ground_truth
    assert len(truth["annotations"]) == 14
    results = []
    for image in truth["images"]:
        people = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        found = np.array([one["keypoints"] for one in people], np.float32).reshape(-1, 17, 3)
        found *= np.array([0.98, 1.02, 0.8], np.float32)
        area = np.array([one["bbox"][2] * 1.25 * one["bbox"][3] * 1.25 for one in people])
        score = rescore(found[..., 2], np.full(len(people), 0.98, np.float32))
        for row in oks_nms(found[..., :2], score, area=area, sigmas=COCO.sigmas, threshold=0.9):
            keypoints, known = found[row].ravel().tolist(), {"image_id": image["id"], "category_id": 1}
            results.append({**known, "keypoints": keypoints, "score": float(score[row])})
    published = {
        "ap": 0.5287458745874587,
        "ap50": 0.9042904290429042,
        "ap75": 0.5009900990099009,
        "ap_medium": 0.42475247524752474,
        "ap_large": 0.6219554455445544,
        "ar": 0.5833333333333333,
        "ar50": 0.9166666666666666,
        "ar75": 0.5833333333333334,
        "ar_medium": 0.44000000000000006,
        "ar_large": 0.6857142857142857,
    }
    assert keypoint_scores(truth, results, skeleton=COCO) == pytest.approx(published, abs=1e-15)
