"""A review says of each person what the scores say of all of them together."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.coco.annotations import PoseImage, read_annotations
from projects.pose.coco.results import to_results
from projects.pose.data import PoseData
from projects.pose.datasets import PoseSamples
from projects.pose.decode.decoder import Decoder
from projects.pose.module import PoseModule
from projects.pose.nets.fronts import PatchFront
from projects.pose.nets.pose_net import PoseNet
from projects.pose.nets.stages import Cascade
from projects.pose.people import People, in_image, nobody
from projects.pose.review import count_joints, judge, review
from projects.pose.scores.pck import pck
from projects.pose.skeleton import COCO
from tests.projects.pose.scenes import random_results, random_truth

KEYPOINTS, JOINTS = len(COCO.keypoints), len(COCO.joints)
NOSE, LEFT_EYE, RIGHT_EYE = (COCO.keypoints.index(name) for name in ("nose", "left_eye", "right_eye"))


def _image(points_xy: np.ndarray, visibility: np.ndarray) -> PoseImage:
    """People whose boxes are 20 wide and 40 high and whose areas are 400."""
    count = len(points_xy)
    boxes = np.tile(np.array([0, 0, 20, 40], np.float32), (count, 1))
    areas = np.full(count, 400, np.float32)
    return PoseImage(1, Path("1.jpg"), (80, 100), points_xy, visibility, boxes, areas)


def _people(points_xy: np.ndarray) -> People:
    """All of whose joints are found."""
    count = len(points_xy)
    scores = np.ones((count, JOINTS), np.float32)
    return People(points_xy.astype(np.float32), scores, np.linspace(1, 0.5, count, dtype=np.float32))


def _opened(root: Path, **decoder: Any) -> tuple[PoseModule, PoseData, PoseSamples]:
    torch.manual_seed(0)
    stages = partial(Cascade, paf_stages=1, heat_stages=1, blocks=1, widths=(8, 8), hidden=(8, 8))
    net = lambda pafs, heats: PoseNet(pafs, heats, front=PatchFront, stages=stages)  # noqa: E731
    module = PoseModule(net=net, optimizer=torch.optim.AdamW, size_hw=(64, 96), decoder=Decoder(**decoder))
    data = PoseData(root=str(root), size_hw=(64, 96), batch_size=2)
    data.setup("test")
    return module, data, data.datasets["test"]  # type: ignore[return-value]


def test_errors_are_shares_of_the_longer_side() -> None:
    truth = np.full((2, JOINTS, 2), 10.0, np.float32)
    truth[1] += 50
    visibility = np.full((2, JOINTS), 2, np.uint8)
    visibility[0, COCO.joints.index("left_eye")] = 0
    found = _people(truth[:1] + np.array([3, 4], np.float32))  # 5 of 40 pixels
    found.scores[0, COCO.joints.index("right_eye")] = 0
    first, second = judge(found, _image(truth, visibility), skeleton=COCO)
    assert first.size_px == 20
    assert first.errors[NOSE] == pytest.approx(0.125)
    assert np.isnan(first.errors[LEFT_EYE])
    assert first.errors[RIGHT_EYE] == np.inf
    sigmas = np.delete(np.array(COCO.sigmas), LEFT_EYE)
    assert first.oks == pytest.approx(np.exp(-25 / (2 * (2 * sigmas) ** 2 * 400)).mean())
    assert (second.oks, set(second.errors)) == (0, {np.inf}), "nobody is left for the second"


def test_each_detection_is_of_one_person() -> None:
    truth = np.stack([np.full((JOINTS, 2), value, np.float32) for value in (10, 12)])
    image = _image(truth, np.full((2, JOINTS), 2, np.uint8))
    people = judge(_people(truth[::-1]), image, skeleton=COCO)
    assert [person.oks for person in people] == [1, 1]
    assert [person.errors.max() for person in people] == [0, 0]
    assert sorted(person.oks for person in judge(_people(truth[:1]), image, skeleton=COCO)) == [0, 1]


def test_nobody_and_people_without_size() -> None:
    points, seen = np.full((1, JOINTS, 2), 5.0, np.float32), np.full((1, JOINTS), 1, np.uint8)
    assert judge(_people(points), _image(points[:0], seen[:0]), skeleton=COCO) == []
    (missed,) = judge(nobody(JOINTS), _image(points, seen), skeleton=COCO)
    assert (missed.oks, set(missed.errors)) == (0, {np.inf})
    flat = _image(points, seen)
    flat.boxes[:], flat.areas[:] = 0, 0
    (right,) = judge(_people(points), flat, skeleton=COCO)
    assert (right.size_px, set(right.errors)) == (0, {0})


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_right_joints_are_those_of_pck(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, truth = tmp_path_factory.mktemp("truth"), random_truth(seed)
    results = sorted(random_results(truth, seed), key=lambda result: -result["score"])
    (folder / "truth.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        (folder / image["file_name"]).touch()
    people = []
    for image in read_annotations(folder / "truth.json", skeleton=COCO, folders=[folder]).images:
        own = [one for one in results if one["image_id"] == image.id]
        triples = np.zeros((len(own), JOINTS, 3), np.float32)
        triples[:, COCO.joint_of_keypoint] = np.reshape([one["keypoints"] for one in own], (len(own), KEYPOINTS, 3))
        score = np.array([one["score"] for one in own], np.float32)
        people += judge(People(triples[..., :2], triples[..., 2], score), image, skeleton=COCO)
    counts = count_joints(people, COCO)
    share = counts.right.sum() / counts.labelled.sum() if counts.labelled.any() else np.nan
    assert share == pytest.approx(pck(truth, results, skeleton=COCO), nan_ok=True)


def test_joints_are_right_elsewhere_or_missed() -> None:
    points, seen = np.full((4, JOINTS, 2), 10.0, np.float32), np.full((4, JOINTS), 2, np.uint8)
    seen[3] = 0
    judged = []
    for person, shift in enumerate((4.0, 4.2, 0.0, 0.0)):  # a tenth of 40 is right
        found = _people(points[:1] + np.array([shift, 0], np.float32))
        found.scores[0, COCO.joints.index("nose")] = person != 2
        one = slice(person, person + 1)
        judged += judge(found, _image(points[one], seen[one]), skeleton=COCO)
    counts = count_joints(judged, COCO)
    assert [int(column[NOSE]) for column in counts[:4]] == [3, 1, 1, 1]
    assert [int(column[LEFT_EYE]) for column in counts[:4]] == [3, 2, 1, 0]
    assert counts.median[NOSE] == pytest.approx((0.1 + 0.105) / 2)
    assert count_joints(judged, COCO, alpha=0.11).right.tolist() == [2] + [3] * (KEYPOINTS - 1)


def test_joints_of_nobody() -> None:
    counts = count_joints([], COCO)
    assert [column.tolist() for column in counts[:4]] == [[0] * KEYPOINTS] * 4
    assert np.isnan(counts.median).all()


def test_a_review_says_what_the_network_says_and_the_scores_count(people_root: Path) -> None:
    module, data, samples = _opened(people_root, threshold=0.0, paf_threshold=0.0, agreeing=0.0)
    module.mean_pose.fit(data.datasets["train"].people())  # type: ignore[attr-defined]
    seen = list(review(module, data, "test", most=10))
    assert [one.index for one in seen] == list(range(len(samples)))
    assert not module.training
    results: dict[str, list[Any]] = {"network": [], "mean_pose": []}
    for index, one in enumerate(seen):
        frame = samples[0, index]["frame"][..., :3]
        with torch.inference_mode():
            (found,) = module.people(frame.permute(2, 0, 1)[None].float())
        assert one.sample.name == samples.source_of(index)[0]
        np.testing.assert_array_equal(one.sample.frame, frame.numpy())
        assert len(one.sample.found.score) > 0
        np.testing.assert_allclose(one.sample.found.points_xy, found.points_xy, atol=1e-2)
        assert one.sample.oks == pytest.approx(np.mean([person.oks for person in one.people]))
        for name, people in (("network", found), ("mean_pose", module.mean_pose())):
            box, image_id = samples.source.letterbox(index), samples.source_of(index)[1]
            results[name] += to_results(in_image(people, box), image_id, COCO)
    for name, of_each in (("network", [one.people for one in seen]), ("mean_pose", [one.mean_pose for one in seen])):
        counts = count_joints([person for people in of_each for person in people], COCO)
        expected = pck(samples.ground_truth, results[name], skeleton=COCO)
        assert counts.right.sum() / counts.labelled.sum() == pytest.approx(expected)
    assert expected > 0, "of the mean pose"


def test_the_truth_that_is_shown_is_that_of_the_split(people_root: Path) -> None:
    module, data, samples = _opened(people_root)
    (one,) = review(module, data, "test", most=1)
    assert one.index == 0
    truth = one.sample.truth
    labelled = samples.visibility[0][: len(truth.score)] > 0
    np.testing.assert_array_equal(truth.scores > 0, labelled)
    np.testing.assert_allclose(truth.points_xy[labelled], samples.points_xy[0][: len(labelled)][labelled], atol=1e-4)
    assert len(one.people) == len(one.mean_pose) == len(truth.score)
