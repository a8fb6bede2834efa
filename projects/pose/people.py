"""What is found in a picture: people, each a set of joints."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from projects.pose.letterbox import Letterbox


class People(NamedTuple):
    """Some people.

    Attributes:
        points_xy: float32, in cells or pixels, as the function that returns them says; (0, 0) where not found.
        scores: of each joint, float32, above 0 where found and 0 where not.
        score: of each person, float32; the list is sorted by it, best first.
    """

    points_xy: Float[np.ndarray, "people joints 2"]
    scores: Float[np.ndarray, "people joints"]
    score: Float[np.ndarray, " people"]


def nobody(joints: int) -> People:
    """No people with this many joints."""
    empty = np.zeros((0, joints), np.float32)
    return People(np.zeros((0, joints, 2), np.float32), empty, empty[:, 0])


def in_frame(people: People, stride: int) -> People:
    """Points in cells of `stride` pixels as points in pixels of the network's input."""
    found = people.scores[..., None] > 0
    return people._replace(points_xy=np.where(found, (people.points_xy + 0.5) * stride - 0.5, 0).astype(np.float32))


def in_image(people: People, letterbox: Letterbox) -> People:
    """Points in pixels of the network's input as points in pixels of the picture that it was made of."""
    found = people.scores[..., None] > 0
    return people._replace(points_xy=np.where(found, letterbox.to_image(people.points_xy), 0).astype(np.float32))
