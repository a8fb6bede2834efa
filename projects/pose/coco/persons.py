"""The annotations of a COCO file, one by one -> what the evaluation needs of each, and its region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from jaxtyping import Float64

from common.data.report import Problem
from projects.pose.coco.json_file import is_number, is_whole, unexpected
from projects.pose.coco.regions import LARGEST, Region, read_region
from projects.pose.skeleton import Skeleton

OTHER_CATEGORY = "annotation of another category"


class Person(NamedTuple):
    """One annotation.

    Attributes:
        annotation: as COCO has it, without segmentation: id, image_id, category_id, bbox, area, iscrowd,
            num_keypoints and keypoints, float64 (3 x keypoints,): x, y and visibility of each.
        region: of the picture.
    """

    annotation: dict[str, Any]
    region: Region

    @property
    def labelled(self) -> bool:
        """Whether it is one person of whom a keypoint is labelled: all others are ignored."""
        return self.annotation["num_keypoints"] > 0 and not self.annotation["iscrowd"]


@dataclass(frozen=True)
class PersonReader:
    """Checks annotations.

    Args:
        path: of their file, for errors.
        skeleton: of the people.
        sizes: (height, width) of each picture by its id.
    """

    path: Path
    skeleton: Skeleton
    sizes: Mapping[int, tuple[int, int]]

    def read(self, annotations: Sequence[Any]) -> tuple[list[Person], list[Problem]]:
        """The persons of a file in its order, and the annotations of other categories.

        Ids are counted anew from 1: evaluators take 0 for "no match". Persons without `keypoints` get zeros, without
        `iscrowd` 0; `num_keypoints` is counted.

        Raises:
            UserError: a value is missing, of another kind, not finite or out of its range, or an id is there twice.
        """
        persons: dict[str, Person] = {}
        problems = []
        for place, raw in enumerate(annotations):
            where = self._name(raw, place)
            if where in persons:
                raise unexpected(self.path, where, "twice", "a different id for each annotation")
            if raw.get("category_id") == self.skeleton.category:
                persons[where] = self._person(raw, where, number=len(persons) + 1)
            else:
                detail = f"{where}: {raw.get('category_id')!r}, expected {self.skeleton.category}"
                problems.append(Problem(self.path, OTHER_CATEGORY, detail))
        self._count_keypoints(persons)
        return list(persons.values()), problems

    def _name(self, raw: Any, place: int) -> str:
        if not isinstance(raw, dict):
            raise unexpected(self.path, f"annotations[{place}]", raw, "an object")
        if "id" not in raw:
            return f"annotations[{place}]"
        if not is_whole(raw["id"]):
            raise unexpected(self.path, f"annotations[{place}], key 'id'", raw["id"], "a whole number")
        return f"annotation {raw['id']}"

    def _person(self, raw: dict[str, Any], where: str, *, number: int) -> Person:
        image, crowd = raw.get("image_id"), raw.get("iscrowd", 0)
        if not is_whole(image) or image not in self.sizes:
            raise unexpected(self.path, f"{where}, key 'image_id'", image, "the id of one of the file's images")
        if crowd not in (0, 1):
            raise unexpected(self.path, f"{where}, key 'iscrowd'", crowd, "0 or 1")
        box, area = raw.get("bbox"), raw.get("area")
        if not _is_box(box):
            raise unexpected(self.path, f"{where}, key 'bbox'", box, "[x, y, width, height] in pixels")
        if not is_number(area, largest=LARGEST**2) or area < 0:
            raise unexpected(self.path, f"{where}, key 'area'", area, "square pixels of the person: OKS depends on it")
        try:
            region = read_region(raw.get("segmentation"), [float(side) for side in box], self.sizes[image])
        except ValueError as error:
            found = raw["segmentation"]
            raise unexpected(self.path, f"{where}, key 'segmentation'", found, str(error)) from None
        annotation = {
            "id": number,
            "image_id": image,
            "category_id": self.skeleton.category,
            "iscrowd": int(crowd),
            "bbox": box,
            "area": area,
            "num_keypoints": raw.get("num_keypoints"),
            "keypoints": self._keypoints(raw, where),
        }
        return Person(annotation, region)

    def _keypoints(self, raw: dict[str, Any], where: str) -> np.ndarray:
        length = 3 * len(self.skeleton.keypoints)
        points = raw.get("keypoints")
        points = np.zeros(length) if points is None else points
        if not isinstance(points, np.ndarray) or len(points) != length:
            found = f"{len(points)} numbers" if isinstance(points, np.ndarray) else points
            expected = f"{length} numbers: x, y and visibility of {', '.join(self.skeleton.keypoints)}"
            raise unexpected(self.path, f"{where}, key 'keypoints'", found, expected)
        return points

    def _count_keypoints(self, persons: Mapping[str, Person]) -> None:
        """Of all persons at once: one by one would take much of the time of reading."""
        triples = stacked(list(persons.values()), keypoints=len(self.skeleton.keypoints))
        right = (np.abs(triples) <= LARGEST).all(axis=2) & np.isin(triples[..., 2], (0, 1, 2))
        if not right.all():
            row, place = np.argwhere(~right)[0]
            where = f"{list(persons)[row]}, keypoint {self.skeleton.keypoints[place]}"
            expected = f"x and y, finite and at most {LARGEST:,}, and a visibility of 0, 1 or 2"
            raise unexpected(self.path, where, triples[row, place].tolist(), expected)
        counts = (triples[..., 2] > 0).sum(axis=1).tolist()
        for (where, person), count, triple in zip(persons.items(), counts, triples, strict=True):
            said = person.annotation["num_keypoints"]
            if said is not None and (said == 0) != (count == 0):  # it decides whether a person counts
                raise unexpected(self.path, f"{where}, key 'num_keypoints'", said, f"{count}, as many are labelled")
            person.annotation.update(num_keypoints=count, keypoints=triple.ravel())


def _is_box(box: Any) -> TypeGuard[list[float]]:
    four = isinstance(box, list) and len(box) == 4 and all(is_number(side, largest=LARGEST) for side in box)
    return four and min(box[2:]) >= 0


def stacked(persons: Sequence[Person], *, keypoints: int) -> Float64[np.ndarray, "persons keypoints 3"]:
    """x, y and visibility of all keypoints of some persons."""
    rows = [person.annotation["keypoints"] for person in persons]
    return np.array(rows, dtype=np.float64).reshape(len(rows), keypoints, 3)
