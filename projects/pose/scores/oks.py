"""Object keypoint similarity, and what follows from it: one detection per person, and its score. NumPy alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64


def oks(
    points_a: Float[np.ndarray, "a keypoints 2"],
    points_b: Float[np.ndarray, "b keypoints 2"],
    *,
    area_b: Float[np.ndarray, " b"] | Float[np.ndarray, "a b"],
    sigmas: Sequence[float],
    visible_b: Bool[np.ndarray, "b keypoints"] | None = None,
) -> Float[np.ndarray, "a b"]:
    """Object keypoint similarity of all pairs: 1 where all keypoints agree, towards 0 with their distance.

    The mean of exp(-d^2 / (2 (2 sigma)^2 area)) over the keypoints that are visible in b, with d the distance, as
    COCO's evaluation defines it (Lin et al. 2014; cocodataset.org, "Keypoint Evaluation").

    Args:
        points_a: people, in pixels; the files' keypoints or the skeleton's joints, as the sigmas are.
        points_b: people to compare them with, in pixels.
        area_b: square pixels, of each person b or of each pair.
        sigmas: of each keypoint, as shares of the square root of the area.
        visible_b: keypoints that count; None for all. A person b without one is like nobody: 0.

    Returns:
        float64.
    """
    counted = np.ones(points_b.shape[:2]) if visible_b is None else visible_b.astype(np.float64)
    squares = np.square(points_a[:, None].astype(np.float64) - points_b[None].astype(np.float64)).sum(axis=-1)
    variances = 2 * np.square(2 * np.asarray(sigmas, dtype=np.float64))
    area = np.broadcast_to(area_b.astype(np.float64), squares.shape[:2]) + np.spacing(1)
    likeness = np.exp(-squares / variances / area[..., None])
    return (likeness * counted).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)


def oks_nms(
    points_xy: Float[np.ndarray, "people keypoints 2"],
    score: Float[np.ndarray, " people"],
    *,
    area: Float[np.ndarray, " people"],
    sigmas: Sequence[float],
    threshold: float = 0.9,
) -> Int64[np.ndarray, " kept"]:
    """Which of some detections stay when those that are like a better one go (Papandreou et al., CVPR 2017).

    Args:
        points_xy: all keypoints count, whatever their score, in pixels.
        score: the best is kept first; of equal ones the last.
        area: square pixels of each detection; of a pair the mean of both.
        sigmas: of each keypoint; see `oks`.
        threshold: largest similarity of two that stay.

    Returns:
        numbers of those that stay, best first.
    """
    similarity = oks(points_xy, points_xy, area_b=(area[:, None] + area[None]) / 2, sigmas=sigmas)
    left, kept = np.argsort(score, kind="stable")[::-1], []
    while len(left):
        kept.append(left[0])
        left = left[1:][similarity[left[0], left[1:]] <= threshold]
    return np.array(kept, dtype=np.int64)


def rescore(
    keypoint_scores: Float[np.ndarray, "people keypoints"],
    box_scores: Float[np.ndarray, " people"],
    *,
    threshold: float = 0.2,
) -> Float[np.ndarray, " people"]:
    """Scores of people as top-down methods rank them: the box's score times the mean of the keypoints' scores.

    Args:
        keypoint_scores: only those above the threshold count; without one the score is 0.
        box_scores: of the people's boxes.
        threshold: a keypoint's score above which it is seen.

    Returns:
        float64, so that people whose keypoints score alike score alike, however many they show.
    """
    seen = keypoint_scores > threshold
    sums = keypoint_scores.astype(np.float64).sum(axis=1, where=seen)
    return sums / np.maximum(seen.sum(axis=1), 1) * box_scores.astype(np.float64)
