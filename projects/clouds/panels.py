"""Sample panels: a scene, where its clouds are, where the network sees them, and where the two differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from common.data.blocks import NOT_COUNTED
from common.data.tiles import Box
from common.figures import fit_hw, panel, resize
from projects.clouds.views import WINDOW_PX, View, view, worst_window

TITLES = (
    "Scene\nyellow frame: its worst window",
    "Label\nwhite: cloud, grey: not counted",
    "Probability\nof cloud: 0 black, 1 bright",
    "Errors\norange: false cloud, blue: missed",
    f"Worst window\nmost errors in {WINDOW_PX} x {WINDOW_PX} px",
    "Its errors\norange: false cloud, blue: missed",
)
SHOWN_PX = 512
"""Longer side of a scene in pictures at most."""

_FRAME = (255, 220, 0)


@runtime_checkable
class Scenes(Protocol):
    """Scenes that can be looked at, such as `WholeScenes`."""

    def source_of(self, index: int) -> tuple[str, int]:
        """Name and number of a scene."""
        ...

    def rgb(self, index: int, box: Box | None = None, *, most_px: int = ...) -> UInt8[np.ndarray, "height width 3"]:
        """A scene or a part of it for the eyes."""
        ...


class Answer(NamedTuple):
    """What the network says of a scene, and what the label says.

    Attributes:
        scene: number of the scene in its data set.
        probability: of cloud, 0..1, NaN where missing.
        target: 0 clear, 1 cloud, 255 not counted; what is missing is not counted either.
        iou: of the cloud; NaN where that has no meaning.
    """

    scene: int
    probability: Float[np.ndarray, "height width"]
    target: UInt8[np.ndarray, "height width"]
    iou: float


@dataclass(frozen=True)
class Sample:
    """What is shown of one scene.

    Attributes:
        name: of the scene.
        size_hw: its (height, width) in pixels.
        iou: of its cloud; NaN where that has no meaning.
        labelled: share of the counted pixels that the label calls cloud, NaN where none is counted.
        predicted: the same of the prediction.
        whole: the scene, perhaps smaller than it is.
        worst: its worst window, pixel for pixel.
        worst_box: where that is in the scene.
    """

    name: str
    size_hw: tuple[int, int]
    iou: float
    labelled: float
    predicted: float
    whole: View
    worst: View
    worst_box: Box

    @property
    def caption(self) -> str:
        """Name, size, IoU and shares of cloud in a line."""
        said = "nothing counted"
        if not np.isnan(self.labelled):
            said = f"IoU {'-' if np.isnan(self.iou) else f'{self.iou:.3f}'}   cloud: {self.labelled:.1%} labelled, "
            said += f"{self.predicted:.1%} predicted"
        return f"{self.name}   {self.size_hw[0]} x {self.size_hw[1]} px   {said}"


def sample_of(dataset: Scenes, answer: Answer, *, threshold: float) -> Sample:
    """What a panel shows of a scene.

    Args:
        dataset: that the scene is from.
        answer: on the whole scene.
        threshold: smallest probability of a cloud.
    """
    scene, probability, _, iou = answer
    counted = (answer.target != NOT_COUNTED) & np.isfinite(probability)
    target = np.where(counted, answer.target, np.uint8(NOT_COUNTED))
    box = worst_window(probability, target, threshold=threshold)
    part = np.s_[box.top : box.bottom, box.left : box.right]
    cloud = counted & (probability >= threshold)
    total = counted.sum() or np.nan
    return Sample(
        name=dataset.source_of(scene)[0],
        size_hw=target.shape,
        iou=iou,
        labelled=float((target == 1).sum() / total),
        predicted=float(cloud.sum() / total),
        whole=view(dataset.rgb(scene, most_px=SHOWN_PX), probability, target, threshold=threshold),
        worst=view(dataset.rgb(scene, box), probability[part], target[part], threshold=threshold),
        worst_box=box,
    )


def draw_samples(path: Path, samples: Sequence[Sample], *, cell_hw: tuple[int, int] = (288, 384)) -> None:
    """Writes one row per sample as PNG: scene, label, probability, errors, and the worst window with its errors."""
    panel(
        [_row(sample, cell_hw) for sample in samples],
        column_titles=TITLES,
        row_captions=[sample.caption for sample in samples],
        path=path,
        cell_hw=cell_hw,
    )


def _row(sample: Sample, cell_hw: tuple[int, int]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    scene = Image.fromarray(resize(sample.whole.scene, fit_hw(sample.size_hw, cell_hw)))
    box, (scale_x, scale_y) = sample.worst_box, np.divide(scene.size, sample.size_hw[::-1])
    left, top = round(box.left * scale_x), round(box.top * scale_y)
    right, bottom = max(round(box.right * scale_x) - 1, left), max(round(box.bottom * scale_y) - 1, top)
    ImageDraw.Draw(scene).rectangle((left, top, right, bottom), outline=_FRAME, width=2)
    return [np.asarray(scene), *sample.whole[1:], sample.worst.scene, sample.worst.errors]
