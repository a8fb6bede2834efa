"""A row shows both sorts of people at their places, and maps whose colours mean what they say."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.pose.panels import Maps, Sample, draw_samples, overlay_field, sample_of
from projects.pose.people import People, nobody
from projects.pose.skeleton import COCO

CELL_HW = (120, 160)


def _people(x: float) -> People:
    joints = np.full((1, 18, 2), (x, 30.0), np.float32)
    joints[0, 9:, 1] = 50
    return People(joints, np.ones((1, 18), np.float32), np.ones(1, np.float32))


def _sample(oks: float = 0.8, *, truth: People | None = None) -> Sample:
    joints = np.zeros((9, 12), np.float32)
    joints[4, 6] = 1
    limbs = np.zeros((2, 9, 12), np.float32)
    limbs[0, 4, 6] = 1
    frame = np.full((72, 96, 3), 90, np.uint8)
    maps = Maps(joints, limbs), Maps(0 * joints, 0 * limbs)
    return Sample("a.jpg", COCO, frame, truth or _people(20.0), _people(70.0), *maps, oks)


def _cells(path: Path, samples: list[Sample]) -> list[np.ndarray]:
    """The images of the first row."""
    draw_samples(path, samples, cell_hw=CELL_HW)
    sheet = np.asarray(Image.open(path)).astype(int)
    top = np.flatnonzero((sheet[:, 20] != sheet[0, 0]).any(axis=1))[-1] - CELL_HW[0] + 1  # the last row's
    return [sheet[top : top + CELL_HW[0], left : left + CELL_HW[1]] for left in range(20, sheet.shape[1] - 20, 172)]


def test_people_are_drawn_where_they_are_and_maps_beside(tmp_path: Path) -> None:
    truth, found, *maps = _cells(tmp_path / "p.png", [_sample()])
    assert len(maps) == 4
    for cell, x in ((truth, 20), (found, 70)):
        columns = np.flatnonzero((np.ptp(cell, axis=2) > 60).any(axis=0))
        assert (columns.min() + columns.max()) / 2 == pytest.approx((x + 0.5) * 160 / 96 - 0.5, abs=1)
    for cell, shown in zip(maps, (True, False, True, False), strict=True):
        bright = np.argwhere(cell.max(axis=2) > 130)
        assert bool(len(bright)) == shown
        if shown:
            assert bright.mean(axis=0) == pytest.approx((59.5, 86.2), abs=1.5)


@pytest.mark.parametrize("degrees", [0, 60, 135, 250])
def test_the_hue_is_the_direction_and_no_vector_no_colour(degrees: int) -> None:
    angle = np.radians(degrees)
    field = np.ones((2, 3, 4), np.float32) * np.array([np.cos(angle), np.sin(angle)], np.float32)[:, None, None]
    field[:, 0] = 0
    drawn = overlay_field(np.full((30, 40, 3), 100, np.uint8), field)
    red, green, blue = drawn[25, 20] / 255
    assert colorsys.rgb_to_hsv(red, green, blue)[0] * 360 == pytest.approx(degrees, abs=1)
    np.testing.assert_array_equal(drawn[2, 20], [45, 45, 45])


def test_captions_say_who_was_found() -> None:
    assert _sample().caption == "a.jpg   people: 1 labelled, 1 found   OKS 0.80"
    assert _sample(float("nan"), truth=nobody(18)).caption == "a.jpg   people: 0 labelled, 1 found"


def test_a_sample_is_one_row_of_what_the_step_returns() -> None:
    class Named:
        def source_of(self, index: int) -> tuple[str, int]:
            return f"{index}.jpg", index

    heat, paf = torch.zeros(2, 19, 5, 6), torch.zeros(2, 38, 5, 6)
    heat[1, 3, 2, 2], heat[1, 18, 4, 4] = 0.7, 1.0  # the background is no joint
    paf[1, 6:8, 1, 1], paf[1, 10:12, 1, 1] = torch.tensor([0.3, 0.4]), torch.tensor([-0.1, 0.1])
    points, visibility = np.ones((1, 18, 2), np.float32), np.zeros((1, 18), np.uint8)
    visibility[0, :2] = (1, 2)
    outputs = {
        "index": torch.tensor([5, 9]),
        "image": torch.full((2, 3, 40, 48), 300.0),
        "people": [nobody(18), _people(20.0)],
        "truth": [(points[:0], visibility[:0]), (points, visibility)],
        "heat": heat.bfloat16(), "paf": paf, "target_heat": torch.zeros_like(heat), "target_paf": torch.zeros_like(paf),
        "oks": np.array([np.nan, 0.25]),
    }  # fmt: skip
    sample = sample_of(outputs, 1, Named(), skeleton=COCO)
    assert (sample.name, sample.oks, len(sample.found.score)) == ("9.jpg", 0.25, 1)
    assert sample.frame.shape == (40, 48, 3)
    assert sample.frame.min() == 255
    assert sample.truth.scores.sum() == 2
    assert sample.predicted.joints.max() == pytest.approx(0.7, abs=0.01)
    assert sample.predicted.limbs[:, 1, 1].tolist() == pytest.approx([0.3, 0.4])
    assert sample.target.joints.shape == (5, 6)


def test_each_sample_is_a_row(tmp_path: Path) -> None:
    heights = []
    for count in (1, 3):
        draw_samples(tmp_path / "p.png", [_sample()] * count, cell_hw=CELL_HW)
        heights.append(Image.open(tmp_path / "p.png").height)
    assert heights[1] - heights[0] > 2 * CELL_HW[0]
