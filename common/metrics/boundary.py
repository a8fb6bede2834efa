"""How well the boundaries of a mask are met."""

from math import isqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from common.errors import UserError


def boundary_counts(
    predicted: Bool[Tensor, "height width"],
    target: Bool[Tensor, "height width"],
    valid: Bool[Tensor, "height width"],
    *,
    tolerance: int = 2,
) -> Int64[Tensor, "4"]:
    """Boundary pixels of one scene: predicted and near a true one, predicted, true and near a predicted one, true.

    A boundary pixel is a positive one beside (left, right, above, below) a negative one. It counts where it and all
    four neighbours are valid and in the scene, so that boundaries which touch the scene's border or something unknown
    do not count; those that do touch may still be near to another. Near is a Euclidean distance of at most `tolerance`,
    measured between pixel centres.

    Counts of scenes may be added. Memory: a few bytes per pixel; time grows with pixels times tolerance.

    Args:
        predicted: any value where not valid.
        target: any value where not valid.
        valid: whether a pixel is known.
        tolerance: in pixels.

    Raises:
        UserError: if the tolerance is negative.
    """
    if tolerance < 0:
        raise UserError(f"tolerance of the boundary: found {tolerance}, expected pixels, at least 0")
    inner = _surrounded(valid)
    found, true = _boundary(predicted, valid), _boundary(target, valid)
    found_counted, true_counted = found & inner, true & inner
    masks = (
        *(found_counted & _near(true, tolerance), found_counted),
        *(true_counted & _near(found, tolerance), true_counted),
    )
    return torch.stack([mask.count_nonzero() for mask in masks])


def boundary_f(counts: Int64[Tensor, "4"]) -> Float[Tensor, ""]:
    """The boundary F-score, 0..1, of `boundary_counts`: harmonic mean of precision and recall of the boundary pixels.

    From Csurka et al., "What is a good evaluation measure for semantic segmentation?", 2013; as in DAVIS (Perazzi et
    al., 2016), but NaN instead of 1 where there is no boundary at all, neither predicted nor true. With boundaries on
    one side only it is 0.
    """
    near_true, predicted, near_predicted, true = counts.to(wide_type(counts))
    precision, recall = near_true / predicted.clamp(min=1), near_predicted / true.clamp(min=1)
    score = 2 * precision * recall / torch.where(precision + recall > 0, precision + recall, 1)
    return torch.where(predicted + true > 0, score, torch.nan)


def wide_type(counts: Tensor) -> torch.dtype:
    """The type for ratios of counts: float64, or float32 where the device has no such type."""
    return torch.float32 if counts.device.type == "mps" else torch.float64


def _boundary(mask: Tensor, valid: Tensor) -> Tensor:
    return mask & valid & _beside(~mask & valid)


def _surrounded(valid: Tensor) -> Tensor:
    inner = valid & ~_beside(~valid)
    inner[[0, -1], :] = False
    inner[:, [0, -1]] = False
    return inner


def _beside(mask: Tensor) -> Tensor:
    beside = torch.zeros_like(mask)
    for axis in (0, 1):
        _spread(beside, mask, 1, axis)
    return beside


def _near(mask: Tensor, tolerance: int) -> Tensor:
    """Pixels in a disk around those of the mask: its rows from the ends to the middle, each as wide as the one before.

    That takes about 4 passes per pixel of tolerance; a distance transform of as many pixels takes ten times as long.
    """
    widened, near, width = mask.clone(), torch.zeros_like(mask), 0
    for height in range(tolerance, -1, -1):
        half = isqrt(tolerance**2 - height**2)
        for step in range(width + 1, half + 1):
            _spread(widened, mask, step, 1)
        width = half
        _spread(near, widened, height, 0)
    return near


def _spread(into: Tensor, mask: Tensor, step: int, axis: int) -> None:
    """Adds to a mask another one moved by so many pixels along an axis, both ways."""
    length = mask.shape[axis] - step
    if length > 0:
        into.narrow(axis, step, length).logical_or_(mask.narrow(axis, 0, length))
        into.narrow(axis, 0, length).logical_or_(mask.narrow(axis, step, length))
