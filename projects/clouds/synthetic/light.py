"""From ground and sky to the reflectance that a satellite measures above the air.

Plane layers seen from straight above: the ground, slabs of clear air, and sheets of cloud or haze between them. With
x = sqrt(3) (1 - g) depth a sheet reflects R = x / (2 + x) and lets T = 1 - R through (two streams: Lacis and Hansen
1974); over a brightness rho it adds up to R + T rho / (1 - R rho) (adding: van de Hulst 1980), where rho already lacks
the sunlight that the sheets keep from the ground. Of that, the direct beam fades with
exp(-(1 - g^2) depth / cos zenith) (forward peak counted as not scattered: Joseph, Wiscombe and Weinman 1976) and
arrives displaced by the geometry of the sun: that is a shadow. Light scattered through the cloud and by the sky fills
it, most in the blue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from jaxtyping import UInt8

from projects.clouds.bands import WAVELENGTHS
from projects.clouds.synthetic.bands import (
    AEROSOL_SCALE_M,
    AIR_SCALE_M,
    LIBRARY,
    RAYLEIGH,
    VAPOUR,
    VAPOUR_SCALE_M,
)
from projects.clouds.synthetic.clouds import Layer
from projects.clouds.synthetic.ground import Ground
from projects.clouds.synthetic.noise import Field
from projects.clouds.synthetic.sun import Sun

CLEAR, CLOUD, SHADOW = 0, 1, 2
CLOUD_DEPTH = 0.7  # optical depth of all cloud above a pixel from which it is CLOUD: R is 8% for droplets, 13% for ice
SHADOW_LIGHT = 0.6  # share of the direct light below which clear ground is CLOUD_SHADOW
SPACE_M = 100_000.0
STRIP = 32  # rows at a time: what they need stays in the processor's cache


@dataclass(frozen=True)
class Air:
    """The clear air of a scene: water vapour relative to 2 cm, optical depth of aerosol at 0.55 micrometres."""

    vapour: float
    aerosol: float

    def scattering(self, band: int, low_m: float, high_m: float) -> tuple[float, float]:
        """Vertical optical depths of molecules and of aerosol between two heights."""
        molecules = RAYLEIGH[band] * (exp(-low_m / AIR_SCALE_M) - exp(-high_m / AIR_SCALE_M))
        column = exp(-low_m / AEROSOL_SCALE_M) - exp(-high_m / AEROSOL_SCALE_M)
        return float(molecules), float(self.aerosol * column * (WAVELENGTHS[band] / 0.55) ** -1.3)

    def slab(self, band: int, sun: Sun, low_m: float, high_m: float) -> tuple[float, float]:
        """What the air between two heights leaves of the light from below it, and what it adds itself.

        Single scattering; molecules send back half of what they scatter, aerosol an eighth. Vapour absorbs both ways.
        """
        molecules, aerosol = self.scattering(band, low_m, high_m)
        ways = 1 + 1 / sun.cosine
        added = (molecules * 0.75 * (1 + sun.cosine**2) + 0.25 * aerosol) / (4 * sun.cosine)
        column = exp(-low_m / VAPOUR_SCALE_M) - exp(-high_m / VAPOUR_SCALE_M)
        gas = exp(-float(VAPOUR[band]) * self.vapour * column * ways)
        return gas * exp(-(molecules / 2 + aerosol / 8) * ways), gas * added

    def skylight(self, band: int, sun: Sun) -> float:
        """Share (0..1) of the light on the ground that comes from the whole sky and fills shadows."""
        molecules, aerosol = self.scattering(band, 0.0, SPACE_M)
        return 1 - exp(-(molecules / 2 + 0.4 * aerosol) / sun.cosine)


def beam(layers: Sequence[Layer], sun: Sun, height_m: float, like: Field) -> Field:
    """Share (0..1) of the sun's light that arrives at `height_m` through the layers above; periodic."""
    light = np.ones_like(like)
    for layer in layers:
        if layer.height_m > height_m:
            direct = np.exp(-(1 - layer.matter.asymmetry**2) / sun.cosine * layer.depth)
            scattered = np.maximum(1 - layer.reflects(layer.depth) - direct, 0)
            through = direct + layer.matter.spread * scattered
            light *= np.roll(through, sun.shadow(layer.height_m - height_m), axis=(0, 1))
    return light


def classify(layers: Sequence[Layer], sun: Sun, like: Field) -> UInt8[np.ndarray, "h w"]:
    """CLEAR, CLOUD or SHADOW for every pixel. Haze is no cloud and casts no shadow that counts."""
    clouds = [layer for layer in layers if layer.matter.cloud]
    depth = np.zeros_like(like)
    for layer in clouds:
        depth += layer.depth
    classes = np.where(beam(clouds, sun, 0.0, like) < SHADOW_LIGHT, np.uint8(SHADOW), np.uint8(CLEAR))
    classes[depth >= CLOUD_DEPTH] = CLOUD
    return classes


class Light:
    """Computes the bands of one scene; what they share is computed once.

    Args:
        ground: what lies below.
        glint: reflectance of the sun mirrored by water.
        layers: from the lowest to the highest.
        sun: direction of the light.
        air: clear air.
    """

    def __init__(self, ground: Ground, glint: Field, layers: Sequence[Layer], *, sun: Sun, air: Air) -> None:
        self.ground, self.glint, self.layers, self.sun, self.air = ground, glint, layers, sun, air
        self._beam = beam(layers, sun, 0.0, glint)
        self._slopes = sun.slopes(ground.height_m)
        above = [beam(layers, sun, layer.height_m, glint) for layer in layers]
        self._tops = [lit * (1 + lit * (layer.tops(sun) - 1)) for layer, lit in zip(layers, above, strict=True)]

    def band(self, band: int) -> Field:
        """Reflectance above the air in one of the 13 bands, without noise."""
        seen = np.empty_like(self.glint)
        for top in range(0, len(seen), STRIP):
            rows = slice(top, top + STRIP)
            seen[rows] = self._strip(rows, band)
        return seen

    def _strip(self, rows: slice, band: int) -> Field:
        sky = self.air.skylight(band, self.sun)
        direct = (1 - sky) * self._beam[rows]
        colour = self.ground.gain[rows] * LIBRARY[:, band][self.ground.cover[rows]]
        below = colour * (direct * self._slopes[rows] + sky) + self.glint[rows] * direct
        height_m = 0.0
        for layer, lit in zip(self.layers, self._tops, strict=True):
            below = self._through_air(below, band, (height_m, layer.height_m))
            back = layer.reflects(layer.depth[rows] * np.float32(layer.matter.depths[band]))
            kept = np.float32(layer.matter.colour[band])
            below = back * kept * lit[rows] + (1 - back) * below / (1 - back * np.minimum(below, 1))
            height_m = layer.height_m
        return self._through_air(below, band, (height_m, SPACE_M))

    def _through_air(self, below: Field, band: int, heights_m: tuple[float, float]) -> Field:
        left, added = self.air.slab(band, self.sun, *heights_m)
        return below * left + added
