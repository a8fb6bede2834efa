"""COCO's scores of people found: average precision and recall by object keypoint similarity."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster

from common.errors import UserError
from projects.pose.skeleton import Skeleton

SCORES = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
"""In the order of COCO's own summary."""

MOST_RESULTS = 20
"""Of a picture: the best that count."""


def keypoint_scores(
    ground_truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    skeleton: Skeleton,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """The ten scores of COCO's keypoint challenge (Lin et al. 2014; cocodataset.org, "Keypoint Evaluation").

    `ap` is the mean over OKS thresholds .50, .55, ... .95 of the precision, interpolated at 101 recalls, and `ar` that
    of the recall; `ap50`, `ap75`, `ar50`, `ar75` are at one threshold; `medium` is for people of 32^2 to 96^2 pixels,
    `large` for those above. Of each picture the 20 results with the highest `score` count; nothing but the order of the
    scores matters, over all pictures. Who is ignored (crowds, people without a labelled keypoint) neither counts as
    missed nor makes what was found there wrong.

    Args:
        ground_truth: a COCO dict, as `Annotations.ground_truth`.
        results: as `to_results` gives, of any pictures; neither is changed.
        skeleton: whose sigmas and category count.
        image_ids: pictures that count; None for all of the ground truth. Results for others are left out.

    Returns:
        the scores by name, 0..1; NaN where there is nobody to find (COCO's code says -1).

    Raises:
        UserError: a result for a picture that is not in the ground truth, or with another number of keypoints.
    """
    known = {image["id"] for image in ground_truth["images"]}
    counted = known if image_ids is None else known & set(image_ids)
    check_results(results, known, skeleton=skeleton)
    truth = _indexed(ground_truth, ground_truth["annotations"], counted)
    found = truth.loadRes([dict(result) for result in results if result["image_id"] in counted])
    evaluation = COCOeval_faster(
        truth, found, iouType="keypoints", kpt_oks_sigmas=list(skeleton.sigmas), print_function=_silence
    )
    evaluation.params.imgIds, evaluation.params.catIds = sorted(counted), [skeleton.category]
    evaluation.params.maxDets = [MOST_RESULTS]
    evaluation.run()
    return {
        name: float(value) if value >= 0 else math.nan for name, value in zip(SCORES, evaluation.all_stats, strict=True)
    }


def check_results(results: Sequence[Mapping[str, Any]], known: set[int], *, skeleton: Skeleton) -> None:
    """Refuses results for pictures that are not known, or with another number of keypoints than the skeleton has."""
    length = 3 * len(skeleton.keypoints)
    for place, result in enumerate(results):
        if result["image_id"] not in known:
            raise UserError(
                f"results[{place}]: image_id {result['image_id']} is not in the ground truth of {len(known):,} "
                "pictures; give the results of the same pictures"
            )
        if len(result["keypoints"]) != length:
            raise UserError(
                f"results[{place}]: found {len(result['keypoints'])} numbers for keypoints, expected {length} as the "
                f"skeleton {skeleton.name!r} has; give the results of the same skeleton"
            )


def _indexed(ground_truth: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], counted: set[int]) -> COCO:
    """Copies of the annotations that count: the evaluator writes into them."""
    truth = COCO()
    truth.dataset = {
        "images": [image for image in ground_truth["images"] if image["id"] in counted],
        "annotations": [dict(one) for one in annotations if one["image_id"] in counted],
        "categories": ground_truth["categories"],
    }
    truth.createIndex()
    return truth


def _silence(*_: object) -> None:
    """Nothing is printed."""
