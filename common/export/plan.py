"""How a scene becomes a mask, as the metadata of an exported segmentation network says. NumPy alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from common.data.blending import Blend
from common.export.metadata import LARGEST_SIDE, Expected, are_sizes, is_names, is_whole, read_values


@dataclass(frozen=True)
class Plan:
    """How a scene becomes a mask, as an ONNX file's metadata says.

    Attributes:
        bands: names of the input's channels, in order.
        band_names: of the channels of files that do not say; None where they do.
        tile: (height, width) of a tile, in pixels.
        overlap: (height, width) that neighbours share.
        blend: how the probabilities of overlapping tiles become one.
        threshold: smallest probability of what is sought.
        nodata: value of the mask where the scene has none.
        classes: names of the mask's 0 and 1.
    """

    bands: tuple[str, ...]
    band_names: tuple[str, ...] | None
    tile: tuple[int, int]
    overlap: tuple[int, int]
    blend: Blend
    threshold: float
    nodata: int
    classes: tuple[str, str]


def read_plan(metadata: Mapping[str, str], path: Path) -> Plan:
    """The plan in the metadata of the file at `path`: JSON values by the names of `Plan`.

    Raises:
        UserError: when a value is missing or not what was expected; it names the key.
    """
    return Plan(**read_values(metadata, _EXPECTED, path, kind="segmentation"))


_EXPECTED: Expected = {
    "bands": (is_names, "a list of names"),
    "band_names": (lambda value: value is None or is_names(value), "a list of names, null or nothing"),
    "tile": (are_sizes(1), f"two whole numbers from 1 to {LARGEST_SIDE}"),
    "overlap": (are_sizes(0), "two whole numbers, not negative"),
    "blend": (lambda value: value in get_args(Blend), f"one of {', '.join(get_args(Blend))}"),
    "threshold": (lambda value: type(value) in (int, float) and 0 <= value <= 1, "a probability"),
    "nodata": (lambda value: is_whole(value, smallest=2, largest=255), "a whole number from 2 to 255"),
    "classes": (lambda value: is_names(value) and len(value) == 2, "two names"),
}
