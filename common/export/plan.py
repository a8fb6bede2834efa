"""How a scene becomes a mask, as the metadata of an exported segmentation network says. NumPy alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from common.data.blending import Blend
from common.errors import UserError

LARGEST_TILE = 8192
"""Pixels along a side of a tile; a file that asks for more would take memory without end."""


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
    return Plan(**{key: _value(metadata, key, path) for key in _EXPECTED})


def _value(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    fits, said = _EXPECTED[key]
    if key not in metadata:
        if fits(None):
            return None
        raise UserError(
            f"{path}: its metadata has no {key!r}; expected {said}. Is it an exported segmentation network?"
        )
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError):
        value = object()  # fits nothing
    if not fits(value):
        raise UserError(f"{path}: {key!r} in its metadata is {metadata[key][:80]}; expected {said}")
    return tuple(value) if isinstance(value, list) else value


def _names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _sizes(smallest: int) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        whole = isinstance(value, list) and all(type(size) is int for size in value)
        return whole and len(value) == 2 and all(smallest <= size <= LARGEST_TILE for size in value)

    return fits


_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bands": (_names, "a list of names"),
    "band_names": (lambda value: value is None or _names(value), "a list of names, null or nothing"),
    "tile": (_sizes(1), f"two whole numbers from 1 to {LARGEST_TILE}"),
    "overlap": (_sizes(0), "two whole numbers, not negative"),
    "blend": (lambda value: value in get_args(Blend), f"one of {', '.join(get_args(Blend))}"),
    "threshold": (lambda value: type(value) in (int, float) and 0 <= value <= 1, "a probability"),
    "nodata": (lambda value: type(value) is int and 2 <= value <= 255, "a whole number from 2 to 255"),
    "classes": (lambda value: _names(value) and len(value) == 2, "two names"),
}
"""Metadata by key: what fits, in code and in words."""
