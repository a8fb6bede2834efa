"""What people do, as angles of their joints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

Range = tuple[float | int, float | int]


@dataclass(frozen=True)
class ArmPose:
    """Angles of an arm, degrees.

    Attributes:
        raised: of the upper arm: 0 along the trunk, 90 level, 180 up.
        forward: direction in which it is raised: 0 to its own side, 90 forward.
        bend: of the elbow, 0 straight.
        fold: where the forearm bends to: out, up and forward.
    """

    raised: float
    forward: float
    bend: float
    fold: tuple[float, float, float]


@dataclass(frozen=True)
class LegPose:
    """Angles of a leg, degrees.

    Attributes:
        flex: of the hip, forward.
        spread: to its own side.
        bend: of the knee, backward.
    """

    flex: float
    spread: float
    bend: float


@dataclass(frozen=True)
class Pose:
    """All angles of a body, degrees.

    Attributes:
        action: what it does.
        arms: left, right.
        legs: left, right.
        bend: of the trunk, forward.
        lean: of the trunk, to its right.
        twist: of the trunk against the hips, to its left.
        roll: of the whole body, to its right.
        nod: of the head, forward, against the trunk.
        look: of the head, to its left.
    """

    action: str
    arms: tuple[ArmPose, ArmPose]
    legs: tuple[LegPose, LegPose]
    bend: float
    lean: float
    twist: float
    roll: float
    nod: float
    look: float


_Arm = tuple[Range, Range, Range, tuple[float | int, float | int, float | int]]
ARMS: Mapping[str, _Arm] = MappingProxyType(
    {
        "down": ((4, 18), (-40, 50), (3, 30), (0, 0, 1)),
        "ahead": ((18, 45), (75, 100), (10, 60), (-0.1, 0, 1)),
        "behind": ((12, 40), (-105, -75), (5, 45), (0, 0, 1)),
        "pumping": ((5, 45), (70, 100), (75, 105), (-0.2, 0.2, 1)),
        "pumping back": ((25, 60), (-100, -70), (75, 105), (0, -0.3, 1)),
        "up": ((148, 178), (0, 50), (0, 45), (-0.6, 0.5, 0.3)),
        "waving": ((70, 125), (-15, 35), (45, 125), (-0.2, 1, 0.1)),
        "out": ((65, 105), (-15, 25), (0, 30), (0, 0.4, 0.6)),
        "on hip": ((35, 52), (-35, -5), (85, 110), (-1, -0.3, 0.3)),
        "reaching": ((60, 105), (55, 95), (0, 45), (-0.4, 0.6, 0)),
        "crossed": ((18, 35), (45, 80), (95, 118), (-1, 0.1, 0.45)),
        "at ear": ((20, 60), (10, 70), (128, 145), (-0.3, 1, 0.3)),
        "on lap": ((18, 40), (65, 95), (25, 65), (-0.35, 0.1, 1)),
    }
)
_Leg = tuple[Range, Range, Range]
LEGS: Mapping[str, _Leg] = MappingProxyType(
    {
        "straight": ((-4, 6), (1, 7), (0, 8)),
        "resting": ((4, 18), (3, 12), (8, 30)),
        "wide": ((-4, 8), (12, 24), (0, 10)),
        "ahead": ((14, 34), (0, 5), (2, 22)),
        "behind": ((-24, -8), (0, 5), (8, 45)),
        "lifted": ((40, 80), (0, 12), (50, 110)),
        "kicking": ((-35, -10), (0, 8), (60, 110)),
        "seated": ((75, 95), (2, 22), (70, 100)),
        "squatting": ((85, 115), (8, 30), (100, 135)),
    }
)


@dataclass(frozen=True)
class Action:
    """What somebody may do: pairs of arms and of legs to choose from, and how far the trunk bends."""

    weight: float
    arms: Sequence[tuple[str, str]]
    legs: Sequence[tuple[str, str]]
    bend: Range = (-4, 10)
    lean: Range = (-5, 5)
    roll: Range = (-3, 3)


_IDLE = ("down", "down", "down", "on hip", "at ear", "reaching", "waving", "on lap")
_ANY = [(a, b) for a in _IDLE for b in _IDLE]
_FIRM = [("straight", "straight"), ("wide", "wide")]
_SAT = [("on lap", "on lap"), ("on lap", "at ear"), ("reaching", "on lap"), ("crossed", "crossed")]
_UP = [("up", "up"), ("up", "up"), ("up", "waving")]
_REACH = [("reaching", "reaching"), ("reaching", "on hip"), ("reaching", "on lap")]
ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "standing": Action(0.38, [*_ANY, *6 * [("crossed", "crossed")]], [_FIRM[0], ("straight", "resting")]),
        "posing": Action(0.12, [*_ANY, ("out", "out"), ("on hip", "on hip")], [("wide", "wide")], lean=(-12, 12)),
        "walking": Action(0.2, [("behind", "ahead"), ("behind", "ahead"), ("down", "ahead")], [("ahead", "behind")]),
        "running": Action(0.04, [("pumping back", "pumping")], [("lifted", "kicking"), ("lifted", "behind")], (5, 22)),
        "cheering": Action(0.1, _UP, _FIRM),
        "grasping": Action(0.06, [("reaching", "reaching"), ("up", "down"), ("out", "down")], _FIRM, (0, 20)),
        "sitting": Action(0.05, _SAT, [("seated", "seated")], (-8, 20)),
        "squatting": Action(0.01, _REACH, [("squatting", "squatting")], (15, 45)),
        "bending": Action(0.02, _REACH, _FIRM, (35, 80)),
        "balancing": Action(0.02, [("out", "out"), ("up", "up")], [("straight", "lifted")], lean=(-8, 8)),
    }
)


def random_pose(rng: np.random.Generator, *, calm: bool = False) -> Pose:
    """Draws an action and its angles; `calm` leaves out what needs room."""
    names = ["standing", "walking"] if calm else list(ACTIONS)
    weights = np.array([ACTIONS[name].weight for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    action = ACTIONS[name]
    arms = [_arm(rng, kind) for kind in action.arms[int(rng.integers(len(action.arms)))]]
    legs = [_leg(rng, kind) for kind in action.legs[int(rng.integers(len(action.legs)))]]
    if rng.random() < 0.5:
        arms, legs = arms[::-1], legs[::-1]
    bend = float(rng.uniform(*action.bend))
    return Pose(
        name,
        (arms[0], arms[1]),
        (legs[0], legs[1]),
        bend,
        lean=float(rng.uniform(*action.lean)),
        twist=float(rng.normal(0, 8)),
        roll=float(rng.uniform(*action.roll)),
        nod=float(rng.normal(4, 9)) - 0.5 * bend,
        look=float(np.clip(rng.normal(0, 24), -65, 65)),
    )


def _arm(rng: np.random.Generator, kind: str) -> ArmPose:
    raised, forward, bend, fold = ARMS[kind]
    out, up, ahead = (float(part) for part in np.array(fold) + rng.normal(0, 0.12, 3))
    return ArmPose(
        float(rng.uniform(*raised)), float(rng.uniform(*forward)), float(rng.uniform(*bend)), (out, up, ahead)
    )


def _leg(rng: np.random.Generator, kind: str) -> LegPose:
    flex, spread, bend = LEGS[kind]
    return LegPose(float(rng.uniform(*flex)), float(rng.uniform(*spread)), float(rng.uniform(*bend)))
