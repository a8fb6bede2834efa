"""Heads: hair, face and hat as functions of the place on an ellipsoid."""

from collections.abc import Callable

import numpy as np

from projects.pose.synthetic.canvas import Plane, Planes
from projects.pose.synthetic.outfit import Outfit

# the hairline: from the back of the head to the front, the height above which hair grows, by style
_FORWARD = (-1.0, -0.35, 0.0, 0.25, 0.6, 1.0)
_HAIRLINE = {
    "short": (-0.62, -0.5, -0.12, 0.25, 0.56, 0.62),
    "long": (-1.0, -1.0, -0.9, 0.0, 0.5, 0.6),
    "bun": (-0.7, -0.55, 0.05, 0.4, 0.58, 0.64),
    "bald": (2.0, 2.0, 2.0, 2.0, 2.0, 2.0),
}
_BRIM = {"none": 2.0, "cap": 0.42, "woolly": 0.3}  # height above which the hat is
_DARK, _LIPS, _WHITE = (30.0, 22.0, 20.0), (150.0, 60.0, 60.0), (240.0, 240.0, 235.0)


def head_texture(outfit: Outfit) -> Callable[[Planes], Planes]:
    """The colours of somebody's head at points of the unit ball: left, up, forward."""

    def texture(points: Planes) -> Planes:
        left, up, forward = points
        planes = np.empty_like(points)
        planes[:] = np.array(outfit.skin.colour, np.float32)[:, None, None]
        _face(planes, left, up, forward, outfit)
        line = np.interp(forward, _FORWARD, _HAIRLINE[outfit.hair_style]).astype(np.float32)
        _dye(planes, np.clip((up - line) * 8, 0, 1), outfit.hair)
        _dye(planes, np.clip((up - _BRIM[outfit.hat]) * 10, 0, 1), outfit.accent)
        return planes

    return texture


def _face(planes: Planes, left: Plane, up: Plane, forward: Plane, outfit: Outfit) -> None:
    """Paints eyes, brows, nose, mouth and what is worn there onto the front of the head."""
    front = forward > 0
    apart = np.abs(left)
    dark = tuple(0.55 * part for part in outfit.skin.colour)
    if outfit.beard:
        _dye(planes, front * np.clip(4 * (-up - 0.28), 0, 0.9) * np.clip(3 * (forward - 0.1), 0, 1), outfit.hair)
    _dye(planes, front * _spot((apart - 0.36) / 0.2, (up - 0.08) / 0.13), _WHITE)
    _dye(planes, front * _spot((apart - 0.35) / 0.12, (up - 0.08) / 0.13), _DARK)
    _dye(
        planes,
        front * 0.9 * _spot((apart - 0.36) / 0.25, (up - 0.29) / 0.07),
        tuple(0.6 * part for part in outfit.hair),
    )
    _dye(planes, front * 0.5 * _spot(left / 0.16, (up + 0.26) / 0.1), dark)
    _dye(planes, front * _spot(left / 0.32, (up + 0.52) / 0.1), _LIPS)
    if outfit.glasses:
        _dye(planes, front * _spot((apart - 0.38) / 0.3, (up - 0.07) / 0.22), _DARK)


def _spot(x: Plane, y: Plane) -> Plane:
    """1 inside the unit circle, falling to 0 around it."""
    return np.asarray(np.clip(3 - 2.5 * (x * x + y * y), 0, 1))


def _dye(planes: Planes, share: Plane, colour: tuple[float, ...]) -> None:
    planes += share * (np.array(colour, np.float32)[:, None, None] - planes)
