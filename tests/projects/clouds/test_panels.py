"""A row shows a scene and its worst window, and says how large it is and how well its clouds are found."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.tiles import Box
from projects.clouds.panels import SHOWN_PX, Answer, Sample, draw_samples, sample_of
from projects.clouds.views import FALSE_CLOUD, MISSED_CLOUD

CELL_HW = (144, 256)


class Grey:
    """Scenes of one grey, which remember what was asked of them."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.asked: list[tuple[Box | None, int]] = []

    def source_of(self, index: int) -> tuple[str, int]:
        return f"scene_{index}", index

    def rgb(self, index: int, box: Box | None = None, *, most_px: int = 1024) -> np.ndarray:
        self.asked.append((box, most_px))
        top, bottom, left, right = box or (0, self.size_hw[0], 0, self.size_hw[1])
        step = -(-max(bottom - top, right - left) // most_px)
        return np.full((-(-(bottom - top) // step), -(-(right - left) // step), 3), 60, np.uint8)


def _sample(probability: np.ndarray, target: np.ndarray, iou: float = 0.25) -> Sample:
    return sample_of(Grey(target.shape), Answer(7, probability, target, iou), threshold=0.5)


def _maps(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)


def test_the_caption_says_name_size_iou_and_shares_of_cloud() -> None:
    probability, target = _maps(4, 10)
    target[0], target[1] = 1, 255
    probability[0, :5], probability[1], probability[2, 0] = 0.5, np.nan, 0.9
    assert _sample(probability, target).caption == (
        "scene_7   4 x 10 px   IoU 0.250   cloud: 33.3% labelled, 20.0% predicted"
    )
    clear = _sample(*_maps(2, 3), iou=float("nan"))
    assert clear.caption == "scene_7   2 x 3 px   IoU -   cloud: 0.0% labelled, 0.0% predicted"
    unlabelled = _sample(np.zeros((2, 3), np.float32), np.full((2, 3), 255, np.uint8), iou=float("nan"))
    assert unlabelled.caption == "scene_7   2 x 3 px   nothing counted"


def test_a_large_scene_is_reduced_and_its_worst_window_is_not() -> None:
    probability, target = _maps(1300, 777)
    target[1000:1100, 100:200] = 1
    scenes = Grey((1300, 777))
    sample = sample_of(scenes, Answer(0, probability, target, 0.0), threshold=0.5)
    assert scenes.asked[0] == (None, SHOWN_PX)
    assert scenes.asked[1][0] == sample.worst_box
    assert max(sample.whole.scene.shape) <= SHOWN_PX
    assert sample.worst.errors.shape == (192, 192, 3)
    missed = (sample.worst.errors == MISSED_CLOUD).all(axis=2)
    assert missed.sum() == 100 * 100, "the whole of the missed cloud"


def test_the_sheet_shows_errors_and_frames_the_worst_window(tmp_path: Path) -> None:
    probability, target = _maps(288, 512)
    probability[200:280, 400:500] = 1
    sample = _sample(probability, target)
    draw_samples(tmp_path / "panel.png", [sample], cell_hw=CELL_HW)
    sheet = np.asarray(Image.open(tmp_path / "panel.png")).astype(int)
    y, x = np.nonzero(np.abs(sheet - (255, 220, 0)).max(axis=2) < 20)
    top, bottom, left, right = (round(end / 2) for end in sample.worst_box)
    assert (np.ptp(y) + 1, np.ptp(x) + 1) == (bottom - top, right - left)
    red, columns = np.nonzero(np.abs(sheet - FALSE_CLOUD).max(axis=2) < 20)
    cells = [20 + 3 * (256 + 12), 20 + 4 * (256 + 12)]  # errors, worst window
    assert red[columns < cells[1]].size == pytest.approx(40 * 50, rel=0.1)
    assert columns.min() == pytest.approx(cells[0] + 200, abs=2)
    assert x.min() == 20 + left


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 700), (700, 1), (50_000, 3)])
def test_scenes_of_any_shape_are_drawn(size_hw: tuple[int, int], tmp_path: Path) -> None:
    draw_samples(tmp_path / "panel.png", [_sample(*_maps(*size_hw))], cell_hw=CELL_HW)
    assert Image.open(tmp_path / "panel.png").height > CELL_HW[0]


def test_each_sample_is_a_row(tmp_path: Path) -> None:
    sample = _sample(*_maps(30, 40))
    draw_samples(tmp_path / "one.png", [sample], cell_hw=CELL_HW)
    draw_samples(tmp_path / "three.png", [sample] * 3, cell_hw=CELL_HW)
    one, three = (Image.open(tmp_path / f"{name}.png").size for name in ("one", "three"))
    assert one[0] == three[0]
    assert three[1] - one[1] > 2 * CELL_HW[0]
