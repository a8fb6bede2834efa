"""People are drawn where they are, in their own colours, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.overlay import draw_people
from projects.pose.people import People, nobody
from projects.pose.skeleton import COCO, Skeleton

STICK = Skeleton(
    name="stick",
    keypoints=("head", "right_hand", "left_hand"),
    sigmas=(0.1, 0.1, 0.1),
    limbs=(("head", "right_hand"), ("head", "left_hand")),
)


def _person(*points: tuple[float, float], scores: tuple[float, ...] | None = None) -> People:
    xy = np.array([points], np.float32)
    found = np.array([scores or [1.0] * len(points)], np.float32)
    return People(xy, found, np.ones(1, np.float32))


def _ground(size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    return np.full((*size_hw, 3), 128, np.uint8)


def _changed(drawn: np.ndarray) -> np.ndarray:
    return (drawn != 128).any(axis=2)


def test_joints_are_at_their_places_in_their_colours_and_limbs_between_them() -> None:
    drawn = draw_people(_ground(), _person((80.0, 20.0), (30.0, 100.0), (130.0, 100.0)), STICK)
    for (x, y), colour in zip([(80, 20), (30, 100), (130, 100)], STICK.joint_colours, strict=True):
        np.testing.assert_allclose(drawn[y, x].astype(int), 0.9 * colour + 0.1 * 128, atol=2)
    for (x, y), colour in zip([(55, 60), (105, 60)], STICK.limb_colours, strict=True):
        np.testing.assert_allclose(drawn[y, x].astype(int), 0.9 * colour + 0.1 * 128, atol=2)
    assert not _changed(drawn)[60, 65:95].any()
    assert not _changed(drawn)[:15].any()


def test_a_joint_is_centred_on_its_pixel() -> None:
    drawn = draw_people(_ground(), _person((80.0, 20.0), (20.0, 20.0), (0.0, 0.0), scores=(1.0, 0.0, 0.0)), STICK)
    y, x = np.nonzero(_changed(drawn))
    assert (x.mean(), y.mean()) == pytest.approx((80, 20), abs=0.34)  # a third of a pixel is the pen's step
    assert len(x) > 4


def test_edges_are_smooth() -> None:
    drawn = draw_people(np.zeros((120, 160, 3), np.uint8), _person((80.0, 20.0), (30.0, 100.0), (130.0, 100.0)), STICK)
    assert len(np.unique(drawn.max(axis=2))) > 5


def test_larger_people_have_wider_lines() -> None:
    areas = []
    for size in (100, 400):
        at = [(size * x + 20, size * y + 20) for x, y in ((0.5, 0.0), (0.0, 1.0), (1.0, 1.0))]
        drawn = draw_people(_ground((500, 500)), _person(*at), STICK)
        areas.append(_changed(drawn)[size // 2 + 20].sum())
    assert areas[1] > 1.8 * areas[0]


def test_what_is_not_found_is_not_drawn() -> None:
    scores = (1.0, 0.0, 1.0)
    drawn = draw_people(_ground(), _person((80.0, 20.0), (30.0, 100.0), (130.0, 100.0), scores=scores), STICK)
    assert not _changed(drawn)[:, :70].any()
    np.testing.assert_array_equal(draw_people(_ground(), nobody(3), STICK), _ground())
    none = _person((80.0, 20.0), (30.0, 100.0), (130.0, 100.0), scores=(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(draw_people(_ground(), none, STICK), _ground())


def test_the_best_person_is_on_top() -> None:
    best, other = [(80, 60), (80, 10), (80, 110)], [(10, 60), (150, 60), (80, 60)]
    people = People(np.array([best, other], np.float32), np.ones((2, 3), np.float32), np.array([2, 1], np.float32))
    drawn = draw_people(_ground(), people, STICK)
    np.testing.assert_allclose(drawn[60, 80].astype(int), 0.9 * STICK.joint_colours[0] + 12.8, atol=20)


def test_the_picture_that_is_given_stays_and_the_result_is_ones_own() -> None:
    image = _ground()
    drawn = draw_people(image, _person((80.0, 20.0), (30.0, 100.0), (130.0, 100.0)), STICK)
    assert not _changed(image).any()
    drawn[:] = 0  # may be written to
    assert not _changed(image).any()


@settings(max_examples=60, deadline=None)
@given(
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    points=st.lists(
        st.tuples(*[st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(-90, 90, width=32)] * 2),
        min_size=36, max_size=36,
    ),
    turned=st.booleans(),
)  # fmt: skip
def test_any_place_can_be_drawn(size_hw: tuple[int, int], points: list[tuple[float, float]], turned: bool) -> None:
    image = _ground(size_hw)[::-1] if turned else _ground(size_hw)
    xy = np.array(points, np.float32).reshape(2, 18, 2)
    drawn = draw_people(image, People(xy, np.ones((2, 18), np.float32), np.ones(2, np.float32)), COCO)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    if not np.isfinite(xy).all(axis=2).any():
        np.testing.assert_array_equal(drawn, image)
