"""Smooth noise at the speed of copying: made once per process, cut out at any place."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float
from PIL import Image

SIDE = 512
Plane = Float[np.ndarray, "h w"]


@cache
def noise_tile(scales: tuple[float, ...]) -> Float[np.ndarray, "1024 1024"]:
    """Noise of some scales in pixels (0: white), mean about 0, variance about 1, that goes on beyond its rims."""
    rng = np.random.default_rng(SIDE)
    quarter = sum((_grid(rng, scale) for scale in scales), np.zeros((SIDE, SIDE), np.float32)) / len(scales) ** 0.5
    half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)  # mirrored, so that no seam is seen
    return np.concatenate([half, half[::-1]])


def cut(tile: Float[np.ndarray, "side side"], corner: tuple[int, int], size_hw: tuple[int, int]) -> Plane:
    """A piece of a tile that is repeated without end, from row and column `corner` on."""
    side = len(tile)
    (top, left), (height, width) = (corner[0] % side, corner[1] % side), size_hw
    if top + height <= side and left + width <= side:
        return tile[top : top + height, left : left + width]
    rows, columns = np.arange(top, top + height) % side, np.arange(left, left + width) % side
    return np.asarray(tile[rows[:, None], columns])


def random_noise(rng: np.random.Generator, size_hw: tuple[int, int], scales: Sequence[float]) -> Plane:
    """Noise of some scales from a random place; see `noise_tile`."""
    row, column = rng.integers(np.maximum(2 * SIDE - np.array(size_hw), 1)).tolist()  # inside, where it can: no copy
    return cut(noise_tile(tuple(scales)), (row, column), size_hw)


def _grid(rng: np.random.Generator, scale: float) -> Plane:
    """Random numbers at a distance of `scale` pixels, and cubic interpolation between them."""
    if not scale:
        return rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    points = int(SIDE / scale) + 2
    grid = Image.fromarray(rng.standard_normal((points, points), dtype=np.float32))
    reach = 0.5 + SIDE / scale
    field = np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(0.5, 0.5, reach, reach)))
    return np.asarray(field / field.std())
