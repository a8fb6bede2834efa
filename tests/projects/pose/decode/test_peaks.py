"""Local maxima: one per Gaussian, at its centre exactly; one per plateau; none on a slope."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from projects.pose.decode.peaks import Peaks, find_peaks, highest_around


def _gaussian(x: float, y: float, size_hw: tuple[int, int], sigma: float = 1.0, height: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / sigma**2)).astype(np.float32)


def _find(heat: np.ndarray, threshold: float = 0.1, most: int = 32) -> Peaks:
    return find_peaks(heat.astype(np.float32)[(None,) * (3 - heat.ndim)], threshold=threshold, most=most)


@settings(deadline=None)
@given(
    x=st.floats(-0.5, 10.5),
    y=st.floats(-0.5, 7.5),
    sigma=st.floats(0.7, 3),
    height=st.floats(0.4, 1.2),
)
def test_the_centre_of_a_gaussian_of_any_width_is_exact_up_to_half_a_cell_outside(
    x: float, y: float, sigma: float, height: float
) -> None:
    peaks = _find(_gaussian(x, y, (8, 11), sigma, height))
    assert peaks.joints.tolist() == [0]
    np.testing.assert_allclose(peaks.points_xy, [[x, y]], atol=2e-4)
    assert 0.49 * height < peaks.scores[0] <= height * (1 + 1e-6)


@settings(deadline=None)
@given(
    centres=st.lists(st.tuples(st.floats(0, 12), st.floats(0, 9)), min_size=2, max_size=5),
    sigma=st.floats(0.6, 2),
    seed=st.integers(0, 99),
)
def test_of_overlapping_gaussians_each_peak_stays_beside_its_highest_cell(
    centres: list[tuple[float, float]], sigma: float, seed: int
) -> None:
    heat = np.max([_gaussian(x, y, (10, 13), sigma) for x, y in centres], axis=0)
    heat += np.random.default_rng(seed).normal(0, 0.02, heat.shape).astype(np.float32)
    peaks = _find(heat)
    assert len(peaks.scores) >= 1
    cells = np.array([[x, y] for y in range(10) for x in range(13)])
    for point, score in zip(peaks.points_xy, peaks.scores, strict=True):
        near = cells[(np.abs(cells - point) <= 0.5 + 1e-6).all(axis=1)]
        assert score in heat[near[:, 1], near[:, 0]]


def test_two_near_gaussians_pull_each_other_by_less_than_half_a_cell() -> None:
    peaks = _find(np.maximum(_gaussian(5, 4, (9, 12)), _gaussian(7.2, 4, (9, 12))))
    np.testing.assert_allclose(peaks.points_xy, [[5, 4], [7.2, 4]], atol=0.2)


@settings(deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    levels=st.integers(2, 50),
    seed=st.integers(0, 999),
)
def test_peaks_are_scipys_regional_maxima_also_of_quantised_maps(
    height: int, width: int, levels: int, seed: int
) -> None:
    heat = np.random.default_rng(seed).integers(0, levels, (3, height, width)).astype(np.float32) / levels
    expected = []
    for joint, one in enumerate(heat):
        for value in np.unique(one[one > 0.1]):
            labels, count = ndimage.label(one == value, structure=np.ones((3, 3)))
            for plateau in (labels == number for number in range(1, count + 1)):
                if (one[ndimage.binary_dilation(plateau, structure=np.ones((3, 3)))] <= value).all():
                    centre = ndimage.center_of_mass(plateau)
                    expected.append((joint, -float(value), centre[1], centre[0]))
    peaks = _find(heat, most=100)
    assert len(peaks.scores) == len(expected)
    found = zip(peaks.joints.tolist(), (-peaks.scores).tolist(), peaks.points_xy.tolist(), strict=True)
    for place, value, point in found:
        near = [
            one for one in expected if one[:2] == (place, value) and np.abs(np.subtract(one[2:], point)).max() <= 0.5
        ]
        assert near
    order = list(zip(peaks.joints.tolist(), (-peaks.scores).tolist(), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("plateau", "centre"),
    [
        ([(2, 2), (2, 3)], (2.5, 2)),
        ([(1, 1), (1, 2), (2, 1), (2, 2)], (1.5, 1.5)),
        ([(2, 1), (2, 2), (2, 3)], (2, 2)),
        ([(0, 0), (1, 1), (2, 2)], (1, 1)),
        ([(1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3)], (2, 15 / 7)),
    ],
)
def test_a_plateau_is_one_peak_at_its_centre(plateau: list[tuple[int, int]], centre: tuple[float, float]) -> None:
    heat = np.zeros((5, 5))
    for cell in plateau:
        heat[cell] = 0.5
    peaks = _find(heat)
    np.testing.assert_allclose(peaks.points_xy, [centre], atol=1e-6)
    assert peaks.scores.tolist() == [0.5]


def test_a_step_below_something_higher_is_no_peak() -> None:
    peaks = _find(np.array([[0.5, 0.5, 0.5, 0.9, 0.2], [0.5, 0.5, 0.4, 0.2, 0.1]]))
    assert peaks.scores.tolist() == [np.float32(0.9)]


def test_a_map_of_one_value_is_one_plateau() -> None:
    assert _find(np.full((2, 30, 40), 0.7)).points_xy.tolist() == [[19.5, 14.5], [19.5, 14.5]]


def test_values_at_the_threshold_and_below_are_no_peaks() -> None:
    assert _find(np.array([[0.25, 0.0, 0.25]]), threshold=0.25).scores.tolist() == []
    assert len(_find(np.array([[0.25, 0.0, 0.5]]), threshold=0.25).scores) == 1
    assert len(_find(np.array([[-1.0, -2.0]]), threshold=0.0).scores) == 0


def test_neighbours_below_zero_move_a_peak_by_less_than_half_a_cell() -> None:
    heat = np.full((5, 7), -0.3)
    heat[2, 3], heat[2, 4] = 0.8, 0.1
    point = _find(heat).points_xy[0]
    assert 3 < point[0] < 3.5
    assert point[1] == 2


def test_the_highest_of_each_joint_are_kept() -> None:
    heat = np.zeros((2, 3, 9))
    heat[0, 1, [0, 2, 4, 6]] = 0.3, 0.9, 0.5, 0.7
    heat[1, 1, 8] = 0.2
    peaks = _find(heat, most=2)
    assert peaks.joints.tolist() == [0, 0, 1]
    np.testing.assert_allclose(peaks.scores, [0.9, 0.7, 0.2], rtol=1e-6)
    assert peaks.points_xy.tolist() == [[2, 1], [6, 1], [8, 1]]


@pytest.mark.parametrize("size_hw", [(0, 0), (0, 5), (5, 0), (1, 1), (1, 6), (2, 2), (6, 1)])
def test_maps_of_any_size(size_hw: tuple[int, int]) -> None:
    heat = np.zeros((2, *size_hw))
    assert len(_find(heat).scores) == 0
    if heat.size:
        heat[1, -1, -1] = 1
        peaks = _find(heat)
        assert peaks.joints.tolist() == [1]
        assert np.abs(peaks.points_xy - [size_hw[1] - 1, size_hw[0] - 1]).max() <= 0.5


@settings(deadline=None)
@given(joints=st.integers(1, 3), height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 99))
def test_maxima_are_scipys(joints: int, height: int, width: int, seed: int) -> None:
    heat = np.random.default_rng(seed).normal(size=(joints, height, width)).astype(np.float32)
    expected = ndimage.maximum_filter(heat, size=(1, 3, 3), mode="nearest")
    assert np.array_equal(highest_around(heat), expected)
