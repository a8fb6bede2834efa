"""Colours say what is right and wrong, also where a picture is smaller than its scene; windows hold the most errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.clouds.views import FALSE_CLOUD, MISSED_CLOUD, NOT_KNOWN, WINDOW_PX, view, worst_window

NAN = float("nan")
DARK, WHITE = (22, 32, 52), (255, 255, 255)


def _scene(height: int, width: int, grey: int = 100) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def test_each_kind_of_pixel_has_its_colours() -> None:
    probability = np.array([[0.9, 0.9, 0.5, 0.49, 0.1, NAN]], np.float32)
    target = np.array([[0, 1, 255, 1, 0, 255]], np.uint8)
    shown = view(_scene(1, 6), probability, target, threshold=0.5)
    pale = (224, 224, 224)
    expected = [FALSE_CLOUD, pale, NOT_KNOWN, MISSED_CLOUD, pale, NOT_KNOWN]
    assert [tuple(colour) for colour in shown.errors[0].tolist()] == expected
    assert [tuple(colour) for colour in shown.label[0].tolist()] == [DARK, WHITE, NOT_KNOWN, WHITE, DARK, NOT_KNOWN]
    lightness = shown.probability[0, :5].astype(int).sum(axis=1)
    assert lightness[0] == lightness[1] > lightness[2] > lightness[3] > lightness[4]
    assert tuple(shown.probability[0, 5]) == NOT_KNOWN
    assert tuple(shown.scene[0, 0]) == (100, 100, 100)


def test_the_threshold_itself_is_cloud() -> None:
    shown = view(_scene(1, 1), np.full((1, 1), 0.25, np.float32), np.ones((1, 1), np.uint8), threshold=0.25)
    assert tuple(shown.errors[0, 0]) == (224, 224, 224)


def test_a_reduced_picture_has_the_mean_of_what_its_pixels_cover() -> None:
    probability = np.array([[0.9, 0.1, 0.8, NAN], [0.1, 0.1, NAN, NAN]], np.float32)
    target = np.array([[0, 0, 1, 255], [0, 0, 255, 255]], np.uint8)
    shown = view(_scene(1, 2, 255), probability, target, threshold=0.5)
    np.testing.assert_allclose(shown.errors[0, 0], (255 * 3 + np.array(FALSE_CLOUD)) / 4, atol=1)
    np.testing.assert_allclose(shown.errors[0, 1], (255 + 3 * np.array(NOT_KNOWN)) / 4, atol=1)
    full = view(_scene(1, 2), np.array([[0.3, 0.8]], np.float32), np.zeros((1, 2), np.uint8), threshold=0.5).probability
    np.testing.assert_allclose(shown.probability[0, 0], full[0, 0], atol=3)
    np.testing.assert_allclose(shown.probability[0, 1], (full[0, 1] + 3.0 * np.array(NOT_KNOWN)) / 4, atol=3)


@settings(deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_pictures_have_the_size_of_the_scene_given(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = np.where(rng.random((height, width)) < 0.2, np.nan, rng.random((height, width))).astype(np.float32)
    target = rng.choice(np.array([0, 1, 255], np.uint8), (height, width))
    for picture in view(_scene(rows, columns), probability, target, threshold=0.5):
        assert (picture.shape, picture.dtype) == ((rows, columns, 3), np.uint8)


@settings(deadline=None)
@given(height=st.integers(1, 500), width=st.integers(1, 500), spots=st.integers(0, 40), seed=st.integers(0, 999))
def test_no_window_has_more_errors(height: int, width: int, spots: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = np.zeros((height, width), np.uint8)
    target[rng.integers(height, size=spots), rng.integers(width, size=spots)] = rng.choice([1, 255], spots)
    box = worst_window(np.zeros((height, width), np.float32), target, threshold=0.5)
    top, bottom, left, right = box
    assert (bottom - top, right - left) == (min(height, WINDOW_PX), min(width, WINDOW_PX))
    assert 0 <= top < bottom <= height
    assert 0 <= left < right <= width
    wrong = target == 1
    others = [
        wrong[y : y + WINDOW_PX, x : x + WINDOW_PX].sum()
        for y in range(0, max(height - WINDOW_PX, 0) + 1, 16)
        for x in range(0, max(width - WINDOW_PX, 0) + 1, 16)
    ]
    assert wrong[top:bottom, left:right].sum() >= max(others)


def test_without_errors_it_is_the_least_sure_window() -> None:
    probability = np.zeros((600, 500), np.float32)
    probability[450:460, 310:330] = 0.4
    box = worst_window(probability, np.zeros((600, 500), np.uint8), threshold=0.5)
    assert (box.top <= 450, box.bottom >= 460) == (True, True)
    assert (box.left <= 310, box.right >= 330) == (True, True)


@pytest.mark.parametrize("hidden", ["not counted", "missing"])
def test_what_is_not_counted_is_no_error(hidden: str) -> None:
    probability, target = np.zeros((400, 400), np.float32), np.zeros((400, 400), np.uint8)
    probability[:100, :100] = 1 if hidden == "not counted" else np.nan
    target[:100, :100] = 255
    target[390:, 390:] = 1
    assert worst_window(probability, target, threshold=0.5) == (208, 400, 208, 400)
