"""Share of the joints that are found near their place."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from projects.pose.scores.evaluate import MOST_RESULTS, check_results
from projects.pose.scores.oks import oks
from projects.pose.skeleton import Skeleton


def pck(
    ground_truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton,
    alpha: float = 0.1,
    image_ids: Sequence[int] | None = None,
) -> float:
    """Percentage of correct keypoints, as a share 0..1 (Yang and Ramanan, TPAMI 35, 2878, 2013).

    A labelled keypoint is right if its person's detection has it within `alpha` times the longer side of the person's
    box. Detections, of each picture the 20 with the highest score, are given to the labelled people one to one, so that
    the sum of their object keypoint similarities is largest. A person without a detection, and a joint with the score
    0, is wrong; a detection without a person changes nothing. Crowds and people without a labelled keypoint do not
    count.

    Args:
        ground_truth: a COCO dict, as `Annotations.ground_truth`.
        results: as `to_results` gives, of any pictures.
        skeleton: whose sigmas and category count.
        alpha: share of the box.
        image_ids: pictures that count; None for all of the ground truth.

    Returns:
        right keypoints / labelled keypoints; NaN where none is labelled.

    Raises:
        UserError: a result for a picture that is not in the ground truth, or with another number of keypoints.
    """
    known = {image["id"] for image in ground_truth["images"]}
    check_results(results, known, skeleton=skeleton)
    people: dict[int, list[Any]] = defaultdict(list)
    found: dict[int, list[Any]] = defaultdict(list)
    for person in ground_truth["annotations"]:
        if person["num_keypoints"] > 0 and not person["iscrowd"]:
            people[person["image_id"]].append(person)
    for result in sorted(results, key=lambda result: -result["score"]):
        if result["category_id"] == skeleton.category:
            found[result["image_id"]].append(result)
    right = labelled = 0
    for image in people.keys() & (known if image_ids is None else set(image_ids)):
        hits = _hits(people[image], found[image][:MOST_RESULTS], skeleton=skeleton, alpha=alpha)
        right, labelled = right + hits, labelled + sum(person["num_keypoints"] for person in people[image])
    return right / labelled if labelled else math.nan


def _hits(
    people: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], *, skeleton: Skeleton, alpha: float
) -> int:
    """Right keypoints of a picture."""
    if not found:
        return 0
    truth, guess = (np.array([one["keypoints"] for one in some], np.float64) for some in (people, found))
    truth, guess = truth.reshape(len(truth), -1, 3), guess.reshape(len(guess), -1, 3)
    visible, areas = truth[..., 2] > 0, np.array([person["area"] for person in people], np.float64)
    likeness = oks(guess[..., :2], truth[..., :2], area_b=areas, sigmas=skeleton.sigmas, visible_b=visible)
    of_found, of_people = linear_sum_assignment(likeness, maximize=True)
    reach = alpha * np.array([max(person["bbox"][2:]) for person in people])[of_people, None]
    distances = np.linalg.norm(guess[of_found, :, :2] - truth[of_people, :, :2], axis=2)
    return int(((distances <= reach) & visible[of_people] & (guess[of_found, :, 2] > 0)).sum())
