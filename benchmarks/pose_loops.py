"""Heatmaps and part affinity fields as OpenPose's followers draw them in their data loaders: NumPy, on one sample, one
person and one joint or limb at a time, each over the whole map.
"""

from typing import Literal

import numpy as np

Maps = np.ndarray


def loop_heatmaps(points: np.ndarray, labelled: np.ndarray, *, size_hw: tuple[int, int], sigma: float) -> Maps:
    """(people, joints, 2) in cells and (people, joints) -> (joints + 1, height, width)."""
    joints = points.shape[1]
    heat = np.zeros((joints + 1, *size_hw))
    for joint in range(joints):
        for person in range(len(points)):
            if labelled[person, joint]:
                put_gaussian(heat[joint], points[person, joint], sigma)
    heat[joints] = 1 - heat[:joints].max(axis=0)
    return heat


def put_gaussian(heatmap: np.ndarray, centre: np.ndarray, sigma: float) -> None:
    """Raises the map to a Gaussian, where that is higher."""
    height, width = heatmap.shape
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    squares = (columns - float(centre[0])) ** 2 + (rows - float(centre[1])) ** 2
    np.maximum(heatmap, np.exp(-squares / 2 / sigma**2), out=heatmap)


def loop_fields(
    points: np.ndarray, labelled: np.ndarray, *, limbs: np.ndarray, size_hw: tuple[int, int],
    width: float, shape: Literal["hard", "gaussian"], ends: float = 0.0, same: float = 1e-3,
) -> Maps:  # fmt: skip
    """As above, and (limbs, 2) -> (2 limbs, height, width).

    Args:
        same: in cells; shorter limbs are not drawn, and borders reach so far beyond themselves.
    """
    fields = np.zeros((2 * len(limbs), *size_hw))
    for number, (start, end) in enumerate(limbs):
        total, sums = np.zeros(size_hw), fields[2 * number : 2 * number + 2]
        for person in range(len(points)):
            if labelled[person, start] and labelled[person, end]:
                a, b = points[person, start].astype(float), points[person, end].astype(float)
                put_limb(sums, total, a, b, width=width, shape=shape, ends=ends, same=same)
        np.divide(sums, total, out=sums, where=total > 0)
    return fields


def put_limb(
    sums: np.ndarray, total: np.ndarray, a: np.ndarray, b: np.ndarray,
    *, width: float, shape: Literal["hard", "gaussian"], ends: float, same: float,
) -> None:  # fmt: skip
    """Adds one limb's weight, and its direction times the square of that."""
    length = np.linalg.norm(b - a)
    if length < same:
        return
    unit = (b - a) / length
    columns, rows = np.meshgrid(np.arange(total.shape[1]), np.arange(total.shape[0]))
    x, y = columns - a[0], rows - a[1]
    along, across = x * unit[0] + y * unit[1], np.abs(x * unit[1] - y * unit[0])
    weight = np.exp(-(across**2) / 2 / width**2) if shape == "gaussian" else (across <= width + same).astype(float)
    if ends:
        beyond = np.maximum(np.maximum(-along, along - length), 0)
        weight *= np.exp(-(beyond**2) / 2 / ends**2)
    else:
        weight *= (along >= -same) & (along <= length + same)
    total += weight
    sums += weight**2 * unit[:, None, None]
