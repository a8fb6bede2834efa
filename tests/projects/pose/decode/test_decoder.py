"""Perfect maps give back the people who were drawn; mirrored, damaged, empty and random maps do what they should."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from projects.pose.coco.results import to_results
from projects.pose.decode.decoder import Decoder
from projects.pose.letterbox import Letterbox
from projects.pose.people import People, in_frame, in_image
from projects.pose.scores.evaluate import keypoint_scores
from projects.pose.skeleton import COCO, Skeleton
from projects.pose.targets import TargetOptions, joint_heatmaps, limb_fields

STRIDE = 8
JOINTS = len(COCO.joints)
BODY = {
    "nose": (0, -9), "neck": (0, -6), "eye": (0.7, -9.8), "ear": (1.5, -9.2), "shoulder": (3, -6), "elbow": (4.5, -2.5),
    "wrist": (5, 1), "hip": (2, 1), "knee": (2.3, 6), "ankle": (2.5, 11),
}  # fmt: skip
"""Cells from the middle of somebody who stands; on the left, the other side mirrored."""

Maps = tuple[np.ndarray, np.ndarray]


def _body() -> np.ndarray:
    places = [(joint, BODY[joint.removeprefix("right_").removeprefix("left_")]) for joint in COCO.joints]
    return np.array([(-x if joint.startswith("right_") else x, y) for joint, (x, y) in places], np.float32)


def _perfect(
    points: np.ndarray,
    found: np.ndarray,
    size_hw: tuple[int, int],
    *,
    skeleton: Skeleton = COCO,
    options: TargetOptions = TargetOptions(),  # noqa: B008 - frozen
) -> Maps:
    people, labelled = torch.from_numpy(points.astype(np.float32))[None], torch.from_numpy(found)[None]
    heat = joint_heatmaps(people, labelled, size_hw=size_hw, sigma=options.sigma)
    limbs = torch.from_numpy(skeleton.limb_joints)
    paf = limb_fields(people, labelled, limbs=limbs, size_hw=size_hw, options=options)
    return heat[0].numpy(), paf[0].numpy()


def _same(found: People, points: np.ndarray, labelled: np.ndarray, *, within: float) -> None:
    """The same people in any order."""
    assert len(found.score) == len(points)
    left = list(range(len(points)))
    for one, scores in zip(found.points_xy, found.scores, strict=True):
        best = min(left, key=lambda k: float(np.abs(np.where(labelled[k, :, None], points[k], 0) - one).max()))
        left.remove(best)
        assert ((scores > 0) == labelled[best]).all()
        np.testing.assert_allclose(one[labelled[best]], points[best][labelled[best]], atol=within)
        assert (one[~labelled[best]] == 0).all()


def _coco(
    root: Path, size_hw: tuple[int, int], decoder: Decoder, options: TargetOptions, *, skeleton: Skeleton = COCO
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO's file and what is decoded from perfect maps of its people."""
    truth = json.loads((root / "pose" / "coco" / "test_coco.json").read_text())
    results: list[dict[str, Any]] = []
    for image in truth["images"]:
        people = [one["keypoints"] for one in truth["annotations"] if one["image_id"] == image["id"]]
        keypoints = np.array([one for one in people if any(one)], np.float32).reshape(-1, 17, 3)
        points, seen = COCO.with_midpoints(keypoints[..., :2], keypoints[..., 2].astype(np.uint8))
        letterbox = Letterbox.fit((image["height"], image["width"]), size_hw)
        cells = (letterbox.to_frame(points) + 0.5) / STRIDE - 0.5
        maps = _perfect(
            cells, seen > 0, (size_hw[0] // STRIDE, size_hw[1] // STRIDE), skeleton=skeleton, options=options
        )
        found = in_image(in_frame(decoder(*maps, skeleton), STRIDE), letterbox)
        results += to_results(found, image["id"], COCO)
    return truth, results


@pytest.mark.parametrize(
    ("size_hw", "options"),
    [
        ((368, 368), TargetOptions()),
        ((384, 512), TargetOptions(shape="hard")),
        ((256, 256), TargetOptions(ends=0.5)),
        ((192, 256), TargetOptions()),
        ((192, 256), TargetOptions(shape="hard", ends=0.5)),
        ((640, 640), TargetOptions(sigma=0.7, width=0.7)),
        ((640, 640), TargetOptions(sigma=1.5, width=1.5)),
    ],
)
def test_perfect_maps_of_real_people_have_a_perfect_score(
    real_data: Path, size_hw: tuple[int, int], options: TargetOptions
) -> None:
    """A well-known implementation reaches .990 at best."""
    truth, results = _coco(real_data, size_hw, Decoder(), options)
    assert len(results) == 12
    assert keypoint_scores(truth, results, skeleton=COCO)["ap"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("limbs", "across", "expected"), [(19, False, 0.9898), (17, False, 0.9648), (17, True, 0.9794)]
)
def test_what_joins_parts_of_real_people_is_needed(real_data: Path, limbs: int, across: bool, expected: float) -> None:
    """A wrist whose elbow is not labelled, and ears whose eyes are not, without limbs from shoulder to ear."""
    skeleton = dataclasses.replace(COCO, limbs=COCO.limbs[:limbs])
    truth, results = _coco(real_data, (368, 368), Decoder(across=across), TargetOptions(), skeleton=skeleton)
    assert keypoint_scores(truth, results, skeleton=skeleton)["ap"] == pytest.approx(expected, abs=1e-4)


SIDE = 60
SHIFTS = {
    "overlapping": st.tuples(st.floats(4, 9), st.floats(-1, 1)),
    "touching": st.tuples(st.floats(10, 14), st.floats(-4, 4)),
    "far apart": st.tuples(st.floats(20, 26), st.floats(-10, 10)),
}
"""From one person to the other, across their bodies: along them limbs lie on one line, which no field can part."""


@pytest.mark.parametrize("shifts", SHIFTS.values(), ids=SHIFTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_two_people_are_exactly_those_who_were_drawn(
    shifts: st.SearchStrategy[tuple[float, float]], data: st.DataObject
) -> None:
    shift = np.array(data.draw(shifts)) / 2
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    body = _body() + rng.uniform(-0.6, 0.6, (JOINTS, 2))
    people = np.stack([body - shift, body + shift])[rng.permutation(2)] + (SIDE / 2, SIDE / 2)
    everything = np.ones((2, JOINTS), np.bool_)
    found = Decoder()(*_perfect(people, everything, (SIDE, SIDE)), COCO)
    _same(found, people, everything, within=1e-3)
    np.testing.assert_allclose(found.score, found.scores.mean(axis=1), rtol=1e-6)
    assert (np.diff(found.score) <= 0).all()


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(0.1, 2), seed=st.integers(0, 9999), ends=st.sampled_from([0.0, 0.5]))
def test_people_of_all_sizes_keep_their_faces(scale: float, seed: int, ends: float) -> None:
    """The smallest is two cells high: its eyes are .07 cells from its nose."""
    rng = np.random.default_rng(seed)
    one = scale * (_body() + rng.uniform(-0.3, 0.3, (JOINTS, 2)))[None] + rng.uniform(24, 36, 2)
    everything = np.ones((1, JOINTS), np.bool_)
    maps = _perfect(one, everything, (SIDE, SIDE), options=TargetOptions(ends=ends))
    _same(Decoder()(*maps, COCO), one, everything, within=1e-3)


def test_joints_in_one_place_are_of_one_person() -> None:
    """Limbs without length have no field at all."""
    one = np.full((1, JOINTS, 2), 7.3)
    maps = _perfect(one, np.ones((1, JOINTS), np.bool_), (16, 16))
    assert not maps[1].any()
    _same(Decoder()(*maps, COCO), one, np.ones((1, JOINTS), np.bool_), within=1e-3)


TRUNK = ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")


@settings(deadline=None, max_examples=40)
@given(hidden=st.sets(st.sampled_from([joint for joint in COCO.joints if joint not in TRUNK])))
@example(hidden={"neck", "right_shoulder"})
@example(hidden={"neck", "left_shoulder", "left_hip", "right_elbow", "nose"})
def test_who_is_alone_is_whole_whatever_is_hidden(hidden: set[str]) -> None:
    labelled = np.array([[joint not in hidden for joint in COCO.joints]])
    one = _body()[None] + 20
    _same(Decoder()(*_perfect(one, labelled, (40, 40)), COCO), one, labelled, within=1e-3)


def _random_maps(seed: int, side: int = 24) -> Maps:
    """Smooth noise: peaks of all heights, some lines agree."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(0, 1, (COCO.heat_channels + COCO.paf_channels, side + 2, side + 2))
    smooth = np.sum([rough[:, y : y + side, x : x + side] for x in range(3) for y in range(3)], axis=0) / 6
    return smooth[: COCO.heat_channels].astype(np.float32), smooth[COCO.heat_channels :].astype(np.float32)


def _mirrored(people: People, width: int) -> People:
    x = np.where(people.scores > 0, width - 1 - people.points_xy[..., 0], 0)
    points = np.stack([x, people.points_xy[..., 1]], axis=-1)[:, COCO.mirrored_joints]
    return People(points, people.scores[:, COCO.mirrored_joints], people.score)


def _equal(found: People, expected: People) -> None:
    assert found.score.shape == expected.score.shape
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 9999), across=st.booleans())
def test_mirrored_maps_are_mirrored_people(seed: int, across: bool) -> None:
    """Limbs are looked at in their order, so that it is mirrored, too: left before right."""
    (heat, paf), decoder = _random_maps(seed), Decoder(min_joints=1, across=across)
    limbs = [COCO.limbs[field // 2] for field in COCO.mirrored_paf[::2]]
    found = decoder(
        heat[COCO.mirrored_heat, :, ::-1],
        paf[:, :, ::-1] * COCO.mirrored_paf_sign[:, None, None],
        dataclasses.replace(COCO, limbs=limbs),
    )
    expected = decoder(heat, paf, COCO)
    assert (expected.scores > 0).sum(axis=1).max() > 1
    _equal(found, _mirrored(expected, heat.shape[2]))


def test_maps_of_mirrored_people_are_mirrored_people() -> None:
    people = _body() + np.array([[[12, 14]], [[24, 16]]])
    everything = np.ones((2, JOINTS), np.bool_)
    heat, paf = _perfect(people, everything, (30, 40))
    sign = COCO.mirrored_paf_sign[:, None, None]
    found = Decoder()(heat[COCO.mirrored_heat, :, ::-1], paf[COCO.mirrored_paf, :, ::-1] * sign, COCO)
    _equal(found, _mirrored(Decoder()(heat, paf, COCO), 40))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 9999), side=st.sampled_from([46, 96]), smooth=st.booleans())
def test_noise_is_bounded(seed: int, side: int, smooth: bool) -> None:
    """Hundreds of peaks of each joint, and fields that agree with half of all lines."""
    rng = np.random.default_rng(seed)
    heat, paf = rng.random((JOINTS, side, side), np.float32), rng.random((38, side, side), np.float32)
    found = Decoder(most_peaks=8)(*(_random_maps(seed, side) if smooth else (heat, paf)), COCO)
    assert ((found.scores > 0).sum(axis=0) <= 8).all()
    assert ((found.scores > 0).sum(axis=1) >= 3).all()
    assert (np.abs(found.points_xy - (side - 1) / 2) <= side / 2).all()


@pytest.mark.parametrize("size_hw", [(0, 0), (0, 4), (1, 1), (5, 7)])
def test_empty_maps_are_nobody(size_hw: tuple[int, int]) -> None:
    found = Decoder()(np.zeros((JOINTS, *size_hw), np.float32), np.zeros((38, *size_hw), np.float32), COCO)
    assert [part.shape for part in found] == [(0, JOINTS, 2), (0, JOINTS), (0,)]
    assert {part.dtype for part in found} == {np.dtype(np.float32)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_values_that_say_nothing_are_read_as_0(value: float) -> None:
    one, everything = _body()[None] + 20, np.ones((1, JOINTS), np.bool_)
    heat, paf = _perfect(one, everything, (40, 60))
    heat[:, :, 45:], paf[:, 3::7, 45:] = value, value
    _same(Decoder()(heat, paf, COCO), one, everything, within=1e-3)
    assert len(Decoder()(np.full_like(heat, value), np.full_like(paf, value), COCO).score) == 0
    doubles = Decoder()(heat.astype(np.float64), paf.astype(np.float64), COCO)
    _same(doubles, one, everything, within=1e-3)


def test_values_that_float32_has_not_are_read_as_0() -> None:
    heat, paf = np.full((JOINTS, 4, 4), 1e300), np.full((38, 4, 4), -1e300)
    assert len(Decoder()(heat, paf, COCO).score) == 0


def test_a_background_makes_no_difference() -> None:
    one, everything = _body()[None] + 20, np.ones((1, JOINTS), np.bool_)
    heat, paf = _perfect(one, everything, (40, 40))
    _equal(Decoder()(heat, paf, COCO), Decoder()(heat[:-1], paf, COCO))


def test_the_score_is_the_mean_over_all_joints_and_drops_people() -> None:
    labelled = np.ones((2, JOINTS), np.bool_)
    labelled[1, 9:] = False
    people = np.rint(_body() + np.array([[[15, 20]], [[40, 20]]]))
    maps = _perfect(people, labelled, (40, 60))
    found = Decoder(min_joints=9)(*maps, COCO)
    np.testing.assert_allclose(found.score, [1, 9 / JOINTS], rtol=1e-6)
    assert len(Decoder(min_joints=10)(*maps, COCO).score) == 1
    assert len(Decoder(min_score=0.6)(*maps, COCO).score) == 1
    assert len(Decoder(min_joints=19)(*maps, COCO).score) == 0


def test_a_lone_joint_is_somebody_where_one_joint_is_enough() -> None:
    heat, paf = np.zeros((JOINTS, 9, 9), np.float32), np.zeros((38, 9, 9), np.float32)
    heat[3, 4, 5] = 0.9
    assert len(Decoder()(heat, paf, COCO).score) == 0
    found = Decoder(min_joints=1)(heat, paf, COCO)
    assert found.points_xy[0, 3].tolist() == [5, 4]
    np.testing.assert_allclose(found.scores.sum(), 0.9, rtol=1e-6)


def test_another_skeleton() -> None:
    flower = Skeleton(
        "flower", ("root", "right_leaf", "left_leaf"), (0.1,) * 3, (("root", "right_leaf"), ("root", "left_leaf"))
    )
    people = np.array([[[5, 9], [2, 4], [8, 4]], [[15, 9], [12, 4], [18, 4]]], np.float32)
    everything = np.ones((2, 3), np.bool_)
    _same(Decoder()(*_perfect(people, everything, (12, 22), skeleton=flower), flower), people, everything, within=1e-3)


def test_maps_of_another_skeleton_are_refused() -> None:
    for heat, paf in (((17, 5, 5), (38, 5, 5)), ((19, 5, 5), (36, 5, 5)), ((19, 5, 5), (38, 5, 6))):
        with pytest.raises(UserError, match=r"expected 18 or 19 and 38 of one size .* 'coco'"):
            Decoder()(np.zeros(heat, np.float32), np.zeros(paf, np.float32), COCO)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", -0.1), ("threshold", math.nan), ("paf_threshold", 1.5), ("samples", 1), ("samples", 101),
        ("agreeing", 1.1), ("longest", 0.0), ("min_joints", 0), ("min_score", math.inf), ("most_peaks", 0),
        ("most_peaks", 129),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"decoder.{name}: found {value}; expected a (whole )?number from .* to "):
        Decoder(**{name: value})  # type: ignore[arg-type]


def test_torch_is_not_needed() -> None:
    code = "import sys, projects.pose.decode.decoder; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
