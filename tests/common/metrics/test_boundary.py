import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.metrics.boundary import boundary_counts, boundary_f

BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))


def brute_force(predicted: np.ndarray, target: np.ndarray, valid: np.ndarray, *, tolerance: int) -> list[int]:
    """Pixel by pixel, all distances."""
    known = {(int(y), int(x)) for y, x in np.argwhere(valid)}

    def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
        beside = {place: [(place[0] + dy, place[1] + dx) for dy, dx in BESIDE] for place in known if mask[place]}
        return [place for place, others in beside.items() if any(o in known and not mask[o] for o in others)]

    def counted(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(y, x) for y, x in places if all((y + dy, x + dx) in known for dy, dx in BESIDE)]

    found, true, counts = boundary(predicted), boundary(target), []
    for own, other in ((found, true), (true, found)):
        near = [place for place in counted(own) if any(math.dist(place, o) <= tolerance for o in other)]
        counts += [len(near), len(counted(own))]
    return counts


def counts_of(predicted: np.ndarray, target: np.ndarray, valid: np.ndarray, tolerance: int = 2) -> torch.Tensor:
    return boundary_counts(*map(torch.from_numpy, (predicted, target, valid)), tolerance=tolerance)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((20, 30), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


EVERYWHERE = np.ones((20, 30), dtype=bool)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    tolerance=st.integers(0, 6),
    known=st.sampled_from([1.0, 0.95, 0.5]),
)
def test_equals_brute_force(seed: int, height: int, width: int, tolerance: int, known: float) -> None:
    random = np.random.default_rng(seed)
    share = random.choice([0.03, 0.5, 0.97], size=2)
    predicted, target = (random.random((height, width)) < s for s in share)
    valid = random.random((height, width)) < known
    expected = brute_force(predicted, target, valid, tolerance=tolerance)
    assert counts_of(predicted, target, valid, tolerance).tolist() == expected


def test_a_box_three_pixels_to_the_right() -> None:
    """Of the 32 boundary pixels of a box of 10 x 8, top and bottom are met but for the farthest of 8 each; of the left
    side the two at either end, which are near top and bottom; of the right side none."""
    target, predicted = box(5, 15, 10, 18), box(5, 15, 13, 21)
    assert counts_of(predicted, target, EVERYWHERE).tolist() == [18, 32, 18, 32]
    assert boundary_f(counts_of(predicted, target, EVERYWHERE)).item() == 18 / 32
    assert boundary_f(counts_of(predicted, target, EVERYWHERE, 3)).item() == 1
    assert counts_of(predicted, target, EVERYWHERE, 0).tolist() == [10, 32, 10, 32]
    assert boundary_f(counts_of(box(1, 3, 1, 3), target, EVERYWHERE)).item() == 0


def test_what_is_counted_at_borders_and_beside_the_unknown() -> None:
    """The left half is cloud: a boundary of 20 pixels, of which the first and the last touch the scene's border."""
    half = box(0, 20, 0, 15)
    assert counts_of(half, half, EVERYWHERE).tolist() == [18, 18, 18, 18]
    valid = EVERYWHERE.copy()
    valid[10, 15] = False  # beside the boundary's pixel of row 10
    assert counts_of(half, half, valid).tolist() == [17, 17, 17, 17]
    valid[:, 15:] = False  # nothing is known of the other side
    assert counts_of(half, half, valid).tolist() == [0, 0, 0, 0]
    assert counts_of(box(0, 20, 0, 13), half, valid).tolist() == [0, 18, 0, 0], "not even as something near"
    assert counts_of(EVERYWHERE, half, EVERYWHERE).tolist() == [0, 0, 0, 18], "a scene's border is no boundary"
    top = box(0, 1, 0, 30)
    assert counts_of(box(0, 2, 0, 30), top, EVERYWHERE).tolist() == [28, 28, 0, 0], "near to one that does not count"


def test_no_boundary_on_one_side_or_on_both() -> None:
    nothing = box(0, 0, 0, 0)
    assert boundary_f(counts_of(nothing, box(5, 9, 5, 9), EVERYWHERE)).item() == 0
    assert boundary_f(counts_of(box(5, 9, 5, 9), nothing, EVERYWHERE)).item() == 0
    assert boundary_f(counts_of(nothing, nothing, EVERYWHERE)).isnan()


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(UserError, match="found -1, expected pixels, at least 0"):
        counts_of(EVERYWHERE, EVERYWHERE, EVERYWHERE, tolerance=-1)
