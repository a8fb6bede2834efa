import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from projects.pose.letterbox import Letterbox

SIDES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def test_literal_places() -> None:
    wide = Letterbox.fit((50, 100), (64, 64))
    assert (wide.inner_hw, wide.offset_xy) == ((32, 64), (0, 16))
    np.testing.assert_allclose(wide.scale_xy, [0.64, 0.64])
    high = Letterbox.fit((100, 50), (65, 64))
    assert (high.inner_hw, high.offset_xy) == ((65, 32), (16, 0))
    corners = np.array([[-0.5, -0.5], [99.5, 49.5], [49.5, 24.5]])
    np.testing.assert_allclose(wide.to_frame(corners), [[-0.5, 15.5], [63.5, 47.5], [31.5, 31.5]], atol=1e-12)


@settings(deadline=None)
@given(image_hw=SIDES, size_hw=SIDES, seed=st.integers(0, 1000))
def test_to_the_frame_and_back(image_hw: tuple[int, int], size_hw: tuple[int, int], seed: int) -> None:
    box = Letterbox.fit(image_hw, size_hw)
    points = np.random.default_rng(seed).uniform(-50, 400, (3, 5, 2))
    np.testing.assert_allclose(box.to_image(box.to_frame(points)), points, atol=1e-9)
    np.testing.assert_allclose(box.to_frame(box.to_image(points)), points, atol=1e-9)
    assert box.to_frame(points.astype(np.float32)).dtype == box.to_image(points.astype(np.float32)).dtype == np.float32


@settings(deadline=None)
@given(image_hw=SIDES, size_hw=SIDES)
def test_the_picture_lies_within_and_touches(image_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    box = Letterbox.fit(image_hw, size_hw)
    frame = box(np.full((*image_hw, 3), 200, np.uint8))
    assert frame.shape == (*size_hw, 3)
    inner = box.cut(frame)
    assert inner.shape[:2] == box.inner_hw and (inner == 200).all()
    assert (frame == 200).sum() == inner.size, "black around"
    assert box.inner_hw[0] == size_hw[0] or box.inner_hw[1] == size_hw[1]
    left, top = box.offset_xy
    assert abs(2 * left + box.inner_hw[1] - size_hw[1]) <= 1 and abs(2 * top + box.inner_hw[0] - size_hw[0]) <= 1


@pytest.mark.parametrize(("image_hw", "size_hw"), [((60, 90), (64, 64)), ((200, 120), (64, 96)), ((33, 47), (99, 141))])
def test_points_move_with_the_picture(image_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    """A bright spot is where its point says; its centre of mass is measured."""
    rows, columns = np.mgrid[: image_hw[0], : image_hw[1]]
    x, y = 0.6 * image_hw[1], 0.4 * image_hw[0]
    spot = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / (0.08 * min(image_hw)) ** 2)
    box = Letterbox.fit(image_hw, size_hw)
    frame = box(spot.round().astype(np.uint8)).astype(float)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    centre = [(frame * columns).sum() / frame.sum(), (frame * rows).sum() / frame.sum()]
    np.testing.assert_allclose(box.to_frame(np.array([x, y])), centre, atol=0.1)


def test_masks_keep_their_values() -> None:
    mask = (np.random.default_rng(0).random((37, 53)) < 0.5).astype(np.uint8) * 255
    assert set(np.unique(Letterbox.fit((37, 53), (20, 31))(mask, smooth=False))) <= {0, 255}
    assert len(np.unique(Letterbox.fit((37, 53), (20, 31))(mask))) > 2


def test_a_picture_of_the_frame_s_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(Letterbox.fit((20, 30), (20, 30))(image), image)


@pytest.mark.parametrize(("image_hw", "size_hw"), [((0, 5), (8, 8)), ((5, 5), (8, 0)), ((5, -1), (8, 8))])
def test_without_a_size(image_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"letterbox: found a picture of .*; expected 1 or more"):
        Letterbox.fit(image_hw, size_hw)
