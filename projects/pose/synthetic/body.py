"""Bodies: their proportions, and their joints in space by forward kinematics.

Space is the viewer's: x right, y down, z away, in metres. A body's own axes are left, up, forward, in that order.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from projects.pose.synthetic.poses import ArmPose, LegPose, Pose

Vector = Float[np.ndarray, " 3"]
Axes = Float[np.ndarray, "3 3"]
FACING_VIEWER: Axes = np.diag([1.0, -1.0, -1.0])  # left is on the viewer's right

# Shares of stature: adults after Drillis and Contini (1966), small children after Snyder et al. (1977), rounded.
_ADULT = {"torso": 0.285, "neck": 0.117, "shoulder": 0.112, "hip": 0.056, "upper_arm": 0.180, "forearm": 0.146,
          "hand": 0.095, "thigh": 0.245, "shank": 0.246, "foot": 0.120, "head": 0.066}  # fmt: skip
_CHILD = {"torso": 0.300, "neck": 0.138, "shoulder": 0.108, "hip": 0.055, "upper_arm": 0.170, "forearm": 0.136,
          "hand": 0.090, "thigh": 0.205, "shank": 0.210, "foot": 0.118, "head": 0.090}  # fmt: skip


@dataclass(frozen=True)
class Build:
    """Proportions of somebody.

    Attributes:
        stature: metres.
        girth: of limbs and trunk, 1 is usual.
        belly: of the waist beyond that.
        shares: lengths as shares of the stature: of bones; from the axis to shoulder and hip; half the head's height;
            from the shoulders' middle to the head's ("neck").
    """

    stature: float
    girth: float
    belly: float
    shares: dict[str, float]

    def metres(self, name: str) -> float:
        """One of `shares` in metres."""
        return self.stature * self.shares[name]

    @property
    def head(self) -> tuple[float, float, float]:
        """Half axes of the head, metres: across, up, forward."""
        half = self.metres("head")
        return 0.74 * half, half, 0.88 * half


@dataclass(frozen=True)
class Body:
    """A body in space, its root (the hips' middle) at 0.

    Attributes:
        build: its proportions.
        pose: its angles.
        joints: keypoints by COCO's names; hips, chest and head (middles); left_hand, left_toe (ends), and right.
        trunk: own axes as columns, in the viewer's.
        head: the same of the head.
    """

    build: Build
    pose: Pose
    joints: dict[str, Vector]
    trunk: Axes
    head: Axes


def random_build(rng: np.random.Generator) -> Build:
    """Somebody of any age."""
    child = float(rng.uniform(0.4, 1)) if rng.random() < 0.18 else 0.0
    stature = rng.uniform(1.5, 1.95) if child == 0 else 1.65 - 0.6 * child + rng.normal(0, 0.04)
    even = rng.normal(1, 0.03, len(_ADULT))
    shares = {
        name: float(share * ((1 - child) * _ADULT[name] + child * _CHILD[name]))
        for name, share in zip(_ADULT, even, strict=True)
    }
    heavy = float(rng.uniform(0, 1) ** 2)
    return Build(float(stature), 0.9 + 0.35 * heavy + 0.08 * child, 1 + 0.3 * heavy * float(rng.random()), shares)


def pose_body(build: Build, pose: Pose, *, yaw: float, pitch: float) -> Body:
    """Joints of a body in a pose.

    Args:
        build: its proportions.
        pose: its angles.
        yaw: 0 faces the viewer, 90 to the viewer's right, 180 away; degrees.
        pitch: how far the viewer looks down, degrees.
    """
    hips = _tilted(pitch) @ FACING_VIEWER @ turned("up", yaw) @ turned("forward", pose.roll)
    trunk = hips @ turned("up", pose.twist) @ turned("left", pose.bend) @ turned("forward", pose.lean)
    head = trunk @ turned("up", pose.look) @ turned("left", pose.nod)
    chest = trunk @ np.array([0, build.metres("torso"), 0])
    middle = chest + build.metres("neck") * (0.55 * trunk[:, 1] + 0.45 * head[:, 1] + 0.12 * head[:, 2])
    joints = {"hips": np.zeros(3), "chest": chest, "head": middle}
    for side, sign, arm, leg in zip(("left", "right"), (1.0, -1.0), pose.arms, pose.legs, strict=True):
        flip = np.array([sign, 1.0, 1.0])
        for name, point in _arm(build, arm).items():
            joints[f"{side}_{name}"] = chest + trunk @ (flip * point)
        for name, point in _leg(build, leg).items():
            joints[f"{side}_{name}"] = hips @ (flip * point)
    for name, place in FACE.items():
        joints[name] = middle + head @ (np.array(build.head) * place)
    return Body(build, pose, joints, trunk, head)


FACE: dict[str, tuple[float, float, float]] = {
    "nose": (0.0, -0.14, 1.1),
    "left_eye": (0.36, 0.1, 0.93),
    "right_eye": (-0.36, 0.1, 0.93),
    "left_ear": (1.0, 0.0, -0.08),
    "right_ear": (-1.0, 0.0, -0.08),
}
"""Places on the head in its own axes, 1 on its surface."""


def turned(axis: str, degrees: float) -> Axes:
    """Right-handed rotation around one of a body's own axes."""
    first = (("left", "up", "forward").index(axis) + 1) % 3
    second = (first + 1) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[second, first], matrix[first, second] = sine, -sine
    return matrix


def _tilted(degrees: float) -> Axes:
    """The viewer looks down: what is up comes nearer. The viewer's x axis turns as a body's left one."""
    return turned("left", degrees)


def _arm(build: Build, arm: ArmPose) -> dict[str, Vector]:
    """Points of a left arm from the chest, in the trunk's axes."""
    raised, forward = np.radians([arm.raised, arm.forward])
    sideways = np.array([np.cos(forward), 0, np.sin(forward)])
    upper = np.sin(raised) * sideways - np.cos(raised) * np.array([0, 1, 0])
    lifted = 0.3 * build.metres("shoulder") * (1 - np.cos(raised)) / 2  # the shoulder goes up with the arm
    shoulder = np.array([build.metres("shoulder"), lifted, 0])
    lower = _bent(upper, np.array(arm.fold), arm.bend)
    elbow = shoulder + build.metres("upper_arm") * upper
    wrist = elbow + build.metres("forearm") * lower
    return {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": wrist + build.metres("hand") * lower}


def _leg(build: Build, leg: LegPose) -> dict[str, Vector]:
    """Points of a left leg from the hips, in their axes."""
    flex, spread = np.radians([leg.flex, leg.spread])
    thigh = np.array([np.sin(spread), -np.cos(flex) * np.cos(spread), np.sin(flex) * np.cos(spread)])
    shank = _bent(thigh, np.array([0, -np.sin(flex), -np.cos(flex)]), leg.bend)
    foot = _bent(shank, np.array([0.2, shank[2], -shank[1]]), 75.0)
    hip = np.array([build.metres("hip"), 0, 0])
    knee = hip + build.metres("thigh") * thigh
    ankle = knee + build.metres("shank") * shank
    return {"hip": hip, "knee": knee, "ankle": ankle, "toe": ankle + build.metres("foot") * foot}


def _bent(along: Vector, to: Vector, degrees: float) -> Vector:
    """`along`, of length 1, turned by an angle towards `to`."""
    across = to - (to @ along) * along
    length = float(np.linalg.norm(across))
    angle = np.radians(degrees) if length > 1e-6 else 0.0
    return np.asarray(np.cos(angle) * along + np.sin(angle) * across / max(length, 1e-6))
