"""The ground of a scene: what covers it, how rough and how high it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from projects.clouds.synthetic.bands import COVERS
from projects.clouds.synthetic.noise import Field, fractal, level

Cover = UInt8[np.ndarray, "h w"]
Where = Bool[np.ndarray, "h w"]

TERRAIN_SLOPE = 3.6  # relief of the earth has a power density near k^-3.5 to k^-4 (Turcotte 1997)
# relative brightness changes within a cover
_ROUGH = {"water": 0.0, "turbid": 0.05, "conifer": 0.16, "broadleaf": 0.13, "snow": 0.03, "firn": 0.05, "salt": 0.04}
ROUGHNESS: Float[np.ndarray, " covers"] = np.array([_ROUGH.get(name, 0.08) for name in COVERS], dtype=np.float32)


def number(name: str) -> np.uint8:
    """Place of a cover in the library."""
    return np.uint8(COVERS.index(name))


@dataclass(frozen=True)
class Ground:
    """What the light meets below the air.

    Attributes:
        cover: row of the library per pixel.
        gain: brightness relative to the library's, around 1.
        height_m: relief in metres, periodic.
    """

    cover: Cover
    gain: Field
    height_m: Field

    def paint(self, where: Where, cover: str) -> None:
        """Covers some pixels with something else."""
        self.cover[where] = number(cover)

    def is_a(self, *covers: str) -> Where:
        """Where the ground is one of `covers`."""
        chosen = np.isin(np.arange(len(COVERS)), [number(name) for name in covers])
        return np.asarray(chosen[self.cover])


def terrain(rng: np.random.Generator, size_hw: tuple[int, int], *, steepness: float, ridged: bool = False) -> Field:
    """Heights in metres whose slopes have the root mean square `steepness` (rise over run)."""
    field = fractal(rng, size_hw, slope=TERRAIN_SLOPE, largest=max(size_hw) / 2)
    if ridged:
        field *= 0.1
        for weight, largest in ((1.0, 150.0), (0.35, 50.0), (0.1, 15.0)):
            field -= weight * np.abs(fractal(rng, size_hw, slope=5.0, largest=largest))
    slope = (field - np.roll(field, 1, 1)).std() / 20
    return np.asarray(field * np.float32(steepness / max(slope, 1e-12)))


def along(size_hw: tuple[int, int], angle: float) -> Field:
    """Distance of each pixel from the first along an axis at `angle` (radians) to the rows, in pixels."""
    y, x = (np.arange(side, dtype=np.float32) for side in size_hw)
    return np.asarray(float(np.sin(angle)) * y[:, None] + float(np.cos(angle)) * x)


def bare(rng: np.random.Generator, height_m: Field, cover: str) -> Ground:
    """One cover everywhere, with grain at small and large scale."""
    size_hw = (height_m.shape[0], height_m.shape[1])
    gain = 1 + 0.06 * fractal(rng, size_hw, slope=3.0, largest=200.0)
    return Ground(np.full(size_hw, number(cover)), gain, height_m)


def roughen(rng: np.random.Generator, ground: Ground) -> None:
    """Adds to the gain what each cover's own texture is."""
    size_hw = (ground.cover.shape[0], ground.cover.shape[1])
    grain = fractal(rng, size_hw, slope=1.6, largest=25.0)
    ground.gain[...] *= np.clip(1 + ROUGHNESS[ground.cover] * grain, 0.4, 1.8)


def parcel_out(
    rng: np.random.Generator, ground: Ground, where: Where, covers: Mapping[str, float], *, side: float
) -> None:
    """Divides a region into rectangles in rows at some angle, each with one cover: fields, or with small sides a town.

    Args:
        rng: what is drawn from.
        ground: is changed.
        where: the region.
        covers: relative frequency of each cover.
        side: typical side of a rectangle in pixels.
    """
    height, width = ground.cover.shape
    angle = rng.uniform(0, np.pi / 2)
    across = along((height, width), angle + np.pi / 2) + width  # >= 0
    least = max(side / 2, 1.0)
    widths = rng.uniform(least, 3 * least, int((height + width) / int(least)) + 1)
    row_of = np.repeat(np.arange(len(widths)), widths.astype(int))  # at least as long as the diagonal
    row = row_of[across.astype(np.int32)]
    lengths = rng.uniform(0.8, 3.0, len(widths)).astype(np.float32) * side
    cell = (along((height, width), angle) / lengths[row]).astype(np.int32)
    table = row.astype(np.int32) * 7919 + cell * 104_729  # neighbours differ; far ones may repeat
    table %= 4093
    names, weights = list(covers), np.array(list(covers.values()))
    drawn = rng.choice(np.array([number(name) for name in names]), 4093, p=weights / weights.sum())
    ground.cover[where] = drawn[table[where]]
    ground.gain[where] *= rng.uniform(0.82, 1.18, 4093).astype(np.float32)[table[where]]


def patches(rng: np.random.Generator, size_hw: tuple[int, int], share: float, *, largest: float) -> Where:
    """Ragged patches over a share (0..1) of the scene."""
    field = fractal(rng, size_hw, slope=3.4, largest=largest)
    return np.asarray(field > level(field, share))


def winding(rng: np.random.Generator, size_hw: tuple[int, int], width: float) -> Where:
    """Lines that wind through the scene, of about `width` pixels: rivers, roads in hills."""
    field = fractal(rng, size_hw, slope=4.5, largest=max(size_hw) / 2)
    steep = np.abs(field - np.roll(field, 1, 0)) + np.abs(field - np.roll(field, 1, 1))
    return np.asarray(np.abs(field - rng.uniform(-0.3, 0.3)) < width / 2 * np.maximum(steep, steep.mean() / 3))
