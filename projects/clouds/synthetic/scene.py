"""One scene: a place and a day, its ground, its sky, and what the sensor makes of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Bool, Float

from projects.clouds.bands import BANDS
from projects.clouds.synthetic.bands import COARSE
from projects.clouds.synthetic.clouds import random_sky
from projects.clouds.synthetic.lands import LANDS, glint, random_ground
from projects.clouds.synthetic.light import Air, Light, classify
from projects.clouds.synthetic.noise import Field
from projects.clouds.synthetic.sun import Sun

Reflectance = Float[np.ndarray, "h w 13"]
OneHot = Bool[np.ndarray, "h w 3"]

STEP = 1e-4  # products store reflectance in steps of a ten-thousandth
LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # of 8 degrees, from 80 degrees south


@dataclass(frozen=True)
class Product:
    """One overpass; its sub-scenes share place, day and sun.

    Attributes:
        name: of the form S2A_MSIL1C_20180615T103021_N0206_R108_T32TNS_20180615T123456.
        land: one of `LANDS`.
        day: of the year 2018.
        sun: where it stands.
    """

    name: str
    land: str
    day: int
    sun: Sun


def random_product(rng: np.random.Generator, land: str) -> Product:
    """A place and a day that suit the kind of land, and a name that suits both."""
    kind = LANDS[land]
    latitude, day = rng.uniform(*kind.latitudes), int(rng.integers(*kind.days, endpoint=True))
    date = (datetime(2018, 1, 1) + timedelta(days=day - 1)).strftime("%Y%m%d")
    seconds, later = rng.integers(0, 3600, 2)
    letters = "".join(rng.choice(list(LATITUDE_BANDS), 2))
    tile = f"T{rng.integers(29, 38)}{LATITUDE_BANDS[int(latitude + 80) // 8]}{letters}"
    sensed, made = (f"{date}T{hour}{second // 60:02}{second % 60:02}" for hour, second in ((10, seconds), (13, later)))
    name = f"S2{rng.choice(['A', 'B'])}_MSIL1C_{sensed}_N0206_R{rng.integers(1, 144):03}_{tile}_{made}"
    return Product(name, land, day, Sun.at(latitude, day))


def random_scene(
    rng: np.random.Generator, size_hw: tuple[int, int], product: Product, weather: str
) -> tuple[Reflectance, OneHot]:
    """A sub-scene of a product under a kind of weather, one of `WEATHER`.

    Returns:
        Reflectance above the air, float32 (h, w, 13), 0 to about 1.3, and CLEAR, CLOUD, CLOUD_SHADOW as one-hot.
    """
    canvas_hw = _fast(size_hw[0]), _fast(size_hw[1])  # periodic; the scene is a part, so that its sides do not match
    ground = random_ground(rng, canvas_hw, LANDS[product.land], product.day)
    layers = random_sky(rng, canvas_hw, weather)
    air = Air(LANDS[product.land].vapour * rng.uniform(0.7, 1.3), rng.uniform(0.03, 0.15))
    light = Light(ground, glint(rng, ground, product.sun.zenith), layers, sun=product.sun, air=air)
    reflectance = np.empty((*size_hw, len(BANDS)), dtype=np.float32)
    for band, name in enumerate(BANDS):
        seen = _focus(light.band(band), name)[: size_hw[0], : size_hw[1]]
        reflectance[..., band] = _expose(rng, seen)
    classes = classify(layers, product.sun, light.glint)[: size_hw[0], : size_hw[1]]
    return reflectance, classes[..., None] == np.arange(3, dtype=np.uint8)


def _fast(side: int) -> int:
    return int(scipy.fft.next_fast_len(ceil(1.05 * side), real=True))


def _focus(field: Field, band: str) -> Field:
    """Blurs to the sharpness of the sensor: about a pixel of 20 m, in some bands of 60 m."""
    if band in COARSE:
        return np.asarray(scipy.ndimage.uniform_filter(field, 3, mode="wrap"))
    return np.asarray(scipy.ndimage.convolve1d(scipy.ndimage.convolve1d(field, _BLUR, 0), _BLUR, 1))


_BLUR = np.array([0.12, 0.76, 0.12], dtype=np.float32)


def _expose(rng: np.random.Generator, seen: Field) -> Field:
    """Adds the sensor's noise (signal to noise about 100 to 170 at reference light: ESA 2015) and rounds."""
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    noisy = seen + noise * (np.float32(0.0008) + np.float32(0.005) * seen)
    return np.asarray(np.maximum(np.round(noisy / np.float32(STEP)), 0) * np.float32(STEP))
