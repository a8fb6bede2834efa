"""The sky of a scene: layers of cloud and haze, each with its optical depth at every pixel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import scipy.ndimage

from projects.clouds.bands import WAVELENGTHS, Spectrum
from projects.clouds.synthetic.bands import ICE_CLOUD, WATER_CLOUD
from projects.clouds.synthetic.noise import Field, fractal, level, rise
from projects.clouds.synthetic.sun import Sun

# Water content along a line has a spectrum of k^-5/3, which in the plane is k^-8/3; summed over the height of a cloud
# and smoothed by light that wanders in it, small scales fall faster (Davis et al. 1997; Marshak et al. 1995)
HEAP_SLOPE = 3.3


@dataclass(frozen=True)
class Matter:
    """What a layer is made of.

    Attributes:
        asymmetry: mean cosine of the angle by which it scatters: 0.85 droplets, 0.75 ice, 0.65 haze.
        colour: share of the scattered light that it returns per band, 1: all.
        depths: optical depth per band, relative to 0.55 micrometres.
        spread: share of the light scattered through it that arrives where the direct light would; the rest goes astray.
        cloud: whether it counts as cloud where it is deep enough.
    """

    asymmetry: float
    colour: Spectrum
    depths: Spectrum
    spread: float
    cloud: bool


DROPLETS = Matter(0.85, WATER_CLOUD, np.ones(13), 0.4, True)
ICE = Matter(0.75, ICE_CLOUD, np.ones(13), 0.4, True)
# small particles: the Angstrom exponent of continental haze (Angstrom 1929)
HAZE = Matter(0.65, np.full(13, 0.97), (WAVELENGTHS / 0.55) ** -1.3, 1.0, False)


@dataclass(frozen=True)
class Layer:
    """A sheet at one height.

    Attributes:
        depth: optical depth at 0.55 micrometres, vertical, >= 0.
        height_m: above the ground, which counts for its shadow and for the air above it.
        matter: what it is made of.
    """

    depth: Field
    height_m: float
    matter: Matter

    def reflects(self, depth: Field) -> Field:
        """Share (0..1) of light that a sheet of this matter and of some optical depth sends back."""
        x = np.float32(np.sqrt(3) * (1 - self.matter.asymmetry)) * depth
        return np.asarray(x / (2 + x))

    def tops(self, sun: Sun) -> Field | float:
        """Light and shade on the tops of heaps, around 1, softened to a third as light is scattered many times.

        Heaps are as thick as their depth to the power 3/5 (adiabatic: Boers and Mitchell 1994), 450 m at depth 10.
        """
        if self.matter is not DROPLETS:
            return 1.0
        thickness_m = 450 * ((self.depth + 1) / 10) ** np.float32(0.6)  # + 1: no cliffs at the rims
        wandering = scipy.ndimage.uniform_filter(thickness_m, 5, mode="wrap")  # over 100 m (Marshak et al. 1995)
        return np.asarray(np.clip(1 + (sun.slopes(wandering) - 1) / 3, 0.6, 1.25))


def cumulus(rng: np.random.Generator, size_hw: tuple[int, int], share: float) -> Layer:
    """Heaps with sharp bright rims and dark sides, in groups; `share` (0..1) of the scene."""
    field = fractal(rng, size_hw, slope=HEAP_SLOPE, largest=rng.uniform(25, 90))
    field += rng.uniform(0.5, 1.0) * fractal(rng, size_hw, slope=4.0, largest=max(size_hw) / 3)
    above = np.maximum(field - level(field, share), 0)
    return Layer(rng.uniform(16, 45) * above**1.2, rng.uniform(900, 2400), DROPLETS)


def sheet(rng: np.random.Generator, size_hw: tuple[int, int], share: float) -> Layer:
    """Altocumulus: cells and waves in a wide deck with holes and thinning edges."""
    deck = fractal(rng, size_hw, slope=HEAP_SLOPE, largest=max(size_hw) / 2)
    cells = fractal(rng, size_hw, slope=4.0, largest=rng.uniform(10, 40))
    waves = fractal(rng, size_hw, slope=5.0, largest=rng.uniform(8, 25), stretch=(4.0, rng.uniform(0, np.pi)))
    shape = deck + rng.uniform(0.1, 0.35) * cells + rng.uniform(0, 0.2) * waves
    edge = level(shape, share)
    depth = rng.uniform(4, 11) * rise(shape, edge, edge + rng.uniform(0.5, 1.5)) * np.exp(0.7 * deck + 0.3 * cells)
    return Layer(depth, rng.uniform(2600, 4800), DROPLETS)


def cirrus(rng: np.random.Generator, size_hw: tuple[int, int], share: float) -> Layer:
    """Streaks and veils of ice, thin enough to see the ground through; over bright ground clear only in B10."""
    angle = rng.uniform(0, np.pi)
    veil = fractal(rng, size_hw, slope=4.0, largest=max(size_hw) / 4, stretch=(1.7, angle))
    streaks = fractal(rng, size_hw, slope=HEAP_SLOPE, largest=40.0, stretch=(4.0, angle + rng.normal(0, 0.15)))
    mixed = veil + 0.5 * streaks
    edge = level(mixed, share)
    depth = rng.uniform(1.2, 3.0) * rise(mixed, edge - 0.5, edge + 1.0) * np.exp(0.4 * streaks)
    return Layer(depth, rng.uniform(7500, 10500), ICE)


def haze(rng: np.random.Generator, size_hw: tuple[int, int], most: float) -> Layer:
    """Aerosol near the ground, never deeper than `most`, and never cloud."""
    field = fractal(rng, size_hw, slope=3.5, largest=float(max(size_hw)))
    return Layer(most * rise(field, -1.5, 2.0), 400.0, HAZE)


Maker = Callable[[np.random.Generator, tuple[int, int], float], Layer]
# what may stand over a scene, from below: maker, least and most of its share (of its optical depth, for haze)
WEATHER: Mapping[str, tuple[tuple[Maker, float, float], ...]] = MappingProxyType(
    {
        "clear": ((haze, 0.05, 0.5),),
        "fair": ((haze, 0.05, 0.3), (cumulus, 0.2, 0.35)),
        "veiled": ((haze, 0.05, 0.2), (cumulus, 0.05, 0.15), (cirrus, 0.35, 0.55)),
        "broken": ((haze, 0.05, 0.3), (cumulus, 0.1, 0.2), (sheet, 0.35, 0.55)),
        "mixed": ((haze, 0.1, 0.5), (cumulus, 0.1, 0.2), (sheet, 0.2, 0.35), (cirrus, 0.2, 0.35)),
        "overcast": ((haze, 0.05, 0.3), (sheet, 0.93, 0.98)),
    }
)


def random_sky(rng: np.random.Generator, size_hw: tuple[int, int], weather: str) -> list[Layer]:
    """Layers of a kind of weather, one of `WEATHER`, from the lowest to the highest."""
    layers = [maker(rng, size_hw, rng.uniform(least, most)) for maker, least, most in WEATHER[weather]]
    return sorted(layers, key=lambda layer: layer.height_m)
