import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from projects.pose.coco.results import read_results, to_results, write_results
from projects.pose.people import People, nobody
from projects.pose.skeleton import COCO, find_skeleton
from tests.projects.pose.scenes import FIVE, random_results, random_truth


def some_people(seed: int = 0, joints: int = 18, count: int = 3) -> People:
    random = np.random.default_rng(seed)
    scores = (random.random((count, joints)) * (random.random((count, joints)) < 0.7)).astype(np.float32)
    points = random.uniform(0, 500, (count, joints, 2)).astype(np.float32)
    return People(points, scores, np.sort(random.random(count).astype(np.float32))[::-1].copy())


def test_keypoints_are_in_the_order_of_the_files() -> None:
    people = some_people()
    found = to_results(people, 7, COCO)
    assert len(found) == 3 and found[0].keys() == {"image_id", "category_id", "keypoints", "score"}
    assert {(one["image_id"], one["category_id"]) for one in found} == {(7, 1)}
    assert [one["score"] for one in found] == people.score.tolist()
    for row, one in enumerate(found):
        for place, name in enumerate(COCO.keypoints):
            joint = COCO.joints.index(name)
            seen = people.scores[row, joint] > 0
            expected = [*people.points_xy[row, joint].tolist(), float(people.scores[row, joint])] if seen else [0, 0, 0]
            assert one["keypoints"][3 * place : 3 * place + 3] == [round(value, 4) for value in expected]
    assert to_results(nobody(18), 7, COCO) == []


def test_another_skeleton(tmp_path: Path) -> None:
    (tmp_path / "fish.yaml").write_text(FIVE)
    fish = find_skeleton(str(tmp_path / "fish.yaml"))
    people = some_people(joints=6)
    found = to_results(people, 1, fish)
    assert {len(one["keypoints"]) for one in found} == {15} and {one["category_id"] for one in found} == {3}
    write_results(tmp_path / "fish.json", found)
    assert read_results(tmp_path / "fish.json", skeleton=fish) == found
    with pytest.raises(UserError, match=r"result 0, key 'keypoints': found '15 numbers', expected 17 x 3 numbers"):
        read_results(tmp_path / "fish.json", skeleton=COCO)


@pytest.mark.parametrize("seed", range(3))
def test_written_and_read_they_are_the_same(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    results = random_results(random_truth(seed), seed)
    for content in (results, []):
        write_results(path, content)
        assert read_results(path) == read_results(path, skeleton=COCO) == json.loads(path.read_text()) == content
    assert [one.name for one in path.parent.iterdir()] == ["results.json"]


def test_a_file_stays_as_it_was_when_a_result_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = to_results(some_people(), 7, COCO)
    write_results(path, results)
    before = path.read_bytes()
    for wrong in ({"score": float("nan")}, {"score": np.float32(1)}, {"keypoints": [1.0] * 50}, {"image_id": 1.5}):
        with pytest.raises(UserError, match=f"result 2, key '{next(iter(wrong))}'"):
            write_results(path, [*results[:2], results[2] | wrong])
    assert path.read_bytes() == before


def one(**others: Any) -> list[dict[str, Any]]:
    return [{"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5, "bbox": [1, 2, 3, 4]} | others]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image_id": 1', "not valid JSON"),
        ({}, r"file: found 'dict', expected a list of COCO results"),
        ([5], r"result 0: found '5', expected an object with image_id"),
        (one(image_id="1"), r"result 0, key 'image_id': found '1', expected a whole number"),
        (one(image_id=None), r"key 'image_id'"),
        (one(category_id=2), r"result 0, key 'category_id': found '2', expected 1 \(coco\)"),
        (one(category_id=-1), r"key 'category_id': found '-1', expected a whole number"),
        (one(keypoints=[1.0] * 48), r"key 'keypoints': found '48 numbers', expected 17 x 3 numbers"),
        (one(keypoints="x"), r"key 'keypoints': found 'x'"),
        (one(keypoints=None), r"key 'keypoints': found 'None'"),
        (one(keypoints=["a"] * 51), r"key 'keypoints': found 'a', expected finite numbers"),
        (one(keypoints=[float("inf")] * 51), r"key 'keypoints': found 'inf', expected finite numbers"),
        (one(score=float("nan")), r"key 'score': found 'nan', expected finite numbers"),
        (one(score=False), r"key 'score': found 'False'"),
        (one(score=1e10), r"key 'score': found '10000000000.0', expected finite numbers, at most 1,000,000,000"),
        (one() + one(keypoints=[1.0] * 3), r"result 1, key 'keypoints': found '3 numbers'"),
    ],
)
def test_wrong_files_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_results(path, skeleton=COCO)
    assert str(path) in str(caught.value)


def test_without_a_skeleton_all_are_as_long_as_the_first(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(one(keypoints=[1.0] * 6) + one(keypoints=[1.0] * 9)))
    with pytest.raises(UserError, match=r"result 1, key 'keypoints': found '9 numbers', expected 2 x 3"):
        read_results(path)
    path.write_text(json.dumps(one(keypoints=[1.0] * 7)))
    with pytest.raises(UserError, match=r"result 0, key 'keypoints': found '7 numbers'"):
        read_results(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_results(tmp_path / "absent.json")
