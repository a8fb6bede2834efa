"""Heatmaps and part affinity fields -> people. NumPy alone: it is served without torch, too."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float32

from common.errors import UserError
from projects.pose.decode.assembly import Bodies, join_limbs
from projects.pose.decode.bridges import join_across
from projects.pose.decode.limbs import LimbRules, find_limbs
from projects.pose.decode.peaks import Peaks, find_peaks
from projects.pose.people import People, nobody
from projects.pose.skeleton import Skeleton

_RANGES = {
    "threshold": (0.0, 1.0), "paf_threshold": (0.0, 1.0), "samples": (2, 100), "agreeing": (0.0, 1.0),
    "longest": (0.01, 10.0), "min_joints": (1, 1000), "min_score": (0.0, 1.0), "most_peaks": (1, 128),
}  # fmt: skip

_LARGEST = 1e6
"""Magnitude from which on a value is taken for damage, as one that is not finite."""


@dataclass(frozen=True)
class Decoder:
    """How maps become people (Cao et al. 2017): peaks, limbs between them, bodies of limbs.

    A body's score is the mean over all joints of the skeleton of the heatmaps' values at its joints, 0 for those not
    found: of two people who are seen as surely the more complete one goes first, and fragments come last.

    Args:
        threshold: smallest value of a heatmap at a joint.
        paf_threshold: smallest component of a field along a limb that counts as agreeing.
        samples: of a field along a limb.
        agreeing: share of the samples that must agree.
        longest: length of a limb, as a share of the maps' larger side, from which on it loses score.
        across: join parts between which the skeleton has no limb, where they are near: a wrist whose elbow is hidden.
        min_joints: people with fewer are dropped.
        min_score: people with less are dropped.
        most_peaks: of a joint, the highest; bounds the time that maps of noise take.

    Raises:
        UserError: a value is out of its range.
    """

    threshold: float = 0.1
    paf_threshold: float = 0.05
    samples: int = 10
    agreeing: float = 0.8
    longest: float = 0.5
    across: bool = True
    min_joints: int = 3
    min_score: float = 0.0
    most_peaks: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _RANGES.get(field.name, (False, True))
            kinds = (int, float) if field.type is float else (field.type,)
            if type(value) not in kinds or not low <= value <= high:
                kind = "a number" if field.type is float else "a whole number" if field.type is int else "a bool"
                raise UserError(f"decoder.{field.name}: found {value!r}; expected {kind} from {low} to {high}")

    def __call__(
        self,
        heat: Float[np.ndarray, "maps rows columns"],
        paf: Float[np.ndarray, "fields height width"],
        skeleton: Skeleton,
    ) -> People:
        """People in cells, best first.

        A value of either map that is not finite, or is 10^6 or more, says nothing: it is read as 0.

        Args:
            heat: of each joint of the skeleton; a background behind them is not looked at.
            paf: x and y of each limb in turn.
            skeleton: that of the maps.

        Raises:
            UserError: the maps are not the skeleton's, or differ in size.
        """
        _check(heat, paf, skeleton)
        heat, paf = _cleaned(heat[: len(skeleton.joints)]), _cleaned(paf)
        peaks = find_peaks(heat, threshold=self.threshold, most=self.most_peaks)
        rules = LimbRules(self.samples, self.paf_threshold, self.agreeing, self.longest)
        limbs = find_limbs(paf, peaks, skeleton.limb_joints, rules)
        bodies = Bodies(peaks.joints, skeleton.limb_joints)
        join_limbs(bodies, limbs)
        if self.across:
            join_across(bodies, peaks, limbs, skeleton.limb_joints)
        return self._people(bodies, peaks, len(skeleton.joints))

    def _people(self, bodies: Bodies, peaks: Peaks, joints: int) -> People:
        if not bodies.of:
            return nobody(joints)
        _, person = np.unique(np.array(bodies.of), return_inverse=True)
        points = np.zeros((person.max() + 1, joints, 2), np.float32)
        scores = np.zeros(points.shape[:2], np.float32)
        points[person, peaks.joints], scores[person, peaks.joints] = peaks.points_xy, peaks.scores
        score = scores.mean(axis=1)
        order = np.argsort(-score, kind="stable")
        enough = ((scores > 0).sum(axis=1) >= self.min_joints) & (score >= self.min_score)
        kept = order[enough[order]]
        return People(points[kept], scores[kept], score[kept])


def _check(heat: np.ndarray, paf: np.ndarray, skeleton: Skeleton) -> None:
    joints, fields = len(skeleton.joints), skeleton.paf_channels
    if len(heat) not in (joints, joints + 1) or len(paf) != fields or heat.shape[1:] != paf.shape[1:]:
        raise UserError(
            f"maps: found {heat.shape} heatmaps and {paf.shape} fields; expected {joints} or {joints + 1} and {fields} "
            f"of one size for the skeleton {skeleton.name!r}: take the one that the network was trained with"
        )


def _cleaned(maps: Float[np.ndarray, "maps rows columns"]) -> Float32[np.ndarray, "maps rows columns"]:
    with np.errstate(over="ignore"):
        maps = np.ascontiguousarray(maps, dtype=np.float32)
    if maps.min(initial=0) > -_LARGEST and maps.max(initial=0) < _LARGEST:
        return maps
    return np.where(np.abs(maps) < _LARGEST, maps, np.float32(0))
