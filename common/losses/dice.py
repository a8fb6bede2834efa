"""Soft Dice loss that is right on tiles of one class."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.losses.parts import LossParts, sum_samples

DiceOver = Literal["sample", "batch"]


def dice_parts(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    valid: Bool[Tensor, "batch *cells"],
    *,
    over: DiceOver = "sample",
    smoothing: float = 0.05,
) -> LossParts:
    """Soft Dice loss of the valid pixels, before its division.

    With p = sigmoid(logits), P and T the sums of p and target, I that of their product, and s the smoothing in pixels:
    1 - (2 I + s) / (P + T + s), written as (P + T - 2 I) / (P + T + s), which is 0 for a perfect prediction of any tile
    (Milletari et al., "V-Net", 2016, without squares). s is a share of the valid pixels, so that it means the same for
    tiles of any size. On a tile with nothing to find the loss is P / (P + s): without smoothing 1 for any P and thus
    without gradient, with a fixed s of a pixel or less nearly so. A divisor below one pixel counts as one pixel.

    What stands where not valid, NaN included, changes neither value nor gradient.

    Args:
        logits: of any floating type; computed in float32, summed in float64.
        target: 0 or 1. Soft labels have no place here: on a tile of low ones the best answer may be p = 1.
        valid: whether a pixel counts.
        over: "sample" is the mean loss of the samples that have a valid pixel; "batch" takes all pixels as of one
            sample. Added up over a split, "batch" is the loss of the pixels of the whole split, smoothed by a share of
            all of them.
        smoothing: s per valid pixel.
    """
    # A probability of exactly 0, with a gradient of 0, where not valid.
    p = logits.float().masked_fill(~valid, -math.inf).sigmoid()
    target = torch.where(valid, target.float(), 0)
    both = sum_samples(p) + sum_samples(target)
    error, total = both - 2 * sum_samples(p * target), both + smoothing * sum_samples(valid)
    if over == "batch":
        return LossParts(error, total)
    return LossParts(error / total.clamp(min=1), valid.flatten(1).any(dim=1).to(error.dtype))
