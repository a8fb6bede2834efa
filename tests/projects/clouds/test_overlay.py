"""Clouds are tinted inside and outlined at their border; what has no data is hatched; nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.clouds.overlay import overlay_image

RED = (255, 50, 50)


def _drawn(cloud: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
    grey = np.full((*cloud.shape, 3), 100, np.uint8)
    return overlay_image(grey, cloud, np.zeros_like(cloud) if missing is None else missing)


def test_a_cloud_is_outlined_and_tinted() -> None:
    cloud = np.zeros((12, 16), bool)
    cloud[3:9, 5:12] = True
    image = _drawn(cloud)
    outlined = (image == RED).all(axis=2)
    expected = cloud.copy()
    expected[4:8, 6:11] = False
    np.testing.assert_array_equal(outlined, expected)
    assert tuple(image[5, 7]) == (131, 90, 90), "100 with a fifth of red"
    assert (image[~cloud] == 100).all()


def test_large_pictures_have_thicker_lines() -> None:
    cloud = np.zeros((100, 2048), bool)
    cloud[20:60, 100:300] = True
    assert (_drawn(cloud)[40] == RED).all(axis=1).sum() == 4


def test_no_line_runs_along_the_border_of_the_picture() -> None:
    assert not (_drawn(np.ones((20, 30), bool)) == RED).all(axis=2).any()


def test_missing_is_hatched_in_grey_whatever_is_below() -> None:
    missing = np.zeros((40, 40), bool)
    missing[:20] = True
    image = _drawn(missing, missing)
    light, dark = ((image[:20] == colour).all(axis=2) for colour in ((165, 165, 170), (95, 95, 100)))
    assert (light ^ dark).all()
    assert dark.mean() == pytest.approx(0.25, abs=0.01)
    assert (image[20:] == 100).all()


@settings(deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 99))
def test_any_mask_on_any_picture(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    cloud, missing = rng.random((2, height, width)) < 0.3
    before = rgb.copy()
    image = overlay_image(rgb, cloud, missing)
    np.testing.assert_array_equal(rgb, before, err_msg="the picture given is not changed")
    untouched = ~cloud & ~missing
    np.testing.assert_array_equal(image[untouched], rgb[untouched])
    clouded = cloud & ~missing
    assert (image[clouded][:, 0] >= rgb[clouded][:, 0] * 0.8 + 50).all()
