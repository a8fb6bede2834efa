"""COCO person keypoints on disk -> pictures with their people, what is to be ignored, and the ground truth."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from common.data.report import Problem
from common.errors import UserError
from projects.pose.coco.json_file import is_whole, read_json, unexpected
from projects.pose.coco.persons import Person, PersonReader, stacked
from projects.pose.coco.regions import Region, draw
from projects.pose.skeleton import Skeleton

MISSING = "picture that is not there"
MOST_PIXELS = 178_956_970
"""Of a picture: as many as Pillow opens. A mask takes a byte for each."""


@dataclass(frozen=True, eq=False)
class PoseImage:
    """A picture and its labelled people: those that are no crowd and of whom a keypoint is labelled.

    Attributes:
        id: of the picture in its file.
        path: of the picture.
        size_hw: (height, width) in pixels, as the annotations say.
        points_xy: in pixels of the picture, in the skeleton's order; (0, 0) where not labelled. Labelled points may lie
            outside the picture, as those of people whom its edge cuts.
        visibility: 0 unlabelled, 1 hidden, 2 visible.
        boxes: x, y, width and height of each person, in pixels.
        areas: of each person, in square pixels.
        regions: to be ignored: crowds, and persons without a labelled keypoint.
        labelled_regions: of the people above; empty where nothing is to be ignored.
    """

    id: int
    path: Path
    size_hw: tuple[int, int]
    points_xy: Float32[np.ndarray, "people joints 2"]
    visibility: UInt8[np.ndarray, "people joints"]
    boxes: Float32[np.ndarray, "people 4"]
    areas: Float32[np.ndarray, " people"]
    regions: tuple[Region, ...] = ()
    labelled_regions: tuple[Region, ...] = ()

    def ignored(self) -> UInt8[np.ndarray, "height width"] | None:
        """255 where a pixel is in a region to ignore and in no labelled person, else 0; None where no pixel is."""
        if not self.regions:
            return None
        ignored = draw(self.regions, self.size_hw) & ~draw(self.labelled_regions, self.size_hw)
        return 255 * ignored.astype(np.uint8) if ignored.any() else None


@dataclass(frozen=True, eq=False)
class Annotations:
    """What a file says of the pictures that are there.

    Attributes:
        path: the file.
        images: in the order of their ids, those without people too: what is found in them is wrong.
        ground_truth: images, annotations and categories as a COCO dict; keypoints are arrays, segmentations left out.
        problems: what was left out.
    """

    path: Path
    images: list[PoseImage]
    ground_truth: dict[str, Any]
    problems: list[Problem]


def read_annotations(path: Path, *, skeleton: Skeleton, folders: Sequence[Path]) -> Annotations:
    """Reads a file in COCO's format for keypoints (Lin et al., "Microsoft COCO", ECCV 2014).

    An object with `images` (id, file_name, height, width), `annotations` (see `PersonReader`; area in square pixels,
    bbox x, y, width, height, keypoints x, y, visibility, with pixel centres at integers) and `categories` (id, and
    perhaps keypoints).

    Args:
        path: the file.
        skeleton: whose category and keypoints the file must have.
        folders: in which the pictures are looked for by `file_name`, in turn. A picture that is in none is a problem,
            and its annotations are left out with it.

    Raises:
        UserError: the file is not of this form, or none of its pictures is there.
    """
    content = _lists(path)
    _check_category(path, content["categories"], skeleton)
    images = _images(path, content["images"])
    sizes = {number: (image["height"], image["width"]) for number, image in images.items()}
    persons, problems = PersonReader(path, skeleton, sizes).read(content["annotations"])
    find = _finder(folders)
    places = {number: find(images[number]["file_name"]) for number in sorted(images)}
    found = {number: place for number, place in places.items() if place is not None}
    if images and not found:
        raise UserError(
            f"{path}: none of its {len(images):,} pictures, such as {next(iter(images.values()))['file_name']!r}, is "
            f"in {', '.join(map(str, folders))}; put them into one of these folders"
        )
    problems += [Problem(path, MISSING, images[number]["file_name"]) for number in images.keys() - found.keys()]
    persons = [person for person in persons if person.annotation["image_id"] in found]
    ground_truth = {
        "images": [images[number] for number in found],
        "annotations": [person.annotation for person in persons],
        "categories": [{"id": skeleton.category, "name": "person", "keypoints": list(skeleton.keypoints)}],
    }
    return Annotations(path, _with_people(found, sizes, persons, skeleton=skeleton), ground_truth, problems)


def _lists(path: Path) -> dict[str, Any]:
    """The file's object, whose three parts are lists."""
    content = read_json(path)
    for key in ("images", "annotations", "categories"):
        found = content.get(key) if isinstance(content, dict) else content
        if not isinstance(content, dict) or not isinstance(found, list):
            expected = "a list: COCO's person_keypoints have images, annotations and categories"
            raise unexpected(path, f"key {key!r}", found if found is None else type(found).__name__, expected)
    return content


def _check_category(path: Path, categories: Sequence[Any], skeleton: Skeleton) -> None:
    by_id = {one["id"]: one for one in categories if isinstance(one, dict) and is_whole(one.get("id"))}
    if skeleton.category not in by_id:
        expected = f"a category with the id {skeleton.category}, that of the skeleton {skeleton.name!r}"
        raise unexpected(path, "categories", f"ids {sorted(by_id)}", expected)
    names = by_id[skeleton.category].get("keypoints", list(skeleton.keypoints))
    if names != list(skeleton.keypoints):
        raise UserError(
            f"{path}: categories, id {skeleton.category}, keypoints: found {names}; the skeleton {skeleton.name!r} has "
            f"{list(skeleton.keypoints)}; describe the file's keypoints, in its order, in a YAML file and name that as "
            "the skeleton"
        )


def _images(path: Path, images: Sequence[Any]) -> dict[int, dict[str, Any]]:
    """id, file_name, height and width of each by its id, checked."""
    by_id: dict[int, dict[str, Any]] = {}
    for place, image in enumerate(images):
        where = f"images[{place}]"
        if not isinstance(image, dict) or not is_whole(image.get("id")):
            raise unexpected(path, where, image, "an object with a whole number as its id")
        if image["id"] in by_id:
            raise unexpected(path, where, f"id {image['id']} twice", "a different id for each image")
        height, width = image.get("height"), image.get("width")
        if not is_whole(height, lowest=1) or not is_whole(width, lowest=1) or height * width > MOST_PIXELS:
            expected = f"sides of 1 pixel or more, at most {MOST_PIXELS:,} pixels in all"
            raise unexpected(path, f"{where}, height and width", [height, width], expected)
        if not _is_below(image.get("file_name")):
            found = image.get("file_name")
            raise unexpected(path, f"{where}, key 'file_name'", found, "a path that leads down from its folder")
        by_id[image["id"]] = {key: image[key] for key in ("id", "file_name", "height", "width")}
    return by_id


def _is_below(name: object) -> bool:
    if not isinstance(name, str) or not name or not name.isprintable():
        return False
    return ".." not in PurePosixPath(name).parts and not PureWindowsPath(name).anchor and name[0] != "/"


def _finder(folders: Sequence[Path]) -> Callable[[str], Path | None]:
    """Looks for files by listing each folder once: asking for each file takes minutes on a network's disk."""

    @cache
    def files(folder: Path) -> frozenset[str]:
        if not folder.is_dir():
            return frozenset()
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())

    def find(name: str) -> Path | None:
        candidates = (folder / name for folder in folders)
        return next((path for path in candidates if path.name in files(path.parent)), None)

    return find


def _with_people(
    places: dict[int, Path], sizes: dict[int, tuple[int, int]], persons: Sequence[Person], *, skeleton: Skeleton
) -> list[PoseImage]:
    """The images of `places`, which is sorted by id."""
    labelled = sorted((person for person in persons if person.labelled), key=_image_of)
    triples = stacked(labelled, keypoints=len(skeleton.keypoints))
    points_xy, visibility = skeleton.with_midpoints(
        triples[..., :2].astype(np.float32), triples[..., 2].astype(np.uint8)
    )
    boxes = np.array([person.annotation["bbox"] for person in labelled], np.float32).reshape(-1, 4)
    areas = np.array([person.annotation["area"] for person in labelled], np.float32)
    ignored: dict[int, list[Region]] = defaultdict(list)
    for person in persons:
        if not person.labelled:
            ignored[_image_of(person)].append(person.region)
    ends = np.searchsorted([_image_of(person) for person in labelled], list(places), side="right").tolist()
    return [
        PoseImage(
            number,
            path,
            sizes[number],
            points_xy=points_xy[start:end],
            visibility=visibility[start:end],
            boxes=boxes[start:end],
            areas=areas[start:end],
            regions=tuple(ignored[number]),
            labelled_regions=tuple(person.region for person in labelled[start:end]) if ignored[number] else (),
        )
        for (number, path), start, end in zip(places.items(), [0, *ends], ends, strict=False)
    ]


def _image_of(person: Person) -> int:
    return int(person.annotation["image_id"])
