import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.people import People, nobody
from projects.pose.scores.likeness import mean_best_oks
from projects.pose.skeleton import COCO, Skeleton

LINE = Skeleton(
    name="line", keypoints=("top", "left_foot", "right_foot"), sigmas=(0.1, 0.2, 0.2),
    limbs=(("middle", "top"), ("middle", "left_foot"), ("middle", "right_foot")),
    midpoints={"middle": ("left_foot", "right_foot")},
)  # fmt: skip
"""Its joints are top, middle, right foot, left foot."""
PERSON = np.array([[[5, 0], [5, 20], [0, 20], [10, 20]]], np.float32)
AREA = 0.53 * 10 * 20


def found(points: np.ndarray) -> People:
    ones = np.ones(points.shape[:2], np.float32)
    return People(points.astype(np.float32), ones, ones[:, 0])


def seen(*joints: int) -> np.ndarray:
    return np.array([joints], np.uint8)


def test_whoever_is_found_in_place_is_one() -> None:
    assert mean_best_oks(found(PERSON), PERSON, seen(2, 2, 1, 2), skeleton=LINE) == 1


def test_a_joint_away_costs_what_its_sigma_says() -> None:
    moved = PERSON.copy()
    moved[0, 0, 0] += 3
    expected = (math.exp(-9 / (2 * 0.2**2 * AREA)) + 1 + 1) / 3
    assert mean_best_oks(found(moved), PERSON, seen(2, 2, 2, 2), skeleton=LINE) == pytest.approx(expected, abs=1e-6)


def test_midpoints_and_joints_that_are_not_labelled_do_not_count() -> None:
    moved = PERSON.copy()
    moved[0, 1:3] += 40
    assert mean_best_oks(found(moved), PERSON, seen(2, 2, 0, 2), skeleton=LINE) == 1


def test_the_best_of_all_found_counts_and_the_mean_over_labelled_people() -> None:
    two, far = np.concatenate([PERSON, PERSON + 200]), PERSON + 5000
    visibility = np.concatenate([seen(2, 2, 2, 2)] * 2)
    people = found(np.concatenate([far, PERSON]))
    assert mean_best_oks(people, two, visibility, skeleton=LINE) == pytest.approx(0.5)


def test_rows_without_a_labelled_keypoint_are_nobody() -> None:
    two = np.concatenate([PERSON, PERSON + 200])
    visibility = np.concatenate([seen(2, 2, 2, 2), seen(0, 2, 0, 0)])
    assert mean_best_oks(found(PERSON), two, visibility, skeleton=LINE) == 1
    assert math.isnan(mean_best_oks(found(PERSON), two[1:], visibility[1:], skeleton=LINE))
    assert math.isnan(mean_best_oks(found(PERSON), two[:0], visibility[:0], skeleton=LINE))


def test_where_nobody_is_found_it_is_zero() -> None:
    assert mean_best_oks(nobody(4), PERSON, seen(2, 2, 2, 2), skeleton=LINE) == 0


def test_a_single_joint_has_a_size_of_its_own() -> None:
    value = mean_best_oks(found(PERSON + 0.1), PERSON, seen(2, 0, 0, 0), skeleton=LINE)
    assert value == pytest.approx(math.exp(-0.02 / (2 * 0.2**2 * 0.53)), abs=1e-4)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), people=st.integers(1, 4), detections=st.integers(0, 5))
def test_it_lies_between_0_and_1_and_more_found_is_no_worse(seed: int, people: int, detections: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.uniform(-50, 300, (people, 18, 2)).astype(np.float32)
    visibility = random.integers(0, 3, (people, 18)).astype(np.uint8)
    visibility[0, COCO.joint_of_keypoint[0]] = 2
    points = random.uniform(-50, 300, (detections + 1, 18, 2))
    fewer, more = (
        mean_best_oks(found(some), truth, visibility, skeleton=COCO) for some in (points[:detections], points)
    )
    assert 0 <= fewer <= more + 1e-12  # sums of one row and of several may be rounded differently
    assert more <= 1 + 1e-12
