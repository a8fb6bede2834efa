"""Scores of a mask of two classes, pooled over pixels and as means over scenes."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric

from common.metrics.boundary import boundary_counts, boundary_f, wide_type

SCENE_SCORES = ("iou", "precision", "recall", "f1", "boundary_f")
"""Scores of which there is also a mean over scenes."""

UNIT = 2**40
"""Scene scores are added as whole numbers of 1 / UNIT: the same sum in any order, and on devices without float64."""


class BinarySegmentation(Metric):
    """Scores of predicted masks, scene by scene.

    Pooled over the valid pixels of all scenes, with TP, FP, FN, TN their numbers: iou = TP / (TP + FP + FN),
    precision = TP / (TP + FP), recall = TP / (TP + FN), f1 = 2 TP / (2 TP + FP + FN), accuracy = (TP + TN) / all, and
    boundary_f of the boundary pixels of all scenes (see `common.metrics.boundary`). NaN where that is 0 / 0: precision
    if nothing is predicted, recall if there is nothing to find, iou and f1 if both.

    scene_iou, scene_precision, scene_recall, scene_f1 and scene_boundary_f are means of the scenes' own scores. There,
    iou and f1 of a scene with nothing to find and nothing predicted are 1, as it is right. A scene in which precision,
    recall or boundary_f is 0 / 0 is left out of the mean of that score, and one without a valid pixel out of all.

    Called (`metric(predicted, target, valid)`) instead of updated, it adds the scene as well and returns its scores.

    Args:
        tolerance: how far a boundary may be off, in pixels.
    """

    full_state_update = False
    is_differentiable = False

    pixels: Tensor
    boundaries: Tensor
    scene_sums: Tensor
    scene_counts: Tensor

    def __init__(self, tolerance: int = 2) -> None:
        super().__init__()
        self.tolerance = tolerance
        sizes = {"pixels": 4, "boundaries": 4, "scene_sums": len(SCENE_SCORES), "scene_counts": len(SCENE_SCORES)}
        for name, size in sizes.items():
            self.add_state(name, default=torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        predicted: Bool[Tensor, "height width"],
        target: Bool[Tensor, "height width"],
        valid: Bool[Tensor, "height width"],
    ) -> None:
        """Adds one whole scene.

        Args:
            predicted: mask, on any device; any value where not valid.
            target: mask; any value where not valid.
            valid: whether a pixel counts.
        """
        pixels = pixel_counts(predicted, target, valid).to(self.device)
        boundaries = boundary_counts(predicted, target, valid, tolerance=self.tolerance).to(self.device)
        scores = scene_scores(pixels, boundaries)
        self.pixels = self.pixels + pixels
        self.boundaries = self.boundaries + boundaries
        self.scene_sums = self.scene_sums + (scores.nan_to_num(0.0) * UNIT).round().long()
        self.scene_counts = self.scene_counts + ~scores.isnan()

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The scores by name, 0..1 or NaN."""
        wide = wide_type(self.scene_sums)
        means = self.scene_sums.to(wide) / UNIT / self.scene_counts
        return {
            **pixel_scores(self.pixels),
            "boundary_f": boundary_f(self.boundaries),
            **{f"scene_{name}": mean for name, mean in zip(SCENE_SCORES, means, strict=True)},
        }


def pixel_counts(
    predicted: Bool[Tensor, "*shape"], target: Bool[Tensor, "*shape"], valid: Bool[Tensor, "*shape"]
) -> Int64[Tensor, "4"]:
    """TP, FP, FN and TN: numbers of valid pixels."""
    found, true = predicted & valid, target & valid
    right, positive, wanted, all_ = (mask.count_nonzero() for mask in (found & true, found, true, valid))
    return torch.stack([right, positive - right, wanted - right, all_ - positive - wanted + right])


def pixel_scores(counts: Int64[Tensor, "4"]) -> dict[str, Float[Tensor, ""]]:
    """iou, precision, recall, f1 and accuracy of `pixel_counts`, NaN where 0 / 0."""
    tp, fp, fn, tn = counts.to(wide_type(counts))
    return {
        "iou": tp / (tp + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }


def scene_scores(pixels: Int64[Tensor, "4"], boundaries: Int64[Tensor, "4"]) -> Float[Tensor, "5"]:
    """The `SCENE_SCORES` of one scene, NaN where they leave it out; see `BinarySegmentation`."""
    scores = {**pixel_scores(pixels), "boundary_f": boundary_f(boundaries)}
    for name in ("iou", "f1"):
        scores[name] = torch.where(pixels.sum() > 0, scores[name].nan_to_num(1.0), torch.nan)
    return torch.stack([scores[name] for name in SCENE_SCORES])
