"""What people wear and look like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from projects.pose.synthetic.canvas import Colour, Colours, Look, Plane

SKINS: tuple[Colour, ...] = (
    (238.0, 200.0, 176.0),
    (226.0, 180.0, 150.0),
    (208.0, 154.0, 122.0),
    (186.0, 130.0, 96.0),
    (150.0, 100.0, 70.0),
    (112.0, 72.0, 50.0),
    (82.0, 54.0, 40.0),
)
HAIRS: tuple[Colour, ...] = (
    (28.0, 22.0, 20.0),
    (52.0, 36.0, 26.0),
    (92.0, 62.0, 38.0),
    (150.0, 108.0, 60.0),
    (205.0, 172.0, 110.0),
    (140.0, 70.0, 36.0),
    (170.0, 168.0, 164.0),
)


def random_colour(rng: np.random.Generator, low: int = 25, high: int = 235, *, tint: float = 0.9) -> Colour:
    """A colour whose brightest part lies between `low` and `high`; a third are grey, others saturated up to `tint`."""
    saturation = rng.uniform(0, 0.15) if rng.random() < 0.35 else rng.uniform(0.3, 1) * tint
    bright = rng.uniform(low, high)
    red, green, blue = (part**1.5 for part in rng.random(3).tolist())  # small numbers are frequent
    grey, share = bright * (1 - saturation), bright * saturation / max(red, green, blue, 1e-3)
    return grey + share * red, grey + share * green, grey + share * blue


def _wave(length: Plane | float) -> Plane:
    """Stripes with soft rims: 0 and 1 in turn, of period 1."""
    return np.asarray(np.clip(0.5 + 2.5 * np.sin(2 * np.pi * length), 0, 1), np.float32)


Pattern = Callable[[Plane, Plane], Plane]
PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {
        "hoops": lambda v, w: _wave(v),
        "stripes": lambda v, w: _wave(w),
        "checks": lambda v, w: 0.5 * _wave(v) + 0.5 * _wave(w),
        "dots": lambda v, w: np.clip(3 * (np.sin(2 * np.pi * v) * np.sin(2 * np.pi * w) - 0.3), 0, 1),
        "blotches": lambda v, w: _wave(0.5 * v + 0.3 * np.sin(3 * w + 2 * v) + 0.2 * np.sin(5 * v - 4 * w)),
    }
)
"""Share (0..1) of the other colour, along and across, in periods."""


@dataclass(frozen=True)
class Cloth:
    """A material.

    Attributes:
        colour: RGB, 0..255.
        other: the pattern's second colour.
        pattern: one of `PATTERNS`, or "plain".
        period: of the pattern, metres.
    """

    colour: Colour
    other: Colour
    pattern: str = "plain"
    period: float = 0.1

    def planes(self, along_m: Plane, across_m: Plane) -> Colours:
        """Its colours at some places, in metres."""
        first = np.array(self.colour, np.float32)[:, None, None]
        if self.pattern == "plain":
            return first
        second = np.array(self.other, np.float32)[:, None, None]
        share = PATTERNS[self.pattern](along_m / self.period, across_m / self.period)
        return np.asarray(first + (second - first) * share)


def random_cloth(rng: np.random.Generator, *, patterned: float) -> Cloth:
    """A material that has a pattern with probability `patterned`."""
    names = list(PATTERNS)
    pattern = names[rng.integers(len(names))] if rng.random() < patterned else "plain"
    return Cloth(random_colour(rng), random_colour(rng), pattern, float(rng.uniform(0.06, 0.2)))


@dataclass(frozen=True)
class Outfit:
    """Somebody's looks.

    Attributes:
        skin: and all that is of its colour.
        hair: colour.
        hair_style: "short", "long", "bun" or "bald".
        hat: "none", "cap" or "woolly".
        shirt: of the trunk and of sleeves.
        trousers: of the hips and of what legs they have.
        jacket: over the shirt, open in front; None without.
        accent: colour of hat, print, buttons and bag.
        shoes: colour.
        sleeve: share of the arm that is covered: 0 none, 0.5 to the elbow, 1 to the wrist.
        leg: the same of the leg.
        skirt: length as a share of the thigh, 0: none.
        front: what the shirt shows in front: "none", "print", "buttons" or "collar".
        bag: whether there is one on the back.
        glasses: whether any are worn.
        beard: likewise.
    """

    skin: Cloth
    hair: Colour
    hair_style: str
    hat: str
    shirt: Cloth
    trousers: Cloth
    jacket: Cloth | None
    accent: Colour
    shoes: Colour
    sleeve: float
    leg: float
    skirt: float
    front: str
    bag: bool
    glasses: bool
    beard: bool

    @property
    def over(self) -> Cloth:
        """What sleeves and the back are made of."""
        return self.jacket or self.shirt


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Somebody's looks for today."""
    tone = np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.92, 1.06)
    skin: Colour = (float(tone[0]), float(tone[1]), float(tone[2]))
    jacket = random_cloth(rng, patterned=0.1) if rng.random() < 0.22 else None
    skirt = float(rng.uniform(0.5, 1.15)) if rng.random() < 0.14 else 0.0
    return Outfit(
        skin=Cloth(skin, skin),
        hair=HAIRS[rng.integers(len(HAIRS))],
        hair_style=_one(rng, short=0.56, long=0.3, bun=0.08, bald=0.06),
        hat=_one(rng, none=0.78, cap=0.13, woolly=0.09),
        shirt=random_cloth(rng, patterned=0.45),
        trousers=random_cloth(rng, patterned=0.12),
        jacket=jacket,
        accent=random_colour(rng),
        shoes=random_colour(rng, 20, 240),
        sleeve=1.0 if jacket else float(rng.choice([0.0, 0.25, 0.35, 0.5, 1.0], p=[0.1, 0.25, 0.2, 0.1, 0.35])),
        leg=0.0 if skirt else float(rng.choice([0.2, 0.4, 0.5, 1.0], p=[0.08, 0.16, 0.1, 0.66])),
        skirt=skirt,
        front=_one(rng, none=0.35, print=0.25, buttons=0.2, collar=0.2),
        bag=bool(rng.random() < 0.1),
        glasses=bool(rng.random() < 0.15),
        beard=bool(rng.random() < 0.15),
    )


def _one(rng: np.random.Generator, **weights: float) -> str:
    return list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]


def covered_limb(cover: float, cloth: Cloth, below: Cloth, *, length_m: float, radius_m: float) -> Look:
    """A limb in cloth down to a share of its length, and something else below."""

    def look(along: Plane, across: Plane) -> Colours:
        v, w = along * length_m, across * radius_m
        if cover <= 0 or cover >= 1:
            return (cloth if cover >= 1 else below).planes(v, w)
        return np.asarray(np.where(along < cover, cloth.planes(v, w), below.planes(v, w)))

    return look
