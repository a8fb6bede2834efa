"""People found -> COCO's results format, and files of it. NumPy alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_path
from projects.pose.coco.json_file import is_number, is_whole, read_json, unexpected
from projects.pose.people import People
from projects.pose.skeleton import Skeleton

KEYPOINTS, IMAGES = "keypoints.json", "images.csv"
"""Files of what is found in pictures: results of all, and which `image_id` is which file."""

DECIMALS = 4
"""Of coordinates and joints' scores: far below what can be told apart, and half as long in a file."""

LARGEST = 10**9
"""Of a coordinate or a score: what is larger is no finite number of pixels."""

_KEYS = ("image_id", "category_id", "keypoints", "score")


def to_results(people: People, image_id: int, skeleton: Skeleton) -> list[dict[str, Any]]:
    """People of one picture as COCO's results: image_id, category_id, keypoints and score of each.

    Args:
        people: points in pixels of the picture.
        image_id: of the picture in its annotation file.
        skeleton: of the people. Joints that files do not have are left out.

    Returns:
        `keypoints` holds x, y and the joint's score of each, to `DECIMALS`, in the order of the files; 0, 0, 0 where
        not found.
        `score` is the person's: it ranks them over all pictures, and only its order counts in AP.
    """
    order = skeleton.joint_of_keypoint
    triples = np.concatenate([people.points_xy[:, order], people.scores[:, order, None]], axis=2)
    triples = np.where(triples[..., 2:] > 0, triples.astype(np.float64).round(DECIMALS), 0)
    return [
        {"image_id": image_id, "category_id": skeleton.category, "keypoints": keypoints, "score": score}
        for keypoints, score in zip(
            triples.reshape(len(triples), 3 * len(order)).tolist(), people.score.tolist(), strict=True
        )
    ]


def write_results(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Writes results as JSON, one to a line, whole or not at all.

    Raises:
        UserError: a value is not what `read_results` would take.
    """
    for place, result in enumerate(results):
        _check(path, place, result, length=len(results[0]["keypoints"]))
    lines = ",\n".join(json.dumps(result, allow_nan=False) for result in results)
    with atomic_path(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_results(path: Path, *, skeleton: Skeleton | None = None) -> list[dict[str, Any]]:
    """Results from a JSON file: a list as `to_results` gives; other keys are left out.

    Args:
        path: the file.
        skeleton: whose category and number of keypoints the results must have; None takes those of the first.

    Raises:
        UserError: no such file, or a value that is missing, of another kind or not finite.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise unexpected(path, "file", type(content).__name__, "a list of COCO results")
    results = [{key: _plain(raw.get(key)) for key in _KEYS} if isinstance(raw, dict) else raw for raw in content]
    length = 3 * len(skeleton.keypoints) if skeleton else _length(results)
    for place, result in enumerate(results):
        _check(path, place, result, length=length)
        if skeleton and result["category_id"] != skeleton.category:
            where = f"result {place}, key 'category_id'"
            raise unexpected(path, where, result["category_id"], f"{skeleton.category} ({skeleton.name})")
    return results


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _length(results: Sequence[Any]) -> int:
    first = results[0] if results else None
    return len(first["keypoints"]) if isinstance(first, dict) and isinstance(first["keypoints"], list) else 3


def _check(path: Path, place: int, result: Any, *, length: int) -> None:
    where = f"result {place}"
    if not isinstance(result, dict):
        raise unexpected(path, where, result, f"an object with {', '.join(_KEYS)}")
    for key in ("image_id", "category_id"):
        if not is_whole(result.get(key)):
            raise unexpected(path, f"{where}, key {key!r}", result.get(key), "a whole number")
    points = result.get("keypoints")
    if not isinstance(points, list) or len(points) != length or length % 3:
        found = f"{len(points)} numbers" if isinstance(points, list) else points
        raise unexpected(path, f"{where}, key 'keypoints'", found, f"{length // 3} x 3 numbers: x, y, score of each")
    for key, values in (("keypoints", points), ("score", [result.get("score")])):
        wrong = [value for value in values if not is_number(value, largest=LARGEST)]
        if wrong:
            raise unexpected(path, f"{where}, key {key!r}", wrong[0], f"finite numbers, at most {LARGEST:,}")
