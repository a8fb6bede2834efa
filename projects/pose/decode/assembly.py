"""Peaks and limbs -> bodies: greedily, limb by limb."""

import numpy as np
from jaxtyping import Int64

from projects.pose.decode.limbs import Limbs


class Bodies:
    """Peaks in groups that have each joint once at most; at first each peak is alone.

    Args:
        joints: of each peak.
        limb_joints: numbers of the joints where each limb of the skeleton begins and ends.

    Attributes:
        of: the group of each peak.
    """

    def __init__(self, joints: Int64[np.ndarray, " peaks"], limb_joints: Int64[np.ndarray, "limbs 2"]) -> None:
        self.of = list(range(len(joints)))
        self._members = [[peak] for peak in self.of]
        self._has = [1 << joint for joint in joints.tolist()]
        beside = {1 << joint: 1 << joint for joint in np.unique(limb_joints).tolist()}
        for start, end in limb_joints.tolist():
            beside[1 << start] |= 1 << end
            beside[1 << end] |= 1 << start
        self._beside = [beside.get(joint, joint) for joint in self._has]

    def adjoin(self, a: int, b: int) -> bool:
        """Whether the skeleton has a limb between joints of the groups of two peaks, or they have a joint in common."""
        return bool(self._has[self.of[a]] & self._beside[self.of[b]])

    def join(self, a: int, b: int) -> bool:
        """Makes one of the groups of two peaks, unless both have a joint of the same kind; whether they now are one."""
        one, other = self.of[a], self.of[b]
        if one == other:
            return True
        if self._has[one] & self._has[other]:
            return False
        if len(self._members[one]) < len(self._members[other]):
            one, other = other, one
        for peak in self._members[other]:
            self.of[peak] = one
        self._members[one] += self._members[other]
        self._has[one] |= self._has[other]
        self._beside[one] |= self._beside[other]
        return True


def join_limbs(bodies: Bodies, limbs: Limbs) -> None:
    """Joins peaks by limbs, in the order of the skeleton and the best first (Cao et al. 2017).

    A peak begins or ends one limb of a number at most. What would give a body a second joint of a kind is no limb:
    those that close a circle, such as from shoulder to ear, join what is apart and take nothing from anybody.
    """
    taken = set[tuple[int, int, int]]()
    for number, (start, end) in zip(limbs.numbers.tolist(), limbs.ends.tolist(), strict=True):
        ends = (number, 0, start), (number, 1, end)
        if taken.isdisjoint(ends) and bodies.join(start, end):
            taken.update(ends)
