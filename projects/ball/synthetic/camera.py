"""Pinhole camera beside the table."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from projects.ball.synthetic.flight import HALF_LENGTH, HALF_WIDTH, NET_HEIGHT, RADIUS, TABLE_HEIGHT

Points = Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Camera:
    """Maps metres to pixels without distortion.

    Attributes:
        position: centre of projection, metres.
        axes: rows right, down and forward in world axes.
        focal: focal length in pixels.
        centre_xy: principal point in pixels; pixel centres are at integers.
    """

    position: Float[np.ndarray, " 3"]
    axes: Float[np.ndarray, "3 3"]
    focal: float
    centre_xy: Float[np.ndarray, " 2"]

    def project(self, points: Points) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Pixels of `points`, and how many pixels a metre takes at their depth."""
        local = (points - self.position) @ self.axes.T
        scale = self.focal / np.maximum(local[:, 2], 0.2)  # nothing of the scene is nearer than 20 cm
        return self.centre_xy + local[:, :2] * scale[:, None], scale

    def depth(self, point: Float[np.ndarray, " 3"]) -> float:
        """Metres from the camera's plane."""
        return float((point - self.position) @ self.axes[2])

    def shifted(self, offset_xy: Float[np.ndarray, " 2"]) -> "Camera":
        """The same camera with its picture moved by `offset_xy` pixels."""
        return replace(self, centre_xy=self.centre_xy + offset_xy)


def random_camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    """A camera beside the table that sees the whole table, with a ball of 3 to 7 pixels in a picture 512 wide."""
    height, width = size_hw
    distance, yaw, roll = rng.uniform(3.2, 6.5), np.radians(rng.uniform(-28, 28)), np.radians(rng.uniform(-1.5, 1.5))
    position = np.array([distance * np.sin(yaw), -distance * np.cos(yaw), rng.uniform(1.4, 2.9)])
    target = np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.1, 0.1), TABLE_HEIGHT + rng.uniform(0.0, 0.25)])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    right = np.cos(roll) * right + np.sin(roll) * np.cross(forward, right)
    axes = np.stack([right, np.cross(forward, right), forward])
    centre_xy = np.array([(width - 1) / 2, (height - 1) / 2])
    unit = Camera(position, axes, 1.0, np.zeros(2))
    extent = np.abs(unit.project(table_box())[0]).max(axis=0)
    fits = min(0.48 * width / extent[0], 0.45 * height / extent[1])
    wanted = rng.uniform(3.8, 6.8) * width / 512 * np.linalg.norm(target - position) / (2 * RADIUS)
    return replace(unit, focal=float(min(fits, wanted)), centre_xy=centre_xy)


def table_box() -> Points:
    """The eight corners of what must be in the picture: the table's top and the air over it as high as the net."""
    x, y = HALF_LENGTH, HALF_WIDTH
    return np.array([(a, b, c) for a in (-x, x) for b in (-y, y) for c in (TABLE_HEIGHT, TABLE_HEIGHT + NET_HEIGHT)])
