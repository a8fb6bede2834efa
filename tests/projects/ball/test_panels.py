"""A row shows the label in green, the prediction in red, and says how far apart they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.figures import PREDICTED, TRUE
from projects.ball.panels import Sample, _verdict, draw_samples

CELL_HW = (144, 256)
LEFT, TOP = 20, 91  # margin; head, gap, caption


def _heatmap(xy: tuple[float, float] | None, strength: float = 1.0) -> np.ndarray:
    values = np.zeros((18, 32), np.float32)
    if xy is not None:
        values[int(xy[1] / 4), int(xy[0] / 4)] = strength
    return values


def _sample(true_xy: tuple[float, float] | None, predicted_xy: tuple[float, float] | None) -> Sample:
    frame = np.full((72, 128, 3), (90, 90, 120), np.uint8)
    return Sample(
        frame,
        _heatmap(true_xy),
        _heatmap(predicted_xy, 0.8),
        true_xy,
        predicted_xy,
        0.8 if predicted_xy else 0.1,
        "game",
    )


def _marked(part: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float] | None:
    y, x = np.nonzero(np.abs(part.astype(int) - colour).max(axis=2) < 25)
    return (x.mean(), y.mean()) if x.size else None


def _sheet(path: Path, *samples: Sample) -> np.ndarray:
    draw_samples(path, samples, cell_hw=CELL_HW)
    return np.asarray(Image.open(path))


def test_marks_are_at_their_places_in_frame_and_zoom(tmp_path: Path) -> None:
    sheet = _sheet(tmp_path / "panel.png", _sample((40.0, 30.0), (46.0, 34.0)))
    top = np.flatnonzero((sheet[:, LEFT] != sheet[0, 0]).any(axis=1))[-1] - CELL_HW[0] + 1
    frame = sheet[top : top + CELL_HW[0], LEFT : LEFT + CELL_HW[1]]
    assert _marked(frame, TRUE) == pytest.approx((80.5, 60.5), abs=1)
    assert _marked(frame, PREDICTED) == pytest.approx((92.5, 68.5), abs=1)
    zoom_left = LEFT + CELL_HW[1] + 12
    zoom = sheet[top : top + CELL_HW[0], zoom_left : zoom_left + CELL_HW[0]]
    assert _marked(zoom, TRUE) == pytest.approx((72.0, 72.0), abs=6)
    predicted = _marked(zoom, PREDICTED)
    true = _marked(zoom, TRUE)
    assert predicted is not None
    assert true is not None
    assert np.subtract(predicted, true) == pytest.approx((36.0, 24.0), abs=2)  # 6 px zoomed


def test_absent_and_missed_balls_have_no_mark(tmp_path: Path) -> None:
    both_absent = _sheet(tmp_path / "a.png", _sample(None, None))
    assert _marked(both_absent, TRUE) is _marked(both_absent, PREDICTED) is None
    missed = _sheet(tmp_path / "b.png", _sample((40.0, 30.0), None))
    assert _marked(missed, TRUE) is not None
    assert _marked(missed, PREDICTED) is None
    false_alarm = _sheet(tmp_path / "c.png", _sample(None, (40.0, 30.0)))
    assert _marked(false_alarm, TRUE) is None
    assert _marked(false_alarm, PREDICTED) is not None


def test_the_row_says_what_happened() -> None:
    assert _verdict(_sample((40.0, 30.0), (43.0, 34.0))) == "5.0 px from the label (score 0.80)"
    assert _verdict(_sample((40.0, 30.0), None)) == "ball missed (score 0.10)"
    assert _verdict(_sample(None, (40.0, 30.0))) == "ball absent, a ball found: false alarm (score 0.80)"
    assert _verdict(_sample(None, None)) == "ball absent, nothing found (score 0.10)"


def test_each_sample_is_a_row(tmp_path: Path) -> None:
    one = _sheet(tmp_path / "one.png", _sample((40.0, 30.0), (43.0, 34.0)))
    three = _sheet(tmp_path / "three.png", *[_sample((40.0, 30.0), (43.0, 34.0))] * 3)
    assert one.shape[1] == three.shape[1]
    assert three.shape[0] - one.shape[0] > 2 * CELL_HW[0]
