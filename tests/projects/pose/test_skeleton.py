from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from common.errors import UserError
from projects.pose.skeleton import COCO, Skeleton, find_skeleton
from tests.projects.pose.scenes import FISH, FIVE


@pytest.fixture
def fish(tmp_path: Path) -> Skeleton:
    path = tmp_path / "fish.yaml"
    path.write_text(FIVE)
    return find_skeleton(str(path))


def test_coco_literal(real_data: Path) -> None:
    assert find_skeleton("coco") is COCO
    assert COCO.joints[:2] == ("nose", "neck") and len(COCO.joints) == 18
    sides = [joint.split("_")[0] for joint in COCO.joints]
    assert sides == ["nose", "neck"] + 8 * ["right"] + 8 * ["left"]
    assert (COCO.heat_channels, COCO.paf_channels, len(COCO.limbs)) == (19, 38, 19)
    assert COCO.limb_joints[0].tolist() == [1, COCO.joints.index("right_shoulder")]
    np.testing.assert_allclose(COCO.sigmas, Params(iouType="keypoints").kpt_oks_sigmas)
    file = yaml.safe_load((real_data / "pose" / "coco" / "test_coco.json").read_text())
    assert list(COCO.keypoints) == file["categories"][0]["keypoints"]


def test_five_points_from_a_file(fish: Skeleton) -> None:
    """Everything follows from the file."""
    assert fish.joints == ("tail", "mouth", "crest", "middle", "right_fin", "left_fin")
    assert (fish.heat_channels, fish.paf_channels, fish.category) == (7, 10, 3)
    assert fish.joint_of_keypoint.tolist() == [0, 5, 1, 4, 2]
    assert fish.mirrored_joints.tolist() == [0, 1, 2, 3, 5, 4]
    assert fish.mirrored_heat.tolist() == [0, 1, 2, 3, 5, 4, 6]
    assert fish.limb_joints.tolist() == [[3, 1], [3, 4], [3, 5], [3, 0], [1, 2]]
    assert fish.mirrored_paf.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9]
    assert fish.mirrored_paf_sign.tolist() == [-1, 1] * 5
    assert fish.joint_colours.shape == (6, 3) and fish.limb_colours.shape == (5, 3)
    assert len({tuple(colour) for colour in fish.joint_colours.tolist()}) == 6


def test_midpoints_where_both_ends_are_labelled(fish: Skeleton) -> None:
    points = np.array([[[0, 0], [4, 8], [2, 2], [10, 2], [1, 1]]] * 3, np.float32)
    visibility = np.array([[2, 2, 2, 1, 0], [2, 0, 2, 2, 2], [0, 0, 0, 0, 0]], np.uint8)
    joints, labelled = fish.with_midpoints(points, visibility)
    assert joints.dtype == np.float32 and labelled.dtype == np.uint8
    assert joints[0].tolist() == [[0, 0], [2, 2], [0, 0], [7, 5], [10, 2], [4, 8]]
    assert labelled.tolist() == [[2, 2, 0, 1, 1, 2], [2, 2, 2, 0, 2, 0], [0] * 6]
    assert joints[1, [3, 5]].tolist() == [[0, 0], [0, 0]] and not joints[2].any()
    none, nothing = fish.with_midpoints(points[:0], visibility[:0])
    assert none.shape == (0, 6, 2) and nothing.shape == (0, 6)


@pytest.mark.parametrize("name", ["coco", "fish"])
def test_mirrored_twice_is_the_same(name: str, fish: Skeleton) -> None:
    skeleton = COCO if name == "coco" else fish
    for order in (skeleton.mirrored_joints, skeleton.mirrored_heat, skeleton.mirrored_paf):
        np.testing.assert_array_equal(order[order], np.arange(len(order)))
    sign = skeleton.mirrored_paf_sign
    np.testing.assert_array_equal(sign * sign[skeleton.mirrored_paf], np.ones(skeleton.paf_channels))
    for joint, other in enumerate(skeleton.mirrored_joints):
        exchanged = skeleton.joints[joint].replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert skeleton.joints[other] == exchanged


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_the_field_of_a_mirrored_limb(seed: int) -> None:
    """Mirror the joints, then take each limb's direction; or take it and mirror the channels."""
    points = np.random.default_rng(seed).normal(size=(len(COCO.joints), 2))
    mirrored = (points * [-1, 1])[COCO.mirrored_joints]

    def field(joints: np.ndarray) -> np.ndarray:
        return (joints[COCO.limb_joints[:, 1]] - joints[COCO.limb_joints[:, 0]]).ravel()

    expected = (field(points) * COCO.mirrored_paf_sign)[COCO.mirrored_paf]
    np.testing.assert_allclose(field(mirrored), expected)


@pytest.mark.parametrize("name", ["coco", "fish"])
def test_written_as_plain_values_and_read_again(name: str, fish: Skeleton, tmp_path: Path) -> None:
    skeleton = COCO if name == "coco" else fish
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(skeleton.as_dict()))
    again = find_skeleton(str(path))
    assert again.as_dict() == skeleton.as_dict() and again.joints == skeleton.joints
    np.testing.assert_array_equal(again.limb_joints, skeleton.limb_joints)


def changed(**others: Any) -> dict[str, Any]:
    return {**yaml.safe_load(FIVE), **others}


LEVELS = [f"&a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 7)]
BOMB = f"[{', '.join(['&a0 [x, x, x, x, x, x, x, x, x, x]', *LEVELS])}]"
"""A list of lists of lists: half a kilobyte in the file, and in memory, until somebody spells it out: 50 MB."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FISH, r"limbs: found \['mouth', 'right_eye'\]; expected two different names"),
        ("a: [", "not a YAML file"),
        ("!!python/object/apply:os.system ['touch owned']", "not a YAML file"),
        ("[" * 1_500, "not a YAML file"),
        ("&a [*a, *a]", "no skeleton: found list"),
        ("", "no skeleton: found NoneType"),
        ("5", "no skeleton: found int"),
        (f"name: fish\nkeypoints: {BOMB}\nsigmas: [1]\nlimbs: []", "expected lists of words"),
        (f"name: {BOMB}\nkeypoints: [a]\nsigmas: [1]\nlimbs: []", "expected lists of words"),
        (
            changed(colour="red"),
            r"no skeleton: found .*'colour'.*; expected \['keypoints', 'limbs', 'name', 'sigmas'\]",
        ),
        ({"name": "x"}, r"no skeleton: found \['name'\]"),
        (changed(name=None), "expected lists of words"),
        (changed(keypoints=None), "expected lists of words"),
        (changed(keypoints="abcde"), "expected lists of words"),
        (changed(keypoints=[1, 2, 3, 4, 5]), "expected lists of words"),
        (changed(keypoints=[], sigmas=[], midpoints={}), r"keypoints: found \[\]; expected different names"),
        (changed(keypoints=["tail"] * 5), r"keypoints: found .*; expected different names"),
        (
            changed(keypoints=["tail", "left_fin", "mouth", "right_fin", "left_eye"]),
            r"limbs: found \['mouth', 'crest'\]",
        ),
        (changed(keypoints=["tail", "left_fin", "mouth", "fin", "crest"], midpoints={}), "limbs: found"),
        (changed(sigmas=[0.1]), r"sigmas: found 1; expected 5"),
        (changed(sigmas=[0.1, 0.1, 0.1, 0.1, 0]), r"sigmas: .*numbers above 0"),
        (changed(sigmas=[0.1, 0.1, 0.1, 0.1, float("nan")]), r"sigmas: .*numbers above 0"),
        (changed(sigmas=[0.1, 0.1, 0.1, 0.1, float("inf")]), r"sigmas: .*numbers above 0"),
        (changed(sigmas=["a"] * 5), "no skeleton"),
        (changed(limbs=[]), "limbs: found 0; expected one or more"),
        (changed(limbs=[["tail"]]), "no skeleton"),
        (changed(limbs=[["tail", "mouth", "crest"]]), "no skeleton"),
        (changed(limbs=[["tail", "nose"]]), r"limbs: found \['tail', 'nose'\]; expected two different names"),
        (changed(limbs=[["tail", "tail"]]), r"limbs: found \['tail', 'tail'\]; expected two different names"),
        (changed(limbs=5), "no skeleton"),
        (changed(limbs=[5]), "expected lists of words"),
        (changed(limbs=["ab"]), "expected lists of words"),
        (
            changed(limbs=[["tail", "right_fin"]]),
            r"limbs: found \['tail', 'right_fin'\]; expected \['tail', 'left_fin'\]",
        ),
        (changed(limbs=[["tail", "mouth"]] * 2), "as well, once"),
        (changed(midpoints={"middle": ["tail", "nose"]}), r"midpoints: found \['tail', 'nose'\]"),
        (changed(midpoints={"middle": 5}), "expected lists of words"),
        (changed(midpoints=[1]), "no skeleton"),
        (changed(midpoints={"middle": ["right_fin", "tail"]}), "expected middle between left_fin and tail, its mirror"),
        (
            changed(midpoints={"middle": ["right_fin", "left_fin"], "left_hip": ["tail", "mouth"]}),
            r"keypoints: found left_hip; expected right_hip as well",
        ),
        (
            changed(midpoints={"heart": ["middle", "mouth"], "middle": ["right_fin", "left_fin"]}),
            r"midpoints: found \['middle', 'mouth'\]; expected two different keypoints",
        ),
        (changed(category="person"), "no skeleton"),
        (changed(category=1.5), "no skeleton"),
        (changed(category=None), "no skeleton"),
    ],
)
def test_files_that_describe_no_skeleton(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(UserError, match=message) as caught:
        find_skeleton(str(path))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_a_name_that_is_none() -> None:
    with pytest.raises(UserError, match=r"skeleton: found 'cocoa'; expected coco or the path of a YAML file"):
        find_skeleton("cocoa")
