"""How well the people of a picture are found, as one number: which pictures a person should look at."""

import math

import numpy as np
from jaxtyping import Float, UInt8

from projects.pose.people import People
from projects.pose.scores.oks import oks
from projects.pose.skeleton import Skeleton

BOX_SHARE = 0.53
"""Share of a person's box that a person fills: the ratio that COCO's areas and boxes have to each other on average."""


def mean_best_oks(
    found: People,
    points_xy: Float[np.ndarray, "people joints 2"],
    visibility: UInt8[np.ndarray, "people joints"],
    *,
    skeleton: Skeleton,
) -> float:
    """Mean over labelled people of the largest object keypoint similarity to anybody found; NaN where nobody is.

    Areas are estimated from the labelled joints, so that nothing but joints is needed; for scores see `evaluate`.

    Args:
        found: in the same pixels as `points_xy`.
        points_xy: labelled people.
        visibility: 0 not labelled.
        skeleton: of both.
    """
    order = skeleton.joint_of_keypoint
    seen = visibility[:, order] > 0
    known = seen.any(axis=1)
    if not known.any():
        return math.nan
    if not len(found.score):
        return 0.0
    points, seen = points_xy[known][:, order], seen[known]
    low = np.where(seen[..., None], points, np.inf).min(axis=1)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1)
    area = BOX_SHARE * np.maximum(high - low, 1).prod(axis=1)
    likeness = oks(found.points_xy[:, order], points, area_b=area, sigmas=skeleton.sigmas, visible_b=seen)
    return float(likeness.max(axis=0).mean())
