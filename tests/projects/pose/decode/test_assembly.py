"""Bodies from limbs: who is joined, who is not, and who is joined although no limb could."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.decode.assembly import Bodies, join_limbs
from projects.pose.decode.bridges import join_across
from projects.pose.decode.limbs import Limbs
from projects.pose.decode.peaks import Peaks
from projects.pose.skeleton import COCO

CHAIN = np.array([[0, 1], [1, 2], [2, 3]])


def _bodies(joints: list[int], limb_joints: np.ndarray = CHAIN) -> Bodies:
    return Bodies(np.array(joints, np.int64), limb_joints)


def _limbs(*limbs: tuple[int, int, int]) -> Limbs:
    """Of (number, first peak, second peak)."""
    rows = np.array(limbs, np.int64).reshape(-1, 3)
    return Limbs(rows[:, 0], rows[:, 1:], np.ones(len(rows), np.float32))


def _groups(bodies: Bodies) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for peak, group in enumerate(bodies.of):
        groups.setdefault(group, []).append(peak)
    return sorted(groups.values())


def test_each_peak_is_in_one_limb_of_a_kind_the_best_first() -> None:
    bodies = _bodies([0, 0, 1, 1])
    join_limbs(bodies, _limbs((0, 0, 3), (0, 0, 2), (0, 1, 3), (0, 1, 2)))
    assert _groups(bodies) == [[0, 3], [1, 2]]


def test_limbs_join_bodies_without_a_joint_in_common() -> None:
    bodies = _bodies([0, 1, 2, 3])
    join_limbs(bodies, _limbs((0, 0, 1), (2, 2, 3), (1, 1, 2)))
    assert _groups(bodies) == [[0, 1, 2, 3]]


def test_a_limb_that_closes_a_circle_takes_nothing_from_anybody() -> None:
    """Two bodies 0-1 and a limb 0-2, 1-2: the first has its 2, and the second is offered that of the first."""
    circle = np.array([[0, 1], [0, 2], [1, 2]])
    bodies = _bodies([0, 0, 1, 1, 2], circle)
    join_limbs(bodies, _limbs((0, 0, 2), (0, 1, 3), (1, 0, 4), (2, 3, 4)))
    assert _groups(bodies) == [[0, 2, 4], [1, 3]]


def test_a_refused_limb_leaves_its_peaks_to_others() -> None:
    circle = np.array([[0, 1], [0, 2], [1, 2]])
    bodies = _bodies([0, 1, 1, 2, 2], circle)
    join_limbs(bodies, _limbs((0, 0, 1), (1, 0, 3), (2, 1, 4), (2, 2, 4), (2, 1, 3)))
    assert _groups(bodies) == [[0, 1, 3], [2, 4]]


@settings(deadline=None)
@given(joints=st.lists(st.integers(0, 5), max_size=25), seed=st.integers(0, 999))
def test_no_body_has_a_joint_twice_and_every_peak_is_in_one_body(joints: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [0, 5]])
    peaks = Peaks(
        rng.uniform(0, 9, (len(joints), 2)).astype(np.float32),
        np.ones(len(joints), np.float32),
        np.sort(np.array(joints, np.int64)),
    )
    lines = [
        (number, a, b)
        for number, (start, end) in enumerate(ends.tolist())
        for a in np.flatnonzero(peaks.joints == start)
        for b in np.flatnonzero(peaks.joints == end)
        if rng.random() < 0.5
    ]
    bodies = Bodies(peaks.joints, ends)
    join_limbs(bodies, _limbs(*lines))
    before = _groups(bodies)
    if joints:
        join_across(bodies, peaks, _limbs(*lines), ends)
    for group in _groups(bodies):
        assert len(set(peaks.joints[group])) == len(group)
    assert sorted(peak for group in _groups(bodies) for peak in group) == list(range(len(joints)))
    assert all(any(set(part) <= set(group) for group in _groups(bodies)) for part in before)


def _across(places: dict[str, tuple[float, float]], limbs: list[tuple[str, str]]) -> list[set[str]]:
    """Groups of COCO's joints at places, where some limbs were found."""
    names = sorted(places, key=COCO.joints.index)
    joints = np.array([COCO.joints.index(name) for name in names], np.int64)
    points = np.array([places[name] for name in names], np.float32)
    peaks = Peaks(points, np.ones(len(names), np.float32), joints)
    found = _limbs(*((list(COCO.limbs).index(limb), *map(names.index, limb)) for limb in limbs))
    bodies = Bodies(joints, COCO.limb_joints)
    join_limbs(bodies, found)
    join_across(bodies, peaks, found, COCO.limb_joints)
    return [{names[peak] for peak in group} for group in _groups(bodies)]


SHOULDERS = {"neck": (0.0, 0.0), "left_shoulder": (4.0, 0.0), "right_shoulder": (-4.0, 0.0)}
GIRDLE = [("neck", "left_shoulder"), ("neck", "right_shoulder")]


def test_a_wrist_whose_elbow_is_hidden_goes_to_its_body_within_limbs() -> None:
    """Of length 4, and there are four of them from the other shoulder: 16 from (-4, 0) is (4, 13.86)."""
    assert _across(SHOULDERS | {"left_wrist": (4, 13.8)}, GIRDLE) == [{*SHOULDERS, "left_wrist"}]
    assert _across(SHOULDERS | {"left_wrist": (4, 13.9)}, GIRDLE) == [set(SHOULDERS), {"left_wrist"}]


def test_where_there_is_a_limb_its_field_has_said_no() -> None:
    assert _across(SHOULDERS | {"left_elbow": (4, 2)}, GIRDLE) == [set(SHOULDERS), {"left_elbow"}]
    both = SHOULDERS | {"left_elbow": (4, 3), "left_wrist": (4, 4)}
    joined = [*GIRDLE, ("left_shoulder", "left_elbow")]
    assert _across(both, joined) == [{*SHOULDERS, "left_elbow"}, {"left_wrist"}]


def test_parts_without_a_neck_gather() -> None:
    places = {
        "left_shoulder": (0.0, 0.0), "left_elbow": (0.0, 3.0), "left_wrist": (0.0, 6.0), "left_hip": (0.0, 5.0),
        "left_knee": (0.0, 9.0), "right_knee": (-2.0, 9.0), "right_ankle": (-2.0, 13.0),
    }  # fmt: skip
    limbs = [("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")]
    limbs += [("left_hip", "left_knee"), ("right_knee", "right_ankle")]
    assert _across(places, limbs) == [set(places)]


def test_lone_peaks_and_pairs_gather_nothing() -> None:
    places = {"left_elbow": (0.0, 0.0), "left_wrist": (0.0, 3.0), "left_hip": (1.0, 0.0), "nose": (1.0, 1.0)}
    assert len(_across(places, [("left_elbow", "left_wrist")])) == 3
