"""Candidates for joints: the local maxima of heatmaps, to a fraction of a cell."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

_FLOOR = 1e-3
"""Share of a peak's value below which its neighbours are noise, whatever their logarithm."""

_FLAT = 1e-4
"""Curvature of a logarithm below which it has no vertex; a Gaussian's is 1 / sigma^2."""


class Peaks(NamedTuple):
    """Places where joints may be, joint by joint, the highest first.

    Attributes:
        points_xy: in cells, at most half a cell from the centre of the highest one; outside the map by that at most.
        scores: values of the highest cells.
        joints: the number of the heatmap of each.
    """

    points_xy: Float32[np.ndarray, "peaks 2"]
    scores: Float32[np.ndarray, " peaks"]
    joints: Int64[np.ndarray, " peaks"]


def find_peaks(heat: Float32[np.ndarray, "joints rows columns"], *, threshold: float, most: int) -> Peaks:
    """Cells that are above `threshold` and not below any of their eight neighbours, refined.

    Adjoining cells of equal value are one peak, at their centre, unless one of them has a higher neighbour. Beyond the
    border there is nothing. A peak is moved to the vertex of the parabola through the logarithms of three cells along
    each axis: the centre of a Gaussian, exactly, also where that is up to half a cell outside, if sigma is .7 or more.

    Args:
        heat: finite; without the background.
        threshold: of a value; 0 or more, so that scores are above 0.
        most: peaks of one heatmap; the highest are kept.
    """
    cells = np.flatnonzero((heat > threshold) & (heat == highest_around(heat)))
    if not len(cells):
        return Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    cells, centres, wide = _one_per_plateau(heat, cells)
    scores, joints = heat.ravel()[cells], cells // (heat.shape[1] * heat.shape[2])
    order = np.lexsort((-scores, joints))
    rank = np.arange(len(order)) - np.searchsorted(joints[order], joints[order])
    kept = order[rank < most]
    moves = np.stack([_to_vertex(heat, cells[kept], axis) for axis in (2, 1)], axis=1)
    points = centres[kept] + np.where(wide[kept], 0, moves)
    return Peaks(points.astype(np.float32), scores[kept], joints[kept])


def highest_around(heat: Float32[np.ndarray, "joints rows columns"]) -> Float32[np.ndarray, "joints rows columns"]:
    """Maximum of each cell and its eight neighbours: along the rows, then of these along the columns.

    A row and a column of -inf part the maps, so that a shift is one step in memory for all cells at once.
    """
    joints, height, width = heat.shape
    shape, row = (joints, height + 1, width + 1), width + 1
    highest = np.full(joints * (height + 1) * row + 2 * (row + 1), -np.inf, np.float32)
    highest[row + 1 : -row - 1].reshape(shape)[:, :-1, :-1] = heat
    for step in (1, 1, row, row):  # two cells and then three
        highest = np.maximum(highest[:-step], highest[step:])
    return highest.reshape(shape)[:, :-1, :-1]


def _one_per_plateau(
    heat: Float32[np.ndarray, "joints rows columns"], cells: Int64[np.ndarray, " cells"]
) -> tuple[Int64[np.ndarray, " peaks"], Float[np.ndarray, "peaks 2"], Bool[np.ndarray, "peaks 2"]]:
    """One cell of each plateau, the plateau's centre, and whether it has several columns and rows."""
    _, rows, columns = np.unravel_index(cells, heat.shape)
    places = np.stack([columns, rows], axis=1)
    neighbours = _neighbours(heat, cells)
    equal = heat.ravel()[neighbours] == heat.ravel()[cells][:, None]
    equal &= neighbours != cells[:, None]
    if not equal.any():
        return cells, places.astype(np.float64), np.zeros(places.shape, np.bool_)
    plateaus = _plateaus(cells, neighbours, equal, size=heat.size)
    numbers, first, member, count = np.unique(plateaus, return_index=True, return_inverse=True, return_counts=True)
    centres = np.stack([np.bincount(member, weights=place) / count for place in places.T], axis=1)
    wide = np.stack([np.bincount(member, weights=place != place[first][member]) > 0 for place in places.T], axis=1)
    tops = numbers < len(cells)
    return cells[first[tops]], centres[tops], wide[tops]


def _neighbours(
    heat: Float32[np.ndarray, "joints rows columns"], cells: Int64[np.ndarray, " cells"]
) -> Int64[np.ndarray, "cells 9"]:
    """Each cell and its neighbours; at the border the cell itself or one of them stands for those outside."""
    joints, rows, columns = np.unravel_index(cells, heat.shape)
    steps = np.arange(-1, 2)
    rows = np.clip(rows[:, None] + steps, 0, heat.shape[1] - 1)
    columns = np.clip(columns[:, None] + steps, 0, heat.shape[2] - 1)
    rows = joints[:, None] * heat.shape[1] + rows
    return (rows[:, :, None] * heat.shape[2] + columns[:, None, :]).reshape(-1, 9)


def _plateaus(
    cells: Int64[np.ndarray, " cells"],
    neighbours: Int64[np.ndarray, "cells 9"],
    equal: Bool[np.ndarray, "cells 9"],
    *,
    size: int,
) -> Int64[np.ndarray, " cells"]:
    """A number for each plateau; that of the last is the number of cells, for all that adjoin a higher cell."""
    own, none = np.arange(len(cells)), len(cells)
    numbers = np.full(size, none)
    numbers[cells] = own
    adjoining = np.where(equal, numbers[neighbours], own[:, None])
    label = np.append(own, none)
    while True:
        spread = np.append(label[adjoining].max(axis=1), none)
        spread = spread[spread]  # a label is a cell of the same plateau: twice as far with each round
        if np.array_equal(spread, label):
            return label[:-1]
        label = spread


def _to_vertex(
    heat: Float32[np.ndarray, "joints rows columns"], cells: Int64[np.ndarray, " cells"], axis: int
) -> Float[np.ndarray, " cells"]:
    """From the centre of each cell along an axis to the vertex, half a cell at most; 0 where there is none.

    At the border it is the parabola of the three cells next to it.
    """
    place, size, values = np.unravel_index(cells, heat.shape)[axis], heat.shape[axis], heat.ravel()
    if size < 3:
        return np.zeros(len(cells))
    stride = heat.shape[2] if axis == 1 else 1
    inwards = np.clip(place, 1, size - 2) - place
    three = values[(cells + inwards * stride)[:, None] + np.arange(-1, 2) * stride].astype(np.float64)
    before, middle, after = np.log(np.maximum(three, _FLOOR * values[cells][:, None])).T
    bend = 2 * middle - before - after
    move = inwards + (after - before) / (2 * np.maximum(bend, _FLAT))
    return np.where(bend > _FLAT, np.clip(move, -0.5, 0.5), 0)
