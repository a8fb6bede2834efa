"""Random scenes in COCO's format, what a poor detector finds in them, and the five-point skeleton of a fish."""

from typing import Any

import numpy as np

from projects.pose.skeleton import COCO, Skeleton

FISH = """\
name: fish
keypoints: [tail, left_fin, mouth, right_fin, left_eye]
sigmas: [0.1, 0.05, 0.03, 0.05, 0.02]
limbs:
  - [middle, mouth]
  - [middle, right_fin]
  - [middle, left_fin]
  - [middle, tail]
  - [mouth, left_eye]
  - [mouth, right_eye]
midpoints:
  middle: [right_fin, left_fin]
category: 3
"""
"""Not a skeleton yet: the right eye is missing; see `FIVE`."""

FIVE = """\
name: fish
keypoints: [tail, left_fin, mouth, right_fin, crest]
sigmas: [0.1, 0.05, 0.03, 0.05, 0.02]
limbs:
  - [middle, mouth]
  - [middle, right_fin]
  - [middle, left_fin]
  - [middle, tail]
  - [mouth, crest]
midpoints:
  middle: [right_fin, left_fin]
category: 3
"""


def person(points: Any = None, **others: Any) -> dict[str, Any]:
    """An annotation of a COCO file: x, y and visibility of each keypoint, or zeros."""
    keypoints = [0] * 51 if points is None else np.asarray(points).ravel().tolist()
    known = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400.0, "bbox": [10, 10, 20, 40]}
    labelled = sum(1 for visibility in keypoints[2::3] if visibility in (1, 2))
    return known | {"keypoints": keypoints, "num_keypoints": labelled} | others


def truth_of(
    annotations: list[dict[str, Any]], images: tuple[int, ...] = (1,), *, skeleton: Skeleton = COCO
) -> dict[str, Any]:
    """A COCO file of pictures of 100 x 80 pixels."""
    return {
        "images": [{"id": number, "file_name": f"{number}.jpg", "height": 80, "width": 100} for number in images],
        "annotations": annotations,
        "categories": [{"id": skeleton.category, "name": skeleton.name, "keypoints": list(skeleton.keypoints)}],
    }


def random_truth(seed: int, *, images: int = 5, skeleton: Skeleton = COCO) -> dict[str, Any]:
    """Pictures with nobody to 24 people of all sizes, some partly labelled, some not at all, some crowds."""
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(random.choice([0, 1, 3, 7, 24])):
            number, side = len(annotations) + 1, random.choice([12.0, 40, 75, 160])
            corner = random.uniform(0, 500, 2)
            points = np.zeros((len(skeleton.keypoints), 3))
            if random.random() < 0.85:
                points[:, :2] = corner + random.uniform(0, side, (len(points), 2))
                points[:, 2] = random.choice([0, 1, 2], len(points))
                points[points[:, 2] == 0] = 0
            annotations.append(
                person(
                    points.round(1),
                    id=number,
                    image_id=image,
                    category_id=skeleton.category,
                    iscrowd=int(random.random() < 0.1),
                    area=float(0.6 * side**2),
                    bbox=[*corner.tolist(), side, side],
                )
            )
    return truth_of(annotations, tuple(range(1, images + 1)), skeleton=skeleton)


def random_results(truth: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """People found, twice, badly or not at all, and ghosts; few different scores, so that many tie. All float32."""
    random = np.random.default_rng(seed)
    results = []
    for annotation in truth["annotations"]:
        for _ in range(random.choice([0, 1, 1, 2])):
            points = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
            side = annotation["bbox"][2]
            points[:, :2] += random.normal(scale=side * random.choice([0.01, 0.03, 0.1]), size=(len(points), 2))
            points[:, 2] = random.uniform(0, 1, len(points)) * (random.random(len(points)) < 0.9)
            results.append((annotation["image_id"], points))
    for image in truth["images"]:
        for _ in range(random.choice([0, 2, 25])):
            results.append((image["id"], random.uniform(0, 600, (len(truth["categories"][0]["keypoints"]), 3))))
    random.shuffle(results)
    return [
        {
            "image_id": image,
            "category_id": truth["categories"][0]["id"],
            "keypoints": points.astype(np.float32).ravel().tolist(),
            "score": float(np.float32(random.integers(0, 12) / 11)),
        }
        for image, points in results
    ]
