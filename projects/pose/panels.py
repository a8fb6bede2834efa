"""Sample panels: people as labelled and as found, and the maps behind them as they should be and as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from common.figures import fit_hw, overlay_heat, panel, resize
from projects.pose.letterbox import Letterbox
from projects.pose.overlay import draw_people
from projects.pose.people import People
from projects.pose.skeleton import Skeleton

TITLES = (
    "Labelled\nwarm: right, cold: left",
    "Found\nby the network",
    "Joints, target\nhighest of all heatmaps",
    "Joints, found\nthe same of the last stage",
    "Limbs, target\ncolour: direction",
    "Limbs, found\nbrightness: strength",
)


@runtime_checkable
class Pictures(Protocol):
    """Pictures that have names, such as `PoseSamples`."""

    def source_of(self, index: int) -> tuple[str, int]:
        """File and id of a picture."""
        ...


class Maps(NamedTuple):
    """What the network should say of a frame, or says, at its stride.

    Attributes:
        joints: highest value of all joints' heatmaps, 0..1.
        limbs: the longest vector of all part affinity fields, x and y.
    """

    joints: Float[np.ndarray, "rows columns"]
    limbs: Float[np.ndarray, "2 rows columns"]


@dataclass(frozen=True)
class Sample:
    """What is shown of one picture.

    Attributes:
        name: of the file.
        skeleton: of the people.
        frame: RGB.
        truth: labelled people, in pixels of the frame.
        found: people that the network finds, likewise.
        target: maps as they should be.
        predicted: maps as they are.
        oks: mean over the labelled people of the best similarity to one found, 0..1; NaN where nobody is labelled.
    """

    name: str
    skeleton: Skeleton
    frame: UInt8[np.ndarray, "height width 3"]
    truth: People
    found: People
    target: Maps
    predicted: Maps
    oks: float

    @property
    def caption(self) -> str:
        """Name, numbers of people and OKS in a line."""
        similar = "" if np.isnan(self.oks) else f"   OKS {self.oks:.2f}"
        return f"{self.name}   people: {len(self.truth.score)} labelled, {len(self.found.score)} found{similar}"


def sample_of(outputs: Mapping[str, Any], row: int, dataset: Pictures, *, skeleton: Skeleton) -> Sample:
    """What a panel shows of one row of a batch.

    Args:
        outputs: of `PoseModule.validation_step` or `test_step`, on any device.
        row: of the batch.
        dataset: that the batch is from.
        skeleton: of the people.
    """
    points, visibility = outputs["truth"][row]
    return Sample(
        name=dataset.source_of(int(outputs["index"][row]))[0],
        skeleton=skeleton,
        frame=outputs["image"][row].permute(1, 2, 0).clamp(0, 255).round().byte().cpu().numpy(),
        truth=People(points, (visibility > 0).astype(np.float32), np.ones(len(points), np.float32)),
        found=outputs["people"][row],
        target=_maps(outputs["target_heat"][row], outputs["target_paf"][row]),
        predicted=_maps(outputs["heat"][row], outputs["paf"][row]),
        oks=float(outputs["oks"][row]),
    )


def draw_samples(path: Path, samples: Sequence[Sample], *, cell_hw: tuple[int, int] = (240, 320)) -> None:
    """Writes one row per sample as PNG, with the columns of `TITLES`."""
    panel(
        [_row(sample, cell_hw) for sample in samples],
        column_titles=TITLES,
        row_captions=[sample.caption for sample in samples],
        path=path,
        cell_hw=cell_hw,
    )


def overlay_field(
    image: UInt8[np.ndarray, "height width 3"], field: Float[np.ndarray, "2 rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays vectors of any resolution over a dark grey copy of the image: hue says the direction, opacity the length.

    Red points right, green and yellow down, cyan left and violet up; vectors of 1 or longer hide the image.
    """
    from matplotlib.colors import hsv_to_rgb  # noqa: PLC0415 - slow to import, and only pictures need it

    size = image.shape[1::-1]
    x, y = (
        np.asarray(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) for part in field
    )
    hue = np.arctan2(y, x) / (2 * np.pi) % 1
    colours = 255 * hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.8), np.ones_like(hue)], axis=-1))
    alpha = np.clip(np.hypot(x, y), 0, 1)[..., None]
    grey = image.mean(axis=2, keepdims=True) * 0.45
    return np.asarray(np.rint(grey * (1 - alpha) + colours * alpha).astype(np.uint8))


def _maps(heat: Any, paf: Any) -> Maps:
    """Of a tensor of heatmaps, the background last, and one of part affinity fields."""
    fields = paf.float().cpu().numpy().reshape(-1, 2, *paf.shape[1:])
    longest = np.hypot(fields[:, 0], fields[:, 1]).argmax(axis=0)[None, None]
    return Maps(heat[:-1].float().amax(dim=0).cpu().numpy(), np.take_along_axis(fields, longest, axis=0)[0])


def _row(sample: Sample, cell_hw: tuple[int, int]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    height, width = sample.frame.shape[:2]
    shown = Letterbox.fit((height, width), fit_hw((height, width), cell_hw))
    frame = resize(sample.frame, shown.size_hw)
    people = (one._replace(points_xy=shown.to_frame(one.points_xy)) for one in (sample.truth, sample.found))
    maps = (sample.target, sample.predicted)
    return [
        *(draw_people(frame, one, sample.skeleton) for one in people),
        *(overlay_heat(frame, one.joints) for one in maps),
        *(overlay_field(frame, one.limbs) for one in maps),
    ]
