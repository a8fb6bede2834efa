import numpy as np
import pytest
import torch

from common.heatmaps import cells_to_pixels
from projects.pose.letterbox import Letterbox
from projects.pose.people import People, in_frame, in_image, nobody


def some_people() -> People:
    points = np.random.default_rng(0).uniform(0, 40, (3, 5, 2)).astype(np.float32)
    scores = np.ones((3, 5), np.float32)
    scores[1, 2], scores[2] = 0, 0
    return People(points, scores, np.array([0.9, 0.5, 0.1], np.float32))


def test_nobody() -> None:
    none = nobody(7)
    assert none.points_xy.shape == (0, 7, 2) and none.scores.shape == (0, 7) and none.score.shape == (0,)
    assert in_image(in_frame(none, 8), Letterbox.fit((10, 20), (64, 64))).points_xy.shape == (0, 7, 2)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_cells_become_pixels_as_everywhere(stride: int) -> None:
    people = some_people()
    moved = in_frame(people, stride)
    expected = cells_to_pixels(torch.from_numpy(people.points_xy), stride).numpy()
    found = people.scores > 0
    np.testing.assert_allclose(moved.points_xy[found], expected[found], rtol=1e-6)
    assert not moved.points_xy[~found].any() and moved.points_xy.dtype == np.float32
    np.testing.assert_array_equal(moved.scores, people.scores)
    np.testing.assert_array_equal(moved.score, people.score)


def test_pixels_of_the_picture() -> None:
    people, letterbox = some_people(), Letterbox.fit((100, 50), (64, 96))
    moved = in_image(people, letterbox)
    found = people.scores > 0
    np.testing.assert_allclose(letterbox.to_frame(moved.points_xy)[found], people.points_xy[found], atol=1e-4)
    assert not moved.points_xy[~found].any(), "where nothing was found stays (0, 0)"
    assert moved.points_xy.dtype == np.float32
