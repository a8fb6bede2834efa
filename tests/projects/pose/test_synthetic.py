import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import coco as coco_file
from pycocotools import mask as coco_mask

from common.errors import UserError
from projects.pose import synthetic
from projects.pose.skeleton import COCO
from projects.pose.synthetic import BONES, scene, write_dataset
from projects.pose.synthetic.backdrop import rectangle
from projects.pose.synthetic.body import Body, Build, pose_body, random_build, turned
from projects.pose.synthetic.canvas import Ball, Canvas, Light, Tube, plain
from projects.pose.synthetic.figure import Figure, part_number
from projects.pose.synthetic.labels import HIDDEN, UNLABELLED, VISIBLE, Sight, annotate, outlines, polygons, run_lengths
from projects.pose.synthetic.noise import cut, noise_tile
from projects.pose.synthetic.outfit import random_outfit
from projects.pose.synthetic.photo import take
from projects.pose.synthetic.poses import ACTIONS, ArmPose, LegPose, Pose, random_pose
from projects.pose.synthetic.scene import Scene, random_scene

SIZE_HW = (96, 128)
SMALL: Mapping[str, int] = {"train": 5, "val": 1, "test": 1}
MANY, LARGE_HW = 8, (180, 240)
DOWN, LEVEL = ArmPose(0.0, 0.0, 0.0, (0.0, 0.0, 1.0)), ArmPose(90.0, 0.0, 0.0, (0.0, 0.0, 1.0))
STANDING = LegPose(0.0, 0.0, 0.0)
UPRIGHT = Pose(
    "standing", (DOWN, DOWN), (STANDING, STANDING), bend=0.0, lean=0.0, twist=0.0, roll=0.0, nod=0.0, look=0.0
)
FACE = ("nose", "left_eye", "right_eye")


def write(root: Path, images: Mapping[str, int] = SMALL, **more: int) -> None:
    write_dataset(root, images=images, size_hw=SIZE_HW, progress=False, **{"workers": 1, **more})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write(root)
    return root


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> coco_file.COCO:
    root = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "CROWD", 0.4)
        patch.setattr(scene, "DISTANT", 0.4)
        write_dataset(root, images={"train": MANY}, size_hw=LARGE_HW, workers=1, progress=False)
    return coco_file.COCO(str(root / "annotations" / "person_keypoints_train2017.json"))


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "CHUNK", 2)


def joints_of(annotation: dict[str, Any]) -> np.ndarray:
    return np.array(annotation["keypoints"]).reshape(17, 3)


def test_the_layout_is_that_of_coco(written: Path) -> None:
    pictures = {f"{split}2017/{i + 1:012}.jpg" for split, count in SMALL.items() for i in range(count)}
    lists = {f"annotations/person_keypoints_{split}2017.json" for split in SMALL}
    assert set(contents(written)) == pictures | lists | {"synthetic.json"}
    assert not list((written / "annotations").glob(".*"))
    for picture in sorted(pictures):
        with Image.open(written / picture) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SIZE_HW[::-1])
    for split, count in SMALL.items():
        found = json.loads((written / "annotations" / f"person_keypoints_{split}2017.json").read_text())
        assert found["images"] == [
            {"id": i, "file_name": f"{i:012}.jpg", "height": 96, "width": 128} for i in range(1, count + 1)
        ]
        (category,) = found["categories"]
        assert (category["id"], category["name"], category["keypoints"]) == (1, "person", list(COCO.keypoints))
        assert category["skeleton"] == [list(bone) for bone in BONES]


def test_annotations_are_whole_and_agree_with_themselves(train: coco_file.COCO) -> None:
    every = train.dataset["annotations"]
    assert len({one["id"] for one in every}) == len(every) > MANY
    assert {one["image_id"] for one in every if one["num_keypoints"]} == set(train.getImgIds())
    for one in every:
        joints = joints_of(one)
        assert set(joints[:, 2]) <= {0, 1, 2}
        assert one["num_keypoints"] == (joints[:, 2] > 0).sum()
        assert (joints[joints[:, 2] == 0] == 0).all()
        assert ((joints[:, :2] >= 0) & (joints[:, :2] <= [239, 179])).all()
        x, y, width, height = one["bbox"]
        assert min(x, y) >= 0 and min(width, height) >= 1 and x + width <= 240 and y + height <= 180
        assert 0 < one["area"] <= width * height


def test_regions_are_read_by_pycocotools_as_they_were_meant(train: coco_file.COCO) -> None:
    for one in train.dataset["annotations"]:
        mask = train.annToMask(one)
        slack = 0 if one["iscrowd"] else 0.08 * one["area"] + 0.3 * (one["bbox"][2] + one["bbox"][3])
        assert mask.sum() == pytest.approx(one["area"], abs=slack)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        found = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        np.testing.assert_allclose(found, one["bbox"], atol=0 if one["iscrowd"] else 3)


def test_visible_joints_lie_on_their_person(train: coco_file.COCO) -> None:
    distances = list[float]()
    for one in train.dataset["annotations"]:
        joints = joints_of(one)
        inside = np.argwhere(train.annToMask(one))[:, ::-1]
        for x, y, _ in joints[joints[:, 2] == 2]:
            distances.append(float(np.hypot(*(inside - [x, y]).T).min()))
    assert len(distances) > 150
    assert max(distances) < 3
    assert np.mean(np.array(distances) < 1) > 0.97


def test_crowds_distant_people_and_all_visibilities_occur(train: coco_file.COCO) -> None:
    every = train.dataset["annotations"]
    crowds = [one for one in every if one["iscrowd"]]
    assert crowds and all(
        one["num_keypoints"] == 0 and set(one["segmentation"]) == {"counts", "size"} for one in crowds
    )
    distant = [one for one in every if not one["iscrowd"] and one["num_keypoints"] == 0]
    assert distant and all(isinstance(one["segmentation"], list) for one in distant)
    seen = Counter(int(v) for one in every if one["num_keypoints"] for v in joints_of(one)[:, 2])
    shares = {v: count / seen.total() for v, count in seen.items()}
    assert shares[2] > 0.55 and shares[1] > 0.05 and shares[0] > 0.05


@pytest.mark.usefixtures("short_chunks")
def test_the_number_of_workers_changes_nothing(written: Path, tmp_path: Path) -> None:
    write(tmp_path, workers=3)
    assert contents(tmp_path) == contents(written)


def test_a_picture_depends_on_seed_split_and_number_only(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "fewer", {"train": 1})
    first = "train2017/000000000001.jpg"
    assert (tmp_path / "fewer" / first).read_bytes() == (written / first).read_bytes()
    write(tmp_path / "other", {"train": 1}, seed=1)
    others = [tmp_path / "other" / first, *(written / f"{split}2017/000000000001.jpg" for split in ("val", "test"))]
    pixels = [np.asarray(Image.open(path), float) for path in (written / first, *others)]
    assert all(np.abs(a - b).mean() > 5 for i, a in enumerate(pixels) for b in pixels[:i])


@pytest.mark.usefixtures("short_chunks")
def test_only_what_is_missing_or_damaged_is_drawn_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(written, tmp_path / "copy")
    half = root / "train2017" / "000000000003.jpg"
    half.write_bytes(half.read_bytes()[:900])
    (root / "train2017" / "000000000004.jpg").unlink()
    drawn = list[int]()

    def counted(*arguments: Any) -> Scene:
        drawn.append(1)
        return random_scene(*arguments)

    monkeypatch.setattr(synthetic, "random_scene", counted)
    write(root)
    assert len(drawn) == 2  # the second of three chunks
    assert contents(root) == contents(written)
    write(root)
    assert len(drawn) == 2


@pytest.mark.usefixtures("short_chunks")
def test_a_run_that_is_killed_again_and_again_goes_on(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [6, 4, 1, 0]  # pictures there: within a chunk, between two, and between two splits

    def drawn() -> int:
        return len(list(tmp_path.glob("*2017/[0-9]*.jpg")))  # what is being written has a name with a dot before it

    def killed(*arguments: Any) -> bytes:
        if drawn() == ends[-1]:
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(synthetic, "take", killed)
    while ends:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path)
        assert drawn() == ends.pop()
        assert not list(tmp_path.glob("annotations/*.json"))
    monkeypatch.setattr(synthetic, "take", take)
    write(tmp_path)
    assert contents(tmp_path) == contents(written)


def test_annotations_that_are_lost_are_written_again(written: Path, tmp_path: Path) -> None:
    root = shutil.copytree(written, tmp_path / "copy")
    (root / "annotations" / "person_keypoints_val2017.json").unlink()
    write(root)
    assert contents(root) == contents(written)


def test_other_data_in_the_folder_is_refused(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'synthetic\.json: found .*"seed": 0.*asked for .*"seed": 3.*delete'):
        write(written, seed=3)
    monkeypatch.setattr(synthetic, "FORMAT", synthetic.FORMAT + 1)
    with pytest.raises(UserError, match="delete"):
        write(written)
    (tmp_path / "val2017").mkdir()
    with pytest.raises(UserError, match="other data"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": {"training": 1}}, "'training'"),
        ({"images": {"test": -1}}, "-1"),
        ({"size_hw": (63, 256)}, r"\(63, 256\)"),
        ({"seed": -1}, "-1"),
        ({"workers": 0}, "0"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_dataset(tmp_path, **wrong)
    assert not contents(tmp_path)


def test_a_split_without_pictures_has_an_empty_list(tmp_path: Path) -> None:
    write(tmp_path, {"train": 0})
    found = json.loads((tmp_path / "annotations" / "person_keypoints_train2017.json").read_text())
    assert found["images"] == found["annotations"] == []


@pytest.mark.parametrize("size_hw", [(64, 64), (65, 1101), (1090, 67)])
def test_pictures_of_odd_sizes(size_hw: tuple[int, int]) -> None:
    for number in range(2):
        drawing = random_scene(np.random.default_rng(number), size_hw)
        planes = drawing.canvas.planes
        assert planes.shape == (3, *size_hw)
        assert np.isfinite(planes).all()
        assert annotate(drawing)
        assert take(np.random.default_rng(0), planes)[:2] == b"\xff\xd8"


def posed(pose: Pose = UPRIGHT, *, yaw: float = 0.0, pitch: float = 0.0) -> Body:
    build = random_build(np.random.default_rng(1))
    return pose_body(build, pose, yaw=yaw, pitch=pitch)


def test_left_is_on_the_viewers_right_from_the_front_and_on_the_left_from_behind() -> None:
    for yaw, sign in ((0.0, 1), (180.0, -1)):
        joints = posed(yaw=yaw).joints
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"):
            assert sign * (joints[f"left_{part}"][0] - joints[f"right_{part}"][0]) > 0.02
    assert posed().joints["nose"][2] < posed().joints["head"][2]  # nearer
    assert posed(yaw=90.0).joints["nose"][0] > 0.05  # looks to the right


def test_an_upright_body_has_its_joints_where_its_bones_say() -> None:
    body = posed()
    size = body.build.metres
    expected = {
        "left_shoulder": (size("shoulder"), -size("torso")),
        "left_wrist": (size("shoulder"), -size("torso") + size("upper_arm") + size("forearm")),
        "right_knee": (-size("hip"), size("thigh")),
        "right_ankle": (-size("hip"), size("thigh") + size("shank")),
    }
    for name, place in expected.items():
        np.testing.assert_allclose(body.joints[name], (*place, 0), atol=1e-9)
    level = posed(replace(UPRIGHT, arms=(LEVEL, DOWN))).joints
    assert level["left_wrist"][1] == pytest.approx(level["left_shoulder"][1])
    bent = posed(replace(UPRIGHT, legs=(LegPose(90.0, 0.0, 90.0), STANDING))).joints
    np.testing.assert_allclose(bent["left_knee"] - bent["left_hip"], (0, 0, -size("thigh")), atol=1e-9)  # to the viewer
    np.testing.assert_allclose(bent["left_ankle"] - bent["left_knee"], (0, size("shank"), 0), atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), yaw=st.floats(-360, 360), pitch=st.floats(-20, 20))
def test_bones_keep_their_lengths_in_every_pose(seed: int, yaw: float, pitch: float) -> None:
    rng = np.random.default_rng(seed)
    build = random_build(rng)
    joints = pose_body(build, random_pose(rng), yaw=yaw, pitch=pitch).joints
    bones = {"upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "hand": ("wrist", "hand"),
             "thigh": ("hip", "knee"), "shank": ("knee", "ankle"), "foot": ("ankle", "toe")}  # fmt: skip
    for name, (a, b) in bones.items():
        for side in ("left", "right"):
            found = np.linalg.norm(joints[f"{side}_{a}"] - joints[f"{side}_{b}"])
            assert found == pytest.approx(build.metres(name), rel=1e-6)
    assert np.linalg.norm(joints["left_hip"] - joints["right_hip"]) == pytest.approx(2 * build.metres("hip"))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_mirrored_pose_gives_the_mirrored_body(seed: int) -> None:
    rng = np.random.default_rng(seed)
    build, pose = random_build(rng), random_pose(rng)
    turn = {name: -getattr(pose, name) for name in ("lean", "twist", "roll", "look")}
    mirrored = replace(pose, arms=pose.arms[::-1], legs=pose.legs[::-1], **turn)
    a = pose_body(build, pose, yaw=35.0, pitch=7.0).joints
    b = pose_body(build, mirrored, yaw=-35.0, pitch=7.0).joints
    for name, point in a.items():
        other = {"left": "right", "right": "left"}.get(name.split("_")[0], name.split("_")[0])
        twin = "_".join([other, *name.split("_")[1:]])
        np.testing.assert_allclose(b[twin] * [-1, 1, 1], point, atol=1e-9)


def test_axes_turn_right_handed() -> None:
    left, up, forward = np.eye(3)
    np.testing.assert_allclose(turned("up", 90.0) @ forward, left, atol=1e-12)
    np.testing.assert_allclose(turned("left", 90.0) @ up, forward, atol=1e-12)
    np.testing.assert_allclose(turned("forward", 90.0) @ left, up, atol=1e-12)


def test_every_action_is_drawn_sooner_or_later_and_children_are_short() -> None:
    rng = np.random.default_rng(0)
    assert {random_pose(rng).action for _ in range(400)} == set(ACTIONS)
    builds = [random_build(rng) for _ in range(300)]
    assert min(build.stature for build in builds) < 1.25 and max(build.stature for build in builds) > 1.85

    def head_share(build: Build) -> float:
        return build.shares["head"]

    short, tall = min(builds, key=lambda build: build.stature), max(builds, key=lambda build: build.stature)
    assert head_share(short) > 1.15 * head_share(tall)


def grey(size_hw: tuple[int, int] = (300, 200)) -> Canvas:
    return Canvas(np.full((3, *size_hw), 128, np.float32), Light((0.0, 0.0, -1.0), 0.5))


def labels_of(canvas: Canvas, figure: Figure) -> dict[str, int]:
    _, visibility = Sight(canvas).keypoints(figure)
    return dict(zip(COCO.keypoints, visibility.tolist(), strict=True))


def figure_of(body: Body, *, x: float = 100.0, y: float = 150.0, person: int = 0) -> Figure:
    rng = np.random.default_rng(4)
    outfit = replace(random_outfit(rng), hair_style="short", hat="none", bag=False, skirt=0.0)
    return Figure(person, body, outfit, (x, y), 130 * 1.7 / body.build.stature)


def drawn(figure: Figure, canvas: Canvas | None = None) -> Canvas:
    canvas = canvas or grey()
    figure.draw(canvas)
    return canvas


def test_from_the_front_everything_is_seen() -> None:
    apart = replace(UPRIGHT, arms=(replace(DOWN, raised=20.0), replace(DOWN, raised=20.0)))
    figure = figure_of(posed(apart))
    assert set(labels_of(drawn(figure), figure).values()) == {VISIBLE}


def test_from_behind_the_face_is_not_labelled_and_the_rest_is_seen() -> None:
    apart = replace(UPRIGHT, arms=(replace(DOWN, raised=20.0), replace(DOWN, raised=20.0)))
    figure = figure_of(posed(apart, yaw=180.0))
    labels = labels_of(drawn(figure), figure)
    assert all(labels[name] == UNLABELLED for name in FACE)
    assert all(label == VISIBLE for name, label in labels.items() if name not in FACE)


def test_from_the_side_the_far_side_is_hidden_by_the_body() -> None:
    figure = figure_of(posed(yaw=90.0))  # the right side is towards the viewer
    labels = labels_of(drawn(figure), figure)
    parts = ("shoulder", "elbow", "knee")
    assert {part: labels[f"right_{part}"] for part in parts} == dict.fromkeys(parts, VISIBLE)
    assert {part: labels[f"left_{part}"] for part in parts} == dict.fromkeys(parts, HIDDEN)
    assert labels["right_hip"] == HIDDEN  # by the own hand, which hangs before it
    assert labels["left_ear"] == UNLABELLED
    assert labels["nose"] == VISIBLE


def test_what_others_hide_is_guessed_only_where_its_limb_is_seen() -> None:
    figure = figure_of(posed(replace(UPRIGHT, arms=(LEVEL, LEVEL))))
    canvas = drawn(figure)
    x = float(figure.joint_xy("left_elbow")[0])
    canvas.polygon(rectangle(np.array([x - 3, 0.0]), np.array([x + 3, 299.0])), (0.0, 90.0, 0.0))
    assert labels_of(canvas, figure)["left_elbow"] == HIDDEN
    canvas.polygon(rectangle(np.array([x - 38, 0.0]), np.array([199.0, 299.0])), (0.0, 90.0, 0.0))
    labels = labels_of(canvas, figure)
    assert labels["left_elbow"] == labels["left_wrist"] == UNLABELLED
    assert labels["right_elbow"] == labels["right_wrist"] == VISIBLE


def test_somebody_in_front_hides_joints_and_owns_what_is_seen() -> None:
    behind, before = figure_of(posed()), figure_of(posed(), x=106.0, person=1)
    canvas = drawn(before, drawn(behind))
    assert VISIBLE not in [labels_of(canvas, behind)[name] for name in ("left_shoulder", "left_hip", "nose")]
    assert labels_of(canvas, before)["nose"] == VISIBLE
    x, y = (round(value) for value in before.joint_xy("nose").tolist())
    assert canvas.owner[y, x] in {part_number(1, part) for part in ("nose", "head")}
    named = annotate(Scene(canvas, (behind, before), (), ()))
    masks = [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(one["segmentation"], 300, 200))) for one in named]
    assert (masks[0] & masks[1]).sum() < 0.06 * masks[0].sum()
    assert named[0]["area"] < 0.6 * named[1]["area"]


def test_joints_outside_of_the_picture_are_not_labelled() -> None:
    figure = figure_of(posed(), y=290.0)
    labels = labels_of(drawn(figure), figure)
    assert all(labels[f"{side}_{part}"] == UNLABELLED for side in ("left", "right") for part in ("knee", "ankle"))
    assert labels["left_hip"] == VISIBLE


def test_who_is_hidden_altogether_is_not_annotated_and_who_almost_is_has_no_keypoints() -> None:
    figure = figure_of(posed())
    canvas = drawn(figure)
    top = float(figure.joint_xy("nose")[1])
    canvas.polygon(rectangle(np.array([0.0, top]), np.array([199.0, 299.0])), (90.0, 0.0, 0.0))
    (one,) = annotate(Scene(canvas, (figure,), (), ()))
    assert (one["num_keypoints"], set(one["keypoints"])) == (0, {0})
    canvas.polygon(rectangle(np.zeros(2), np.array([199.0, 299.0])), (90.0, 0.0, 0.0))
    assert annotate(Scene(canvas, (figure,), (), ())) == []


@settings(deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_what_pycocotools_reads(mask: np.ndarray) -> None:
    coded = coco_mask.frPyObjects(run_lengths(mask), *mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(coded), mask)


def test_outlines_follow_parts_and_fill_holes() -> None:
    y, x = np.mgrid[:60, :80]
    ring = ((y - 25) ** 2 + (x - 30) ** 2 < 400) & ((y - 25) ** 2 + (x - 30) ** 2 > 100)
    block = (y >= 50) & (x >= 60)  # touches two borders
    rings = outlines(ring | block)
    assert len(rings) == 2
    mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons(rings), 60, 80)))
    filled = ((y - 25) ** 2 + (x - 30) ** 2 < 400) | block
    assert (mask != filled).sum() < 0.03 * filled.sum()
    assert outlines(np.zeros((5, 5), bool)) == []


def test_a_tube_covers_its_area_with_soft_rims() -> None:
    canvas = grey((100, 100))
    axis = np.array([[50.0, 20.0], [50.0, 70.0]])
    canvas.tube(Tube(axis, (8.25, 8.25), (8.25, 8.25), plain((0.0, 0.0, 0.0)), owner=40))
    cover = 1 - canvas.planes[0] / 128
    area = 50 * 16.5 + np.pi * 8.25**2
    assert cover.sum() == pytest.approx(area, rel=0.01)
    assert canvas.painted == {40: int((canvas.owner == 40).sum())}
    assert canvas.painted[40] == pytest.approx(area, rel=0.04)
    np.testing.assert_allclose(cover[45, [50, 57, 58, 59]], [1, 1, 0.75, 0], atol=1e-5)
    np.testing.assert_array_equal(canvas.owner[45, [50, 57, 58, 59]], [40, 40, 40, 0])


def test_tubes_are_brighter_towards_the_light() -> None:
    canvas = Canvas(np.zeros((3, 60, 60), np.float32), Light((1.0, 0.0, 0.0), 0.3))
    canvas.tube(Tube(np.array([[30.0, 5.0], [30.0, 55.0]]), (12.0, 12.0), (12.0, 12.0), plain((200.0, 200.0, 200.0))))
    assert canvas.planes[0, 20:40, 38].mean() > 1.8 * canvas.planes[0, 20:40, 22].mean()


@pytest.mark.parametrize("end", [(-500.0, -500.0), (40.0, 20.0), (99.0, 700.0)])
def test_tubes_of_any_length_stay_finite(end: tuple[float, float]) -> None:
    canvas = grey((100, 100))
    canvas.tube(Tube(np.array([[40.0, 20.0], end]), (0.0, 3.0), (0.0, 3.0), plain((0.0, 0.0, 0.0))))
    assert np.isfinite(canvas.planes).all()
    before = canvas.planes.copy()
    canvas.tube(Tube(np.array([[-80.0, 20.0], [-50.0, 30.0]]), (9.0, 9.0), (9.0, 9.0), plain((0.0, 0.0, 0.0))))
    np.testing.assert_array_equal(canvas.planes, before)


def test_a_ball_shows_the_side_that_is_towards_the_viewer() -> None:
    canvas = grey((100, 100))
    front = np.diag([1.0, -1.0, -1.0])
    ball = Ball(np.array([50.0, 40.0]), front, (10.0, 20.0, 15.0))
    canvas.ball(ball, lambda points: np.where(points[2] > 0, 200.0, 0.0) * np.ones_like(points), 40)
    assert canvas.painted[40] == pytest.approx(np.pi * 200, rel=0.03)
    assert canvas.planes[0, 40, 50] == pytest.approx(200, abs=1)
    away = replace(ball, axes=front @ turned("up", 180.0))
    canvas.ball(away, lambda points: np.where(points[2] > 0, 200.0, 0.0) * np.ones_like(points), 40)
    assert canvas.planes[0, 40, 50] == 0


def test_noise_goes_on_without_a_seam() -> None:
    tile = noise_tile((16.0, 40.0))
    assert abs(float(tile.mean())) < 0.2 and float(tile.std()) == pytest.approx(1, abs=0.1)
    long = cut(tile, (1000, 2000), (1500, 60))
    assert long.shape == (1500, 60)
    assert np.abs(np.diff(long, axis=0)).max() < 1.05 * np.abs(np.diff(tile, axis=0)).max()
    np.testing.assert_array_equal(cut(tile, (3, 5), (20, 30)), tile[3:23, 5:35])
