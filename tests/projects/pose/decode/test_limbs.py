"""Fields along lines: literal values, an independent interpolation, and lines that are hardly longer than a point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from projects.pose.decode.limbs import LimbRules, Limbs, find_limbs
from projects.pose.decode.peaks import Peaks

RULES = LimbRules(samples=10, paf_threshold=0.05, agreeing=0.8, longest=0.5)
ONE = np.array([[0, 1]])


def _peaks(*places: tuple[int, float, float]) -> Peaks:
    """Of (joint, x, y), sorted by joint."""
    joints = np.array([place[0] for place in places], np.int64)
    points = np.array([place[1:] for place in places], np.float32).reshape(-1, 2)
    return Peaks(points, np.ones(len(places), np.float32), joints)


def _along_x(height: int = 20, width: int = 20) -> np.ndarray:
    return np.stack([np.ones((height, width)), np.zeros((height, width))]).astype(np.float32)


@pytest.mark.parametrize(
    ("end", "score"),
    [((9, 5), 1), ((8, 9), 0.6), ((5, 9), None), ((1, 5), None), ((17, 5), 10 / 12), ((5, 5), 1)],
)
def test_the_score_is_the_mean_component_less_what_the_line_is_too_long(
    end: tuple[float, float], score: float | None
) -> None:
    limbs = find_limbs(_along_x(), _peaks((0, 5, 5), (1, *end)), ONE, RULES)
    if score is None:
        assert len(limbs.scores) == 0
    else:
        assert limbs.ends.tolist() == [[0, 1]]
        np.testing.assert_allclose(limbs.scores, [score], rtol=1e-5)


def test_a_share_of_the_samples_must_agree() -> None:
    field = _along_x()
    field[0, :, 8:] = 0
    peaks = _peaks((0, 2, 5), (1, 11, 5))  # samples at 2, 3, ... 11, six of them on the field
    assert len(find_limbs(field, peaks, ONE, RULES._replace(agreeing=0.6)).scores) == 1
    assert len(find_limbs(field, peaks, ONE, RULES._replace(agreeing=0.61)).scores) == 0


@settings(deadline=None)
@given(
    size_hw=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    samples=st.integers(2, 12),
    seed=st.integers(0, 999),
)
def test_the_field_is_read_bilinearly_as_scipy_does(size_hw: tuple[int, int], samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    paf = rng.normal(size=(4, *size_hw)).astype(np.float32)
    a, b = rng.uniform(-0.5, np.array(size_hw)[::-1] - 0.5, (2, 2)).astype(np.float32)
    length = np.hypot(*(b - a))
    limbs = find_limbs(paf, _peaks((0, *a), (2, *b)), np.array([[1, 0], [0, 2]]), LimbRules(samples, -1e9, 0.0, 1e9))
    x, y = np.linspace(a, b, samples).T
    read = [ndimage.map_coordinates(paf[axis], [y, x], order=1, mode="nearest") for axis in (2, 3)]
    along = (b - a) @ np.array(read) / length
    expected = (along if length >= 1 else length * along + 1 - length).mean()
    assert limbs.numbers.tolist() == ([1] if expected > 0 else [])
    np.testing.assert_allclose(limbs.scores, [expected] if expected > 0 else [], atol=1e-5)


@pytest.mark.parametrize("length", [0, 1e-6, 0.01, 0.3, 0.6, 0.9])
def test_points_in_one_cell_are_joined_without_a_field(length: float) -> None:
    limbs = find_limbs(np.zeros((2, 9, 9), np.float32), _peaks((0, 4, 4), (1, 4 + length, 4)), ONE, RULES)
    np.testing.assert_allclose(limbs.scores, [1 - length], atol=1e-5)


def test_without_a_field_a_cell_is_too_far() -> None:
    assert len(find_limbs(np.zeros((2, 9, 9), np.float32), _peaks((0, 4, 4), (1, 5, 4)), ONE, RULES).scores) == 0


def test_all_pairs_of_all_limbs_the_best_of_each_first() -> None:
    field = np.concatenate([_along_x(), _along_x()])
    field[:2, 10:] /= 2
    peaks = _peaks((0, 2, 4), (0, 2, 14), (1, 6, 4), (1, 6, 14), (3, 9, 4))
    limbs = find_limbs(field, peaks, np.array([[0, 1], [1, 3]]), RULES)
    assert (limbs.numbers[0], limbs.ends[0].tolist()) == (0, [0, 2])
    assert sorted(map(tuple, limbs.ends.tolist())) == [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4)]
    for number in (0, 1):
        assert (np.diff(limbs.scores[limbs.numbers == number]) <= 0).all()


def test_many_lines_are_as_few() -> None:
    """More than are read together."""
    rng = np.random.default_rng(0)
    paf = rng.normal(size=(2, 30, 30)).astype(np.float32)
    places = [(joint, *rng.uniform(0, 29, 2)) for joint in (0, 1) for _ in range(70)]
    limbs = find_limbs(paf, _peaks(*places), ONE, LimbRules(5, -1e9, 0.0, 1e9))
    for a, b in ((0, 139), (69, 70), (35, 100)):
        alone = find_limbs(paf, _peaks(places[a], places[b]), ONE, LimbRules(5, -1e9, 0.0, 1e9))
        np.testing.assert_allclose(limbs.scores[(limbs.ends == (a, b)).all(axis=1)], alone.scores, rtol=1e-5)


def test_no_peaks_are_no_limbs() -> None:
    for peaks in (_peaks(), _peaks((0, 1, 1)), _peaks((1, 1, 1), (5, 2, 2))):
        limbs = find_limbs(_along_x(), peaks, ONE, RULES)
        assert isinstance(limbs, Limbs)
        assert limbs.ends.shape == (0, 2)


def test_a_map_of_one_cell() -> None:
    assert len(find_limbs(np.ones((2, 1, 1), np.float32), _peaks((0, 0, 0), (1, 0.4, 0.3)), ONE, RULES).scores) == 1
