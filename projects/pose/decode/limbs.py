"""Candidates for limbs: pairs of peaks, and how far the part affinity fields agree with the lines between them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from projects.pose.decode.peaks import Peaks

_AT_ONCE = 2048
"""Lines that are read together: their samples stay in the processor's cache."""


class LimbRules(NamedTuple):
    """When a line between two peaks is a limb; see `Decoder`."""

    samples: int
    paf_threshold: float
    agreeing: float
    longest: float


class Limbs(NamedTuple):
    """Pairs of peaks that the fields join, limb by limb, the best first.

    Attributes:
        numbers: of the limb of the skeleton.
        ends: numbers of the peaks where it begins and ends.
        scores: mean of the field along the line, less what the line is too long.
    """

    numbers: Int64[np.ndarray, " lines"]
    ends: Int64[np.ndarray, "lines 2"]
    scores: Float32[np.ndarray, " lines"]


def find_limbs(
    paf: Float32[np.ndarray, "fields rows columns"],
    peaks: Peaks,
    limb_joints: Int64[np.ndarray, "limbs 2"],
    rules: LimbRules,
) -> Limbs:
    """All pairs of peaks that may be a limb; a peak may be in several.

    A line is measured by the mean, over equally spaced samples, of the field's component along it (Cao et al. 2017). A
    line longer than `longest` times the map's larger side loses 1 - that length / its own, as in the authors' code.

    Between points less than a cell apart a direction means little, and the less a field: a line of length d < 1 counts
    d of the field's component and 1 - d for its ends being so near. So noses and eyes of small people are joined.

    Args:
        paf: x and y of each limb in turn; finite.
        peaks: of the heatmaps.
        limb_joints: numbers of the joints where each limb begins and ends.
        rules: when a line is a limb; its score is above 0 besides.
    """
    numbers, ends = _pairs(peaks.joints, limb_joints)
    found = [_measured(paf, peaks, numbers[part], ends[part], rules) for part in _parts(len(numbers))]
    scores = np.concatenate([np.zeros(0, np.float32), *found])
    order = np.lexsort((-scores, numbers))
    kept = order[scores[order] > 0]
    return Limbs(numbers[kept], ends[kept], scores[kept])


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]


def _pairs(
    joints: Int64[np.ndarray, " peaks"], limb_joints: Int64[np.ndarray, "limbs 2"]
) -> tuple[Int64[np.ndarray, " lines"], Int64[np.ndarray, "lines 2"]]:
    """Limb and peaks of each pair of peaks of a limb's joints; the peaks are sorted by joint."""
    first = np.searchsorted(joints, limb_joints)
    count = np.searchsorted(joints, limb_joints, side="right") - first
    lines = count.prod(axis=1)
    numbers = np.repeat(np.arange(len(lines)), lines)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(lines) - lines, lines)
    start, end = np.divmod(within, count[numbers, 1])
    return numbers, first[numbers] + np.stack([start, end], axis=1)


def _measured(
    paf: Float32[np.ndarray, "fields rows columns"],
    peaks: Peaks,
    numbers: Int64[np.ndarray, " lines"],
    ends: Int64[np.ndarray, "lines 2"],
    rules: LimbRules,
) -> Float32[np.ndarray, " lines"]:
    """Scores of lines; 0 or less where a line is no limb."""
    starts_xy, ends_xy = peaks.points_xy[ends[:, 0]], peaks.points_xy[ends[:, 1]]
    across = ends_xy - starts_xy
    length = np.hypot(across[:, 0], across[:, 1])
    unit = across / np.maximum(length, 1e-6)[:, None]
    steps = np.linspace(0, 1, rules.samples, dtype=np.float32)
    field_x, field_y = _read(paf, numbers, starts_xy[..., None] + across[..., None] * steps)
    along = field_x * unit[:, :1] + field_y * unit[:, 1:]
    near = np.maximum(1 - length, 0)[:, None]
    along += near * (1 - along)
    agree = (along > rules.paf_threshold).mean(axis=1) >= rules.agreeing - 1e-6
    too_long = np.minimum(rules.longest * max(paf.shape[1:]) / np.maximum(length, 1e-6) - 1, 0)
    return np.where(agree, along.mean(axis=1) + too_long, 0).astype(np.float32)


def _read(
    paf: Float32[np.ndarray, "fields rows columns"],
    numbers: Int64[np.ndarray, " lines"],
    points_xy: Float32[np.ndarray, "lines 2 samples"],
) -> tuple[Float32[np.ndarray, "lines samples"], Float32[np.ndarray, "lines samples"]]:
    """Fields x and y of each line's limb at its samples, bilinearly; outside as at the border."""
    height, width = paf.shape[1:]
    x, y = (np.clip(points_xy[:, axis], 0, size - 1) for axis, size in enumerate((width, height)))
    left, top = (np.minimum(at.astype(np.int64), max(size - 2, 0)) for at, size in ((x, width), (y, height)))
    x, y = x - left.astype(np.float32), y - top.astype(np.float32)
    right, below, plane = int(width > 1), width * int(height > 1), height * width
    corner = 2 * plane * numbers[:, None] + top * width + left
    weights = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    steps = (0, right, below, below + right)
    fields = paf.ravel()
    field_x, field_y = (
        sum(weight * fields.take(corner + (step + axis * plane)) for weight, step in zip(weights, steps, strict=True))
        for axis in (0, 1)
    )
    return np.asarray(field_x), np.asarray(field_y)
