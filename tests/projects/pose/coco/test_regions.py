from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from projects.pose.coco.regions import draw, read_region

BOX = [0.0, 0.0, 1.0, 1.0]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), points=st.integers(3, 12), form=st.sampled_from(["polygon", "list", "string"]))
def test_draws_as_pycocotools(seed: int, points: int, form: str) -> None:
    """Polygons that cross the picture's edges, and any mask as run lengths."""
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 50)), int(random.integers(1, 50))
    polygon = random.uniform(-20, 70, 2 * points).round(2)
    expected = np.asarray(oracle.decode(oracle.frPyObjects([polygon.tolist()], *size)))[..., 0].astype(bool)
    segmentation: Any = [polygon]
    if form != "polygon":
        expected = random.random(size) < random.random()
        code = oracle.encode(np.asfortranarray(expected.astype(np.uint8)))["counts"].decode()
        segmentation = {"size": list(size), "counts": runs(expected) if form == "list" else code}
    region = read_region(segmentation, BOX, size)
    np.testing.assert_array_equal(draw([region], size), expected)


def runs(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of 0 and 1 in turn, column by column; the first may be empty."""
    flat = mask.ravel(order="F").astype(int)
    return np.diff([0, *([0] if flat[0] else []), *(np.flatnonzero(np.diff(flat)) + 1), flat.size])


def test_several_regions_together_and_none() -> None:
    box = read_region(None, [1.0, 2.0, 3.0, 4.0], (10, 12))
    mask = draw([box, read_region([np.array([6.0, 0, 8, 0, 8, 2, 6, 2])], BOX, (10, 12))], (10, 12))
    assert mask[2:6, 1:4].all() and mask[:2, 6:8].all() and mask.sum() == 12 + 4
    assert not draw([], (10, 12)).any() and draw([], (10, 12)).shape == (10, 12)


def test_a_box_without_a_size_is_nothing() -> None:
    assert not draw([read_region([], [3.0, 3.0, 0.0, 0.0], (10, 12))], (10, 12)).any()
    assert not draw([read_region([np.array([])], [300.0, 3.0, 5.0, 5.0], (10, 12))], (10, 12)).any()
