"""Binary cross entropy where there is a label."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from common.losses.parts import LossParts, sum_samples


def bce_parts(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    valid: Bool[Tensor, "batch *cells"],
    *,
    pos_weight: Float[Tensor, ""],
) -> LossParts:
    """Mean binary cross entropy over the valid pixels of all samples, before its division.

    Cost of each sample and its number of valid pixels. As in PyTorch, `pos_weight` is not in the divisor. What stands
    where not valid, NaN included, changes neither value nor gradient.

    Args:
        logits: of any floating type; computed in float32, summed in float64.
        target: 0..1.
        valid: whether a pixel counts.
        pos_weight: weight of the positive pixels.
    """
    logits, target = torch.where(valid, logits.float(), 0), target.float()
    cost = binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight.float(), reduction="none")
    return LossParts(sum_samples(cost.masked_fill(~valid, 0)), sum_samples(valid))


def balancing_pos_weight(label_mean: float, *, most: float = 100.0) -> float:
    """The `pos_weight` with which positive and negative pixels weigh the same: negative per positive pixel.

    Args:
        label_mean: share of the positive among the labelled pixels, 0..1; NaN, where nothing is labelled, gives 1.
        most: the weight stays in 1 / most..most, also for masks that are all of one class.
    """
    if math.isnan(label_mean):
        return 1.0
    return min(max((1 - label_mean) / max(label_mean, 1 / (most + 1)), 1 / most), most)
