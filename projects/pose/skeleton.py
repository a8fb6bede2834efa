"""The one definition of a body: its keypoints, what joins them, and all that follows from the names.

Whoever has other keypoints writes another `Skeleton`, here or in a YAML file; nothing else names a joint.
"""

import colorsys
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float, Int64, UInt8

from common.data.text import read_text
from common.errors import UserError

_SIDES = ("right_", "left_")
_HUES = {"": (0.15, 0.45), "right_": (0.95, 1.15), "left_": (0.5, 0.75)}  # yellow to green, red to orange, blue


@dataclass(frozen=True)
class Skeleton:
    """Keypoints and the limbs between them.

    A name that begins with `right_` or `left_` has its mirror image under the other word; the others lie on the axis
    of the body. Joints, the channels of heatmaps, are ordered centre, right, left, each in the order given.
    Part affinity fields have two channels per limb, x then y, in the order of the limbs.

    Args:
        name: of the skeleton.
        keypoints: names in the order of the annotation files.
        sigmas: of each keypoint in the object keypoint similarity: its annotators' deviation, as a share of the square
            root of a person's area (COCO's are published with its evaluation code).
        limbs: pairs of joint names, from the root outwards, in the order in which people are put together.
        midpoints: joints that no file has, by name: halfway between two keypoints, where both are labelled.
        category: id of the annotations' category.

    Raises:
        UserError: a name is missing or doubled, or a limb has no mirror image.
    """

    name: str
    keypoints: Sequence[str]
    sigmas: Sequence[float]
    limbs: Sequence[tuple[str, str]]
    midpoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    category: int = 1

    def __post_init__(self) -> None:
        every = [*self.keypoints, *self.midpoints]
        self._require(bool(every) and len(set(every)) == len(every), "keypoints", every, "different names")
        self._require(len(self.sigmas) == len(self.keypoints), "sigmas", len(self.sigmas), f"{len(self.keypoints)}")
        usual = all(0 < sigma < math.inf for sigma in self.sigmas)
        self._require(usual, "sigmas", list(self.sigmas), "numbers above 0")
        for limb in self.limbs:
            self._require(
                _are_two_of(limb, every), "limbs", list(limb), "two different names of keypoints or midpoints"
            )
        for ends in self.midpoints.values():
            self._require(_are_two_of(ends, self.keypoints), "midpoints", list(ends), "two different keypoints")
        self._require(len(self.limbs) > 0, "limbs", 0, "one or more")
        for joint in every:
            self._require(_mirrored(joint) in every, "keypoints", joint, f"{_mirrored(joint)} as well")
        for joint, ends in self.midpoints.items():
            others = sorted(map(_mirrored, ends))
            found = sorted(self.midpoints.get(_mirrored(joint), ()))
            expected = f"{_mirrored(joint)} between {' and '.join(others)}, its mirror image"
            self._require(found == others, "midpoints", f"{joint} between {' and '.join(ends)}", expected)
        pairs = [tuple(limb) for limb in self.limbs]
        for a, b in pairs:
            other = _mirrored(a), _mirrored(b)
            self._require(other in pairs and pairs.count((a, b)) == 1, "limbs", [a, b], f"{list(other)} as well, once")

    def _require(self, fulfilled: bool, key: str, found: object, expected: str) -> None:
        if not fulfilled:
            raise UserError(f"skeleton {self.name!r}: {key}: found {found}; expected {expected}")

    @cached_property
    def joints(self) -> tuple[str, ...]:
        """Names of the heatmaps' channels but the last, which is the background's."""
        every = [*self.keypoints, *self.midpoints]
        return tuple(joint for side in ("", *_SIDES) for joint in every if _side(joint) == side)

    @cached_property
    def limb_joints(self) -> Int64[np.ndarray, "limbs 2"]:
        """Numbers of the joints that each limb runs from and to."""
        return np.array([[self.joints.index(end) for end in limb] for limb in self.limbs], dtype=np.int64)

    @property
    def heat_channels(self) -> int:
        """One per joint, and the background."""
        return len(self.joints) + 1

    @property
    def paf_channels(self) -> int:
        """x and y of each limb."""
        return 2 * len(self.limbs)

    @cached_property
    def joint_of_keypoint(self) -> Int64[np.ndarray, " keypoints"]:
        """Joint number of each keypoint of the files: `joints[:, joint_of_keypoint]` is in the files' order."""
        return np.array([self.joints.index(keypoint) for keypoint in self.keypoints], dtype=np.int64)

    @cached_property
    def mirrored_joints(self) -> Int64[np.ndarray, " joints"]:
        """Number of each joint's mirror image; its own inverse."""
        return np.array([self.joints.index(_mirrored(joint)) for joint in self.joints], dtype=np.int64)

    @cached_property
    def mirrored_heat(self) -> Int64[np.ndarray, " channels"]:
        """Channel that each heatmap comes from in a mirrored picture."""
        return np.append(self.mirrored_joints, len(self.joints))

    @cached_property
    def mirrored_paf(self) -> Int64[np.ndarray, " channels"]:
        """Channel that each part affinity field comes from in a mirrored picture; x then changes its sign."""
        pairs = [tuple(limb) for limb in self.limbs]
        limbs = np.array([pairs.index((_mirrored(a), _mirrored(b))) for a, b in pairs], dtype=np.int64)
        return (2 * limbs[:, None] + np.arange(2)).ravel()

    @cached_property
    def mirrored_paf_sign(self) -> Float[np.ndarray, " channels"]:
        """-1 for x, 1 for y, float32."""
        return np.tile(np.array([-1, 1], dtype=np.float32), len(self.limbs))

    @cached_property
    def joint_colours(self) -> UInt8[np.ndarray, "joints 3"]:
        """RGB of each joint: warm on the right, cold on the left."""
        return np.array([_colour(joint, self.joints) for joint in self.joints], dtype=np.uint8)

    @cached_property
    def limb_colours(self) -> UInt8[np.ndarray, "limbs 3"]:
        """RGB of each limb: that of its outer joint."""
        return self.joint_colours[self.limb_joints[:, 1]]

    def with_midpoints(
        self, points_xy: Float[np.ndarray, "people keypoints 2"], visibility: UInt8[np.ndarray, "people keypoints"]
    ) -> tuple[Float[np.ndarray, "people joints 2"], UInt8[np.ndarray, "people joints"]]:
        """Keypoints in the order of the files -> joints in the order of the channels.

        A midpoint is labelled where both of its ends are, and visible where both are. Unlabelled joints are (0, 0).

        Args:
            points_xy: in any unit.
            visibility: 0 not labelled, 1 hidden, 2 visible.
        """
        number = {name: place for place, name in enumerate(self.keypoints)}
        points = {name: points_xy[:, place] for name, place in number.items()}
        seen = {name: visibility[:, place] for name, place in number.items()}
        for name, (a, b) in self.midpoints.items():
            points[name], seen[name] = (points[a] + points[b]) / 2, np.minimum(seen[a], seen[b])
        joints = np.stack([points[joint] for joint in self.joints], axis=1)
        labels = np.stack([seen[joint] for joint in self.joints], axis=1)
        return np.where(labels[..., None] > 0, joints, 0).astype(points_xy.dtype), labels

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a file has them."""
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "sigmas": [float(sigma) for sigma in self.sigmas],
            "limbs": [list(limb) for limb in self.limbs],
            "midpoints": {name: list(ends) for name, ends in self.midpoints.items()},
            "category": self.category,
        }


def _are_two_of(pair: Sequence[str], names: Sequence[str]) -> bool:
    return len(pair) == len(set(pair)) == 2 and set(pair) <= set(names)


def _side(joint: str) -> str:
    return next((side for side in _SIDES if joint.startswith(side)), "")


def _mirrored(joint: str) -> str:
    side = _side(joint)
    return {"": "", "right_": "left_", "left_": "right_"}[side] + joint.removeprefix(side)


def _colour(joint: str, joints: Sequence[str]) -> tuple[int, int, int]:
    alike = [other for other in joints if _side(other) == _side(joint)]
    first, last = _HUES[_side(joint)]
    hue = first + (last - first) * alike.index(joint) / max(len(alike) - 1, 1)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


COCO = Skeleton(
    name="coco",
    keypoints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
        0.089,
    ),
    limbs=(
        ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("neck", "left_hip"),
        ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("neck", "nose"), ("nose", "right_eye"),
        ("right_eye", "right_ear"), ("nose", "left_eye"), ("left_eye", "left_ear"), ("right_shoulder", "right_ear"),
        ("left_shoulder", "left_ear"),
    ),
    midpoints={"neck": ("left_shoulder", "right_shoulder")},
)  # fmt: skip
"""COCO's 17 keypoints (Lin et al. 2014) and the neck; the limbs are OpenPose's (Cao et al. 2017), from the neck on."""

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO,)}


def find_skeleton(name: str) -> Skeleton:
    """A skeleton by its name, or from a YAML file with the arguments of `Skeleton` as keys.

    Raises:
        UserError: there is no such name or file, or it describes no skeleton.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(f"skeleton: found {name!r}; expected {', '.join(SKELETONS)} or the path of a YAML file")
    try:
        described = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    return skeleton_of(described, path)


def _words(values: Any) -> tuple[str, ...]:
    """Names as they are: anything else is not shown, as lists of lists of lists in a file may spell out for ever."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise TypeError("expected lists of words as names")
    return tuple(values)


def skeleton_of(described: Any, source: Path) -> Skeleton:
    """A skeleton from the plain values of `Skeleton.as_dict`; errors name `source`.

    Raises:
        UserError: a key is missing, not known, or of another kind.
    """
    known = {one.name for one in fields(Skeleton)}
    needed = {"name", "keypoints", "sigmas", "limbs"}
    if not isinstance(described, dict) or not needed <= set(described) <= known:
        found = sorted(map(str, described)) if isinstance(described, dict) else type(described).__name__
        raise UserError(f"{source}: no skeleton: found {found}; expected {sorted(needed)}, perhaps midpoints, category")
    try:
        midpoints = dict(described.get("midpoints", {}))
        return Skeleton(
            name=_words([described["name"]])[0],
            keypoints=_words(described["keypoints"]),
            sigmas=tuple(map(float, described["sigmas"])),
            limbs=tuple(map(_words, described["limbs"])),  # type: ignore[arg-type] # lengths are checked
            midpoints=dict(zip(_words([*midpoints]), map(_words, midpoints.values()), strict=True)),  # type: ignore[arg-type]
            category=operator.index(described.get("category", 1)),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{source}: no skeleton: {error}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
