"""Kinds of land, each with its season, its place on earth and its bright ground that is not cloud."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from projects.clouds.synthetic.ground import Ground, along, bare, parcel_out, patches, roughen, terrain, winding
from projects.clouds.synthetic.noise import Field, fractal, level, rise

TOWN = {"asphalt": 4.0, "tiles": 3.0, "meadow": 2.0, "broadleaf": 1.0, "roof": 0.15}
WORKS = {"roof": 2.0, "asphalt": 4.0, "rock": 1.0, "soil": 1.0}
SPRING = {"crop": 5.0, "meadow": 3.0, "soil": 3.0, "chalk": 0.5}
SUMMER = {"crop": 2.0, "maize": 3.0, "straw": 4.0, "meadow": 2.0, "soil": 1.0, "chalk": 0.5}
AUTUMN = {"soil": 5.0, "chalk": 1.0, "maize": 2.0, "straw": 1.0, "crop": 2.0, "meadow": 2.0}

Size = tuple[int, int]


def farmland(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """Fields, woods, villages, a river."""
    ground = bare(rng, terrain(rng, size_hw, steepness=0.03), "meadow")
    crops = SPRING if day < 150 else SUMMER if day < 230 else AUTUMN
    _fields(rng, ground, crops, side=rng.uniform(8, 16))
    ground.paint(patches(rng, size_hw, rng.uniform(0.1, 0.3), largest=120.0), rng.choice(["conifer", "broadleaf"]))
    _towns(rng, ground, 0.03)
    ground.paint(winding(rng, size_hw, 4.0), "water")
    return ground


def mountains(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """Valleys with meadows, woods, rock, and snow above a line that rises through spring."""
    height_m = terrain(rng, size_hw, steepness=0.42, ridged=True)
    ground = bare(rng, height_m, "conifer")
    line = height_m + 0.25 * height_m.std() * fractal(rng, size_hw, slope=2.6, largest=60.0)
    ground.paint(line < level(line, 0.85), "meadow")
    ground.paint(line > level(line, 0.55), "rock")
    snow = 0.32 - 0.001 * day
    ground.paint(line > level(line, snow), "firn")
    ground.paint(line > level(line, snow - 0.05), "snow")
    ground.paint(height_m < level(height_m, 0.985), "water")
    return ground


def desert(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """Sand, dunes, rock, a salt pan, dry rivers, irrigated fields."""
    height_m = terrain(rng, size_hw, steepness=0.05)
    wind = rng.uniform(0, np.pi)
    dunes = fractal(rng, size_hw, slope=5.0, largest=6.0, stretch=(2.5, wind))
    sea = rise(fractal(rng, size_hw, slope=4.0, largest=max(size_hw) / 2), -0.3, 0.6)
    ground = bare(rng, height_m + 9 * dunes * sea, "sand")
    ground.paint(sea > 0.5, "dune")
    ground.paint(patches(rng, size_hw, 0.2, largest=200.0) & (sea < 0.2), "rock")
    ground.paint(winding(rng, size_hw, 3.0), "beach")
    ground.paint((height_m < level(height_m, 0.93)) & (sea < 0.5), "salt")
    farms = patches(rng, size_hw, 0.04, largest=90.0) & (sea < 0.4)
    parcel_out(rng, ground, farms, {"crop": 3.0, "soil": 2.0, "straw": 1.0}, side=12.0)
    return ground


def coast(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """Sea with a beach, turbid water before it; behind it fields, a town and fields under white plastic."""
    height_m = terrain(rng, size_hw, steepness=0.06)
    ground = bare(rng, height_m, "meadow")
    _fields(rng, ground, SUMMER if day < 230 else AUTUMN, side=9.0)
    ground.paint(patches(rng, size_hw, 0.2, largest=150.0), "broadleaf")
    _towns(rng, ground, 0.05)
    parcel_out(rng, ground, patches(rng, size_hw, 0.09, largest=150.0), {"plastic": 5.0, "soil": 1.0}, side=5.0)
    shore = 0.5 * fractal(rng, size_hw, slope=3.4, largest=float(max(size_hw)))
    shore += (2.5 / max(size_hw)) * along(size_hw, rng.uniform(0, 2 * np.pi))
    sea = level(shore, rng.uniform(0.35, 0.55))
    ground.paint(shore > sea - 0.012, "beach")
    ground.paint(shore > sea, "turbid")
    ground.paint(shore + 0.03 * fractal(rng, size_hw, slope=3.0, largest=60.0) > sea + 0.06, "water")
    ground.height_m[...] *= 1 - rise(shore, sea - 0.2, sea)  # flat by the sea
    return ground


def city(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """Houses over a third of the scene, large bright roofs, parks, a river; fields around."""
    ground = farmland(rng, size_hw, day)
    _towns(rng, ground, 0.35)
    parcel_out(rng, ground, patches(rng, size_hw, 0.03, largest=60.0), WORKS, side=4.0)
    ground.paint(patches(rng, size_hw, 0.05, largest=40.0), "broadleaf")
    ground.paint(winding(rng, size_hw, 7.0), "water")
    return ground


def winter(rng: np.random.Generator, size_hw: Size, day: int) -> Ground:
    """A plain under snow: white fields, dark woods, grey villages, a frozen lake."""
    ground = bare(rng, terrain(rng, size_hw, steepness=0.02), "snow")
    _fields(rng, ground, {"snow": 5.0, "firn": 5.0, "soil": 0.4}, side=12.0)
    ground.paint(patches(rng, size_hw, rng.uniform(0.25, 0.45), largest=120.0), "conifer")
    villages = patches(rng, size_hw, 0.03, largest=60.0)
    parcel_out(rng, ground, villages, {"firn": 2.0, "asphalt": 3.0, "tiles": 1.0}, side=2.2)
    ground.paint(winding(rng, size_hw, 4.0), "water")
    ground.paint(ground.height_m < level(ground.height_m, 0.96), "snow")
    return ground


def _fields(rng: np.random.Generator, ground: Ground, crops: Mapping[str, float], *, side: float) -> None:
    """Two districts of fields that lie at two angles."""
    first = patches(rng, (ground.cover.shape[0], ground.cover.shape[1]), 0.5, largest=400.0)
    parcel_out(rng, ground, first, crops, side=side)
    parcel_out(rng, ground, ~first, crops, side=1.3 * side)


def _towns(rng: np.random.Generator, ground: Ground, share: float) -> None:
    size_hw = (ground.cover.shape[0], ground.cover.shape[1])
    parcel_out(rng, ground, patches(rng, size_hw, share, largest=110.0), TOWN, side=2.2)
    parcel_out(rng, ground, patches(rng, size_hw, share / 8, largest=40.0), WORKS, side=4.0)


@dataclass(frozen=True)
class Land:
    """A kind of land.

    Attributes:
        make: draws the ground for a day of the year.
        latitudes: degrees north, least and most.
        days: of the year, first and last.
        vapour: water in the air, relative to 2 cm.
    """

    make: Callable[[np.random.Generator, Size, int], Ground]
    latitudes: tuple[float, float]
    days: tuple[int, int]
    vapour: float


LANDS: Mapping[str, Land] = MappingProxyType(
    {
        "farmland": Land(farmland, (46.0, 54.0), (110, 280), 1.0),
        "mountains": Land(mountains, (44.0, 47.0), (70, 160), 0.5),
        "desert": Land(desert, (18.0, 30.0), (20, 340), 0.7),
        "coast": Land(coast, (36.0, 42.0), (120, 260), 1.2),
        "city": Land(city, (40.0, 51.0), (100, 270), 1.0),
        "winter": Land(winter, (45.0, 52.0), (35, 75), 0.4),
    }
)


def random_ground(rng: np.random.Generator, size_hw: Size, land: Land, day: int) -> Ground:
    """The ground of one scene, with the texture of its covers."""
    ground = land.make(rng, size_hw, day)
    roughen(rng, ground)
    return ground


def glint(rng: np.random.Generator, ground: Ground, zenith: float) -> Field:
    """Reflectance of the sun's image in the waves, 0 on land.

    Cox and Munk (1954): slopes of the sea are Gaussian with a variance that grows with the wind. Seen from above, or up
    to 9 degrees towards the sun, waves mirror it whose slope is half the angle between.
    """
    size_hw = (ground.cover.shape[0], ground.cover.shape[1])
    slope = np.tan((zenith - np.radians(rng.uniform(-3, 9))) / 2)
    gusts = fractal(rng, size_hw, slope=2.6, largest=max(size_hw) / 3)
    variance = 0.003 + 0.00512 * np.maximum(rng.uniform(2, 8) + 1.5 * gusts, 0.5)
    chance = np.exp(-(slope**2) / variance) / (np.pi * variance)
    bright = np.pi * 0.02 * chance * (1 + slope**2) ** 2 / (4 * np.cos(zenith))
    return np.asarray(np.where(ground.is_a("water", "turbid"), bright, 0), dtype=np.float32)
