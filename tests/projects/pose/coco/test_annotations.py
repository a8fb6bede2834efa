import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as oracle

from common.errors import UserError
from projects.pose.coco.annotations import MISSING, Annotations, read_annotations
from projects.pose.coco.persons import OTHER_CATEGORY
from projects.pose.skeleton import COCO, find_skeleton
from tests.projects.pose.scenes import FIVE, person, random_truth, truth_of

SQUARE = [[20.0, 10.0, 29.0, 10.0, 29.0, 19.0, 20.0, 19.0]]


def points_at(x: float, y: float, visibility: int = 2) -> list[tuple[float, float, int]]:
    """The nose alone."""
    return [(x, y, visibility), *[(0.0, 0.0, 0)] * 16]


def write(root: Path, content: Any) -> Path:
    """A file with its pictures beside, which are empty: nobody looks into them."""
    file = root / "persons.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    for image in content.get("images", []) if isinstance(content, dict) else []:
        if isinstance(image, dict) and str(image.get("file_name")).isprintable():
            (root / Path(str(image["file_name"])).name).touch()
    return file


def read(root: Path, content: Any) -> Annotations:
    return read_annotations(write(root, content), skeleton=COCO, folders=[root])


def test_literal_file(tmp_path: Path) -> None:
    points = np.zeros((17, 3))
    points[5], points[6], points[0] = (30.5, 20, 2), (10, 24, 1), (-3, 5, 2)  # shoulders, and a nose outside
    content = truth_of(
        [
            person(points, id=9, image_id=7, area=812.5, bbox=[1.5, 2, 30, 40]),
            person(id=5, image_id=3, segmentation=SQUARE),
            person(points_at(4, 6), id=0, image_id=7),
            person(points_at(4, 6), id=12, image_id=7, iscrowd=1),
        ],
        (7, 3, 4),
    )
    found = read(tmp_path, content)
    assert [image.id for image in found.images] == [3, 4, 7] and found.problems == []
    nobody, empty, two = found.images
    assert nobody.points_xy.shape == empty.points_xy.shape == (0, 18, 2) and len(nobody.regions) == 1
    assert two.path == tmp_path / "7.jpg" and two.size_hw == (80, 100) and len(two.regions) == 1
    assert two.boxes.tolist() == [[1.5, 2, 30, 40], [10, 10, 20, 40]] and two.areas.tolist() == [812.5, 400]
    joints = {name: number for number, name in enumerate(COCO.joints)}
    assert two.points_xy[0, joints["neck"]].tolist() == [20.25, 22] and two.visibility[0, joints["neck"]] == 1
    assert two.points_xy[0, joints["nose"]].tolist() == [-3, 5], "what the edge cuts off is labelled all the same"
    assert two.visibility[1].nonzero()[0].tolist() == [joints["nose"]]
    assert (two.points_xy.dtype, two.visibility.dtype) == (np.float32, np.uint8)
    kept = found.ground_truth["annotations"]
    assert [one["id"] for one in kept] == [1, 2, 3, 4], "0 would be no match"
    assert [one["num_keypoints"] for one in kept] == [3, 0, 1, 1]


def test_what_may_be_left_out(tmp_path: Path) -> None:
    bare = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 20}
    content = truth_of([bare, bare, bare | {"keypoints": np.ravel(points_at(1, 1)).tolist(), "segmentation": []}])
    del content["categories"][0]["keypoints"]
    found = read(tmp_path, content)
    assert len(found.images[0].points_xy) == 1 and len(found.images[0].regions) == 2
    assert [one["num_keypoints"] for one in found.ground_truth["annotations"]] == [0, 0, 1]


def test_real_file(real_data: Path) -> None:
    folder = real_data / "pose" / "coco"
    found = read_annotations(folder / "test_coco.json", skeleton=COCO, folders=[folder / "nowhere", folder])
    assert [len(image.points_xy) for image in found.images] == [1, 2, 4, 5]
    raw = json.loads((folder / "test_coco.json").read_text())["annotations"]
    for image in found.images:
        lengths: dict[bool, list[Any]] = {True: [], False: []}
        for one in raw:
            if one["image_id"] == image.id:
                lengths[one["num_keypoints"] > 0] += oracle.frPyObjects(one["segmentation"], *image.size_hw)
        ignored = image.ignored()
        if ignored is None:
            assert not lengths[False]
            continue
        people = oracle.decode(lengths[True]).any(axis=2)
        np.testing.assert_array_equal(ignored, 255 * (oracle.decode(lengths[False]).any(axis=2) & ~people))
        assert ignored.any()


CROWD = [160, 80, 80, 80, 7600]
"""Columns 2 and 4 of a picture of 100 x 80 pixels, from the top down, column by column."""


@pytest.mark.parametrize("compressed", [False, True])
def test_crowds_as_run_lengths_less_the_labelled(compressed: bool, tmp_path: Path) -> None:
    lengths: dict[str, Any] = {"size": [80, 100], "counts": CROWD}
    if compressed:
        lengths = oracle.frPyObjects(lengths, 80, 100) | {"size": [80, 100]}
        lengths["counts"] = lengths["counts"].decode()
    content = truth_of(
        [
            person(id=1, iscrowd=1, segmentation=lengths),
            person(points_at(3, 3), id=2, segmentation=[[2.5, 30, 9, 30, 9, 60, 2.5, 60]]),
            person(points_at(3, 3), id=3, bbox=[0, 70, 100, 10]),
        ]
    )
    ignored = read(tmp_path, content).images[0].ignored()
    assert ignored is not None and set(np.unique(ignored)) == {0, 255} and ignored.dtype == np.uint8
    assert ignored.any(axis=0).nonzero()[0].tolist() == [2, 4]
    assert ignored[:, 2].nonzero()[0].tolist() == list(range(70)), "the first polygon begins right of it"
    assert ignored[:, 4].nonzero()[0].tolist() == [*range(30), *range(60, 70)]


def test_nothing_to_ignore(tmp_path: Path) -> None:
    hidden = person(id=2, bbox=[12, 12, 5, 5])
    images = read(tmp_path, truth_of([person(points_at(1, 1), id=1), hidden])).images
    assert images[0].regions and images[0].ignored() is None, "it lies within somebody who is labelled"
    alone = read(tmp_path, truth_of([hidden])).images[0].ignored()
    assert alone is not None and alone[12:17, 12:17].all() and alone.sum() == 25 * 255
    assert read(tmp_path, truth_of([])).images[0].ignored() is None


def test_pictures_are_looked_for_in_turn(tmp_path: Path) -> None:
    content = truth_of([person(points_at(1, 1), id=n, image_id=n) for n in (1, 2, 3)], (1, 2, 3))
    content["images"][1]["file_name"] = "train/2.jpg"
    file = tmp_path / "persons.json"
    file.write_text(json.dumps(content))
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first / "1.jpg", second / "1.jpg", second / "train" / "2.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (first / "3.jpg").mkdir()
    found = read_annotations(file, skeleton=COCO, folders=[tmp_path / "absent", first, second])
    assert [image.path for image in found.images] == [first / "1.jpg", second / "train" / "2.jpg"]
    assert [(one.kind, one.detail) for one in found.problems] == [(MISSING, "3.jpg")]
    assert [one["image_id"] for one in found.ground_truth["annotations"]] == [1, 2], "else it would count as missed"
    with pytest.raises(UserError, match=r"none of its 3 pictures, such as '1\.jpg', is in .*absent"):
        read_annotations(file, skeleton=COCO, folders=[tmp_path / "absent"])


def test_other_categories_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, truth_of([person(id=4, category_id=18), person(points_at(1, 1), id=5)]))
    assert [(one.kind, one.detail) for one in found.problems] == [(OTHER_CATEGORY, "annotation 4: 18, expected 1")]
    assert len(found.ground_truth["annotations"]) == 1


def test_another_skeleton(tmp_path: Path) -> None:
    (tmp_path / "fish.yaml").write_text(FIVE)
    fish = find_skeleton(str(tmp_path / "fish.yaml"))
    content = random_truth(3, skeleton=fish)
    file = write(tmp_path, content)
    found = read_annotations(file, skeleton=fish, folders=[tmp_path])
    assert sum(len(image.points_xy) for image in found.images) > 20
    assert {image.points_xy.shape[1] for image in found.images} == {6}
    with pytest.raises(UserError, match=r"found \['tail', .*the skeleton 'coco' has \['nose', .*YAML"):
        read_annotations(
            write(tmp_path, content | {"categories": [content["categories"][0] | {"id": 1}]}),
            skeleton=COCO,
            folders=[tmp_path],
        )
    with pytest.raises(UserError, match=r"categories: found 'ids \[3\]', expected a category with the id 1"):
        read_annotations(write(tmp_path, content), skeleton=COCO, folders=[tmp_path])


def edited(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = truth_of([person(points_at(30, 40), id=8)])
    change(content)
    return content


def annotation(**others: Any) -> dict[str, Any]:
    return edited(lambda content: content["annotations"][0].update(others))


def image(**others: Any) -> dict[str, Any]:
    return edited(lambda content: content["images"][0].update(others))


NOT_A_NUMBER = float("nan")
WRONG: list[tuple[Any, str]] = [
    ('{"images": [', "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ("[1]", r"key 'images': found 'list', expected a list"),
    ("{" * 4_000_001, r"4,000,001 objects', expected at most 4,000,000"),
    ('{"images": [], "images": [1]}', r"key 'images': found .*expected each key once"),
    (edited(lambda content: content.pop("annotations")), r"key 'annotations': found 'None', expected a list"),
    (edited(lambda content: content.update(images={})), r"key 'images': found 'dict', expected a list"),
    (edited(lambda content: content.update(categories=[{"id": [1]}])), r"categories: found 'ids \[\]'"),
    (edited(lambda content: content["images"].append(5)), r"images\[1\]: found '5', expected an object"),
    (edited(lambda content: content["images"].append(content["images"][0])), r"images\[1\]: found 'id 1 twice'"),
    (image(id="000000000785"), r"images\[0\].*whole number as its id"),
    (image(id=True), r"whole number as its id"),
    (image(height=0), r"height and width: found '\[0, 100\]', expected sides of 1 pixel or more"),
    (image(width=10.5), r"height and width"),
    (image(width=1 << 40), r"at most 178,956,970 pixels in all"),
    (image(file_name="../secret.jpg"), r"'file_name': found '../secret.jpg', expected a path that leads down"),
    (image(file_name="/etc/passwd"), r"file_name"),
    (image(file_name="C:\\x.jpg"), r"file_name"),
    (image(file_name="a\0b.jpg"), r"file_name"),
    (image(file_name=""), r"file_name"),
    (image(file_name=None), r"file_name"),
    (edited(lambda content: content["annotations"].append("x")), r"annotations\[1\]: found 'x', expected an object"),
    (edited(lambda content: content["annotations"].append(content["annotations"][0])), r"annotation 8: found 'twice'"),
    (annotation(id=[1]), r"annotations\[0\], key 'id': found '\[1\]', expected a whole number"),
    (annotation(image_id=2), r"annotation 8, key 'image_id': found '2', expected the id of one of the file's images"),
    (annotation(image_id=None), r"key 'image_id': found 'None'"),
    (annotation(image_id=[1]), r"key 'image_id'"),
    (annotation(iscrowd=2), r"key 'iscrowd': found '2', expected 0 or 1"),
    (annotation(bbox=[1, 2, 3]), r"key 'bbox': found '\[1, 2, 3\]', expected \[x, y, width, height\]"),
    (annotation(bbox=[1, 2, -3, 4]), r"key 'bbox'"),
    (annotation(bbox=[1, 2, NOT_A_NUMBER, 4]), r"key 'bbox': found '\[1, 2, nan, 4\]'"),
    (annotation(bbox=None), r"key 'bbox': found 'None'"),
    (annotation(area=NOT_A_NUMBER), r"key 'area': found 'nan', expected square pixels"),
    (annotation(area=-1), r"key 'area'"),
    (annotation(area="7"), r"key 'area'"),
    (annotation(area=None), r"key 'area': found 'None'"),
    (annotation(keypoints=[1, 2, 2] * 16), r"key 'keypoints': found '48 numbers', expected 51 numbers: .* nose, left"),
    (annotation(keypoints=[[1, 2, 2]] * 17), r"key 'keypoints': found '\[\[1, 2, 2\]"),
    (annotation(keypoints=["1"] * 51), r"key 'keypoints': found .*expected 51 numbers"),
    (annotation(keypoints=[None] * 51), r"key 'keypoints'"),
    (annotation(keypoints=[10**30, 2, 2] * 17), r"key 'keypoints'"),
    (annotation(keypoints=[1e30, 2, 2] * 17), r"annotation 8, keypoint nose: found '\[1e\+30, 2.0, 2.0\]', expected x"),
    (annotation(keypoints=[1, 1, 2] * 16 + [1, NOT_A_NUMBER, 2]), r"annotation 8, keypoint right_ankle: found .*nan"),
    (annotation(keypoints=[1, 1, 2, 4, 5, 3] + [1, 1, 1] * 15), r"keypoint left_eye: .*visibility of 0, 1 or 2"),
    (annotation(keypoints=[1, 1, 0.5] * 17), r"visibility of 0, 1 or 2"),
    (annotation(keypoints=[1, 1, -1] * 17), r"visibility of 0, 1 or 2"),
    (annotation(num_keypoints=0), r"key 'num_keypoints': found '0', expected 1, as many are labelled"),
    (annotation(keypoints=[0] * 51), r"key 'num_keypoints': found '1', expected 0"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_wrong_files_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "persons.json") in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_annotations(tmp_path / "absent.json", skeleton=COCO, folders=[tmp_path])


WRONG_REGIONS: list[tuple[Any, str]] = [
    ("polygon", "a list of polygons"),
    ([[1, 2, 3, 4]], "polygons of three points or more"),
    ([[1, 2, 3, 4, 5, 6, 7]], "polygons of three points or more"),
    ([1, 2, 3, 4, 5, 6], "polygons of three points or more"),
    ([["a"] * 6], "polygons of three points or more"),
    ([[1, 2, 3, 4, 5, NOT_A_NUMBER]], "finite coordinates"),
    ([[1, 2, 3, 4, 5, 1e9]], "finite coordinates, at most 100,000 pixels"),
    ({"counts": [8000]}, r"size \[80, 100\] of the picture, height first"),
    ({"size": [100, 80], "counts": [8000]}, r"size \[80, 100\]"),
    ({"size": [80, 100]}, "run lengths, a list of whole numbers or a compressed string"),
    ({"size": [80, 100], "counts": ["a"]}, "run lengths, a list"),
    ({"size": [80, 100], "counts": [7999]}, "run lengths of 8000 pixels together"),
    ({"size": [80, 100], "counts": [1 << 62, 1 << 62, 1 << 62, 8000]}, "run lengths of 8000 pixels"),
    ({"size": [80, 100], "counts": [8001, -1]}, "run lengths of 8000 pixels together, none below 0"),
    ({"size": [80, 100], "counts": [8000.5]}, "run lengths of 8000 pixels"),
    ({"size": [80, 100], "counts": "oooooooooooooooooooo"}, "run lengths that make up the picture"),
    ({"size": [80, 100], "counts": "\u00e9\u2603"}, "run lengths that make up the picture"),
    ({"size": [80, 100], "counts": ""}, "run lengths that make up the picture"),
]


@pytest.mark.parametrize(("segmentation", "message"), WRONG_REGIONS)
def test_wrong_regions_are_refused(segmentation: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"annotation 8, key 'segmentation': found .*expected .*{message}"):
        read(tmp_path, annotation(segmentation=segmentation))
