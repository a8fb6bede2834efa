"""Sample panels: where the ball is, where the network sees it, and how its heatmap compares with the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from common.figures import (
    PREDICTED,
    TRUE,
    Colour,
    Kind,
    Point,
    crop_around,
    draw_marker,
    fit_hw,
    overlay_heat,
    panel,
    resize,
)

TITLES = (
    "Frame\ngreen ring: label, red cross: prediction",
    "Zoom\non the label, if there is one",
    "Target\nheatmap that the network should give",
    "Prediction\nheatmap that it gives",
)
ZOOMED_PX = 24  # a ball is about 4 px of a 512-wide frame


@dataclass(frozen=True)
class Sample:
    """What is shown of one frame.

    Attributes:
        frame: RGB uint8.
        target: target heatmap, 0..1, at the network's output size.
        predicted: predicted heatmap, 0..1, the same size.
        true_xy: ball in pixels of `frame`; None where it is absent.
        predicted_xy: prediction in pixels of `frame`; None where it says absent.
        score: highest predicted value, 0..1.
        caption: what to say above the row, e.g. clip and frame number.
    """

    frame: UInt8[np.ndarray, "height width 3"]
    target: Float[np.ndarray, "rows columns"]
    predicted: Float[np.ndarray, "rows columns"]
    true_xy: Point | None
    predicted_xy: Point | None
    score: float
    caption: str = ""


def draw_samples(path: Path, samples: Sequence[Sample], *, cell_hw: tuple[int, int] = (216, 384)) -> None:
    """Writes one row per sample as PNG: frame with marks, zoom, target heatmap, predicted heatmap.

    The zoom shows the label, else the prediction, else the peak of the predicted heatmap.
    """
    panel(
        [_row(sample, cell_hw) for sample in samples],
        column_titles=TITLES,
        row_captions=[f"{sample.caption}   {_verdict(sample)}".strip() for sample in samples],
        path=path,
        cell_hw=cell_hw,
    )


def _row(sample: Sample, cell_hw: tuple[int, int]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    height, width = sample.frame.shape[:2]
    size_hw = fit_hw((height, width), cell_hw)
    frame = resize(sample.frame, size_hw)
    centre = sample.true_xy or sample.predicted_xy or _peak_xy(sample)
    zoom = crop_around(sample.frame, centre, ZOOMED_PX, max(cell_hw[0] // ZOOMED_PX, 1))
    marks: tuple[tuple[Point | None, Colour, Kind], ...] = (
        (sample.true_xy, TRUE, "circle"),
        (sample.predicted_xy, PREDICTED, "cross"),
    )
    for xy, colour, kind in marks:
        if xy is not None:
            draw_marker(frame, _scaled(xy, (height, width), size_hw), colour, kind, radius=8.0)
            draw_marker(zoom.image, zoom.place(xy), colour, kind, radius=3.0 * zoom.zoom, width=2.5)
    return [
        frame,
        zoom.image,
        *(overlay_heat(resize(sample.frame, size_hw), h) for h in (sample.target, sample.predicted)),
    ]


def _verdict(sample: Sample) -> str:
    said = f"score {sample.score:.2f}"
    if sample.true_xy is None:
        return (
            f"ball absent, {'nothing found' if sample.predicted_xy is None else 'a ball found: false alarm'} ({said})"
        )
    if sample.predicted_xy is None:
        return f"ball missed ({said})"
    return f"{np.hypot(*np.subtract(sample.predicted_xy, sample.true_xy)):.1f} px from the label ({said})"


def _peak_xy(sample: Sample) -> Point:
    y, x = np.unravel_index(sample.predicted.argmax(), sample.predicted.shape)
    return _scaled((float(x), float(y)), sample.predicted.shape, sample.frame.shape)


def _scaled(xy: Point, from_hw: Sequence[int], to_hw: Sequence[int]) -> Point:
    return (xy[0] + 0.5) * to_hw[1] / from_hw[1] - 0.5, (xy[1] + 0.5) * to_hw[0] / from_hw[0] - 0.5
