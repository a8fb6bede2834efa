"""Scores of a detector that finds at most one object per frame."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric


class FrameErrors(NamedTuple):
    """What the scores need of each frame.

    Attributes:
        scores: of the one detection.
        distances: from detection to object, in pixels of the original frame; 0 where the object is not visible.
        widths: of the original frame, in pixels.
        visible: 1 where the object is visible, else 0.
    """

    scores: Float[Tensor, " frames"]
    distances: Float[Tensor, " frames"]
    widths: Float[Tensor, " frames"]
    visible: Float[Tensor, " frames"]


class SinglePointDetection(Metric):
    """Detection scores of TrackNetV2 (Sun et al., "TrackNetV2: Efficient Shuttlecock Tracking Network", 2020).

    A frame has a prediction where score >= threshold. Then, with d the distance in pixels of a `reference_width` frame:

    - TP: visible, predicted, d <= tau. FP1: visible, predicted, d > tau. FP2: not visible, predicted. TN: not visible,
      not predicted. FN: visible, not predicted.
    - accuracy = (TP + TN) / frames; precision = TP / (TP + FP1 + FP2); recall = TP / (TP + FN); F1 of the two.
      FP1 is not in the denominator of the recall, as in the published evaluation code of TrackNetV3 and of WASB
      (Tarashima et al., 2023): a far detection lowers accuracy and precision only.
    - rmse = sqrt(mean d^2) and median of d over the frames that are visible and predicted (TP and FP1).
    - ap: area under precision over recall for all thresholds, without interpolation, where a detection is right if the
      object is visible and d <= tau and the recall counts all visible frames (unlike the recall above). It does not
      depend on the threshold.

    Where nothing can be divided by: accuracy, rmse and median are nan; precision, recall, F1 and AP are 0, as with
    scikit-learn's `zero_division=0`.

    Args:
        tau: largest distance of a right detection, in pixels of a frame of `reference_width`.
        threshold: smallest score of a detection; may be set at any time before `compute`.
        reference_width: frame width in which tau, rmse_px and median_px are measured.
    """

    full_state_update = False
    is_differentiable = False

    scores: list[Tensor]
    distances: list[Tensor]
    widths: list[Tensor]
    visible: list[Tensor]

    def __init__(self, tau: float = 4.0, threshold: float = 0.5, *, reference_width: int = 512) -> None:
        super().__init__(compute_with_cache=False)  # the threshold may change between two calls
        self.tau = tau
        self.threshold = threshold
        self.reference_width = reference_width
        for name in FrameErrors._fields:  # one type and one axis for all: a rank without frames sends float32 (0,)
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self,
        points_xy: Float[Tensor, "batch 2"],
        scores: Float[Tensor, " batch"],
        target_xy: Float[Tensor, "batch 2"],
        visible: Bool[Tensor, " batch"],
        *,
        scale_xy: Float[Tensor, "batch 2"],
        width: int,
    ) -> None:
        """Adds one batch of frames; see `frame_errors`."""
        frames = frame_errors(points_xy, scores, target_xy, visible, scale_xy=scale_xy, width=width)
        for name, values in frames._asdict().items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Tensor]:
        """The scores by name; see `point_scores`."""
        return point_scores(
            self._frames(), tau=self.tau, threshold=self.threshold, reference_width=self.reference_width
        )

    def best_threshold(self) -> float:
        """The threshold with the highest accuracy over all frames so far, of all ranks; the highest among equals.

        It is one of the scores, or just above the highest where predicting nothing is best. Without frames it is the
        present threshold.
        """
        with self.sync_context():
            frames = self._frames()
        if not len(frames.scores):
            return self.threshold
        return _best_threshold(frames, near=_near(frames, self.tau, self.reference_width))

    def _frames(self) -> FrameErrors:
        states = (getattr(self, name) for name in FrameErrors._fields)
        empty = torch.zeros(0, device=self.device)
        return FrameErrors(*(torch.cat([empty, *state]) if isinstance(state, list) else state for state in states))


def frame_errors(
    points_xy: Float[Tensor, "batch 2"],
    scores: Float[Tensor, " batch"],
    target_xy: Float[Tensor, "batch 2"],
    visible: Bool[Tensor, " batch"],
    *,
    scale_xy: Float[Tensor, "batch 2"],
    width: int,
) -> FrameErrors:
    """What the scores need of a batch of frames.

    Args:
        points_xy: detections, in pixels of the network's input.
        scores: of the detections, 0..1.
        target_xy: objects, in pixels of the network's input; any value where not visible.
        visible: whether there is an object to find.
        scale_xy: original pixels per input pixel.
        width: of the input, in pixels.
    """
    distances = torch.linalg.vector_norm((points_xy - target_xy).float() * scale_xy.float(), dim=-1)
    return FrameErrors(
        scores=scores.float(),
        distances=torch.where(visible, distances, 0),
        widths=scale_xy[:, 0].float() * width,
        visible=visible.float(),
    )


def point_scores(
    frames: FrameErrors, *, tau: float, threshold: float, reference_width: int = 512
) -> dict[str, Float[Tensor, ""]]:
    """The scores that `SinglePointDetection` defines.

    Returns:
        accuracy, precision, recall, f1, ap (0..1); tp, fp1, fp2, tn, fn (frames); rmse_px, median_px (pixels of a
        frame of `reference_width`), rmse_original_px, median_original_px (pixels of the original frames).
    """
    near, visible, predicted = _near(frames, tau, reference_width), frames.visible > 0, frames.scores >= threshold
    found = visible & predicted
    counts = {
        "tp": found & near,
        "fp1": found & ~near,
        "fp2": ~visible & predicted,
        "tn": ~visible & ~predicted,
        "fn": visible & ~predicted,
    }
    tp, fp1, fp2, tn, fn = (mask.sum().float() for mask in counts.values())
    precision, recall = _ratio(tp, tp + fp1 + fp2), _ratio(tp, tp + fn)
    original = frames.distances[found]
    reference = original * reference_width / frames.widths[found]
    return {
        "accuracy": (tp + tn) / len(near),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "ap": average_precision(frames.scores, visible & near, objects=int(visible.sum())),
        **{"tp": tp, "fp1": fp1, "fp2": fp2, "tn": tn, "fn": fn},
        **{"rmse_px": _rmse(reference), "median_px": _median(reference)},
        **{"rmse_original_px": _rmse(original), "median_original_px": _median(original)},
    }


def average_precision(
    scores: Float[Tensor, " detections"], right: Bool[Tensor, " detections"], *, objects: int
) -> Float[Tensor, ""]:
    """Sum of precision times gain in recall from the highest score down; equal scores enter together.

    Args:
        scores: of the detections.
        right: whether a detection found its object.
        objects: number of objects there are to find; those without a right detection lower the recall.
    """
    if objects == 0:
        return scores.new_zeros(())
    scores, order = scores.sort(descending=True)
    hits = right[order].cumsum(dim=0)
    last = torch.cat([scores[1:] != scores[:-1], torch.ones_like(scores[:1], dtype=torch.bool)])
    precision = (hits / torch.arange(1, len(hits) + 1, device=hits.device))[last]
    gain = hits[last].diff(prepend=hits.new_zeros(1)) / objects
    return (precision * gain).sum()


def _best_threshold(frames: FrameErrors, *, near: Tensor) -> float:
    """The frames predicted under a threshold are the first of the sorted ones: one cumulative sum tries them all."""
    scores, order = frames.scores.sort(descending=True)
    visible = frames.visible[order] > 0
    # A frame that becomes predicted turns right (a hit), turns wrong (nothing was there) or stays wrong.
    gain = ((visible & near[order]).long() - (~visible).long()).cumsum(dim=0)
    last = torch.cat([scores[1:] != scores[:-1], torch.ones_like(visible[:1])])
    gain, candidates = gain[last], scores[last]
    best = int(gain.argmax())
    if gain[best] > 0:
        return float(candidates[best])
    return float(torch.nextafter(scores[0], scores.new_tensor(math.inf)))


def _near(frames: FrameErrors, tau: float, reference_width: int) -> Tensor:
    return frames.distances * reference_width / frames.widths <= tau


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0)


def _rmse(distances: Tensor) -> Tensor:
    wide = torch.float32 if distances.device.type == "mps" else torch.float64  # else ranks add in another order
    return distances.to(wide).square().mean().sqrt()


def _median(distances: Tensor) -> Tensor:
    return distances.quantile(0.5) if len(distances) else distances.new_tensor(math.nan)
