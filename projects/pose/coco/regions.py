"""Parts of a picture as COCO describes them: polygons, run lengths or a box -> mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import mask
from jaxtyping import Bool

Region = tuple[np.ndarray, ...] | bytes
"""Polygons, each x0, y0, x1, y1, ... in pixels, or COCO's compressed run lengths of the whole picture."""

LARGEST = 100_000
"""Of a coordinate, in pixels: time and memory for drawing grow with it, and no picture is as wide."""


def read_region(segmentation: Any, box: Sequence[float], size_hw: tuple[int, int]) -> Region:
    """The region of an annotation: its segmentation or, without one, its box.

    Args:
        segmentation: list of polygons, or run lengths, a list or compressed; None, [] or [[]] where there is none.
        box: x, y, width and height, in pixels.
        size_hw: (height, width) of the picture.

    Raises:
        ValueError: it is nothing of these, or of another picture; the message says what was expected.
    """
    if isinstance(segmentation, dict):
        return _compressed(segmentation, size_hw)
    if segmentation is not None and not isinstance(segmentation, list):
        raise ValueError("a list of polygons, or an object with size and counts")
    polygons = [polygon for polygon in segmentation or [] if not isinstance(polygon, np.ndarray) or len(polygon)]
    if not polygons:
        x, y, width, height = box
        return (np.array([x, y, x + width, y, x + width, y + height, x, y + height]),)
    return tuple(_checked(polygon) for polygon in polygons)


def draw(regions: Sequence[Region], size_hw: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The pixels that are in any of some regions, as COCO's own code draws them; what lies outside is cut off."""
    height, width = size_hw
    lengths: list[Any] = []
    for region in regions:
        if isinstance(region, bytes):
            lengths.append({"size": [height, width], "counts": region})
        else:
            lengths += mask.frPyObjects([polygon.tolist() for polygon in region], height, width)
    if not lengths:
        return np.zeros(size_hw, bool)
    return mask.decode(mask.merge(lengths)).astype(bool)


def _checked(polygon: Any) -> np.ndarray:
    """Four numbers would be drawn as a box, and what is not finite takes for ever."""
    if not isinstance(polygon, np.ndarray) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("polygons of three points or more, each a list x0, y0, x1, y1, ...")
    if not (np.abs(polygon) <= LARGEST).all():
        raise ValueError(f"finite coordinates, at most {LARGEST:,} pixels")
    return polygon


def _compressed(lengths: dict[str, Any], size_hw: tuple[int, int]) -> bytes:
    size, counts = lengths.get("size"), lengths.get("counts")
    if size != list(size_hw):
        raise ValueError(f"run lengths with the size {list(size_hw)} of the picture, height first")
    if isinstance(counts, np.ndarray):
        whole = counts.dtype.kind in "iu" and (counts >= 0).all() and counts.sum(dtype=np.float64)
        if whole != size_hw[0] * size_hw[1]:
            raise ValueError(f"run lengths of {size_hw[0] * size_hw[1]} pixels together, none below 0")
        counts = mask.frPyObjects({"size": size, "counts": counts.tolist()}, *size_hw)["counts"]
    if not isinstance(counts, str | bytes):
        raise ValueError("run lengths, a list of whole numbers or a compressed string")
    try:
        code = counts.encode("ascii") if isinstance(counts, str) else counts
        mask.decode({"size": size, "counts": code})
    except (ValueError, RuntimeError):
        raise ValueError("run lengths that make up the picture") from None
    return code
