"""Parts of a body that no limb could join, because the joint between them was not found."""

import numpy as np
from jaxtyping import Float32, Int64

from projects.pose.decode.assembly import Bodies
from projects.pose.decode.limbs import Limbs
from projects.pose.decode.peaks import Peaks

_PAIR = 2


def join_across(bodies: Bodies, peaks: Peaks, limbs: Limbs, limb_joints: Int64[np.ndarray, "limbs 2"]) -> None:
    """Joins bodies with no joint of the same kind and no limb of the skeleton between them, the nearest first.

    Where the skeleton has a limb between joints of both, its field was asked and said no. Where it has none, as from
    the shoulder to the wrist of somebody whose elbow is hidden, nearness decides: some two joints, one of each, must be
    no further apart than the longest limb found in either times the number of limbs that lead from one to the other.
    One of the bodies is of two limbs at least: lone peaks and pairs of them, which are mostly noise, gather nothing.
    """
    order = np.argsort(bodies.of, kind="stable")
    firsts = np.flatnonzero(np.diff(np.array(bodies.of)[order], prepend=-1))
    joints = peaks.joints[order]
    steps = _limbs_between(limb_joints, int(max(limb_joints.max(), joints.max(initial=0))) + 1)[joints[:, None], joints]
    apart = _least(steps, firsts) > 1
    if not apart.any():
        return
    x, y = peaks.points_xy[order].T
    away = np.sqrt((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2)
    stride = _least(np.where(steps < np.inf, away / np.maximum(steps, 1), np.inf), firsts)
    reach = _longest_limbs(bodies, peaks, limbs)[order[firsts]]
    one, other = np.nonzero(np.triu(apart & (stride <= np.maximum(reach[:, None], reach))))
    nearest = np.argsort(stride[one, other], kind="stable")
    for a, b in order[firsts[np.stack([one, other], axis=1)[nearest]]].tolist():
        if not bodies.adjoin(a, b):
            bodies.join(a, b)


def _limbs_between(limb_joints: Int64[np.ndarray, "limbs 2"], count: int) -> Float32[np.ndarray, "joints joints"]:
    """Number of limbs on the shortest way between joints; inf where there is none (Floyd and Warshall)."""
    steps = np.full((count, count), np.inf, np.float32)
    steps[limb_joints[:, 0], limb_joints[:, 1]] = steps[limb_joints[:, 1], limb_joints[:, 0]] = 1
    np.fill_diagonal(steps, 0)
    for joint in range(count):
        np.minimum(steps, steps[:, joint : joint + 1] + steps[joint], out=steps)
    return steps


def _least(
    pairs: Float32[np.ndarray, "peaks peaks"], firsts: Int64[np.ndarray, " groups"]
) -> Float32[np.ndarray, "groups groups"]:
    """Least value of each pair of groups of adjoining rows and columns, which begin at `firsts`."""
    return np.minimum.reduceat(np.minimum.reduceat(pairs, firsts, axis=0), firsts, axis=1)


def _longest_limbs(bodies: Bodies, peaks: Peaks, limbs: Limbs) -> Float32[np.ndarray, " peaks"]:
    """Length of the longest limb of the body of each peak; 0 for a body of fewer than two limbs."""
    of, ends = np.array(bodies.of), peaks.points_xy[limbs.ends]
    whole = of[limbs.ends[:, 0]] == of[limbs.ends[:, 1]]
    longest = np.zeros(len(of), np.float32)
    lengths = np.hypot(*(ends[whole, 1] - ends[whole, 0]).T)
    np.maximum.at(longest, of[limbs.ends[whole, 0]], lengths)
    return np.where(np.bincount(of)[of] > _PAIR, longest[of], 0)
