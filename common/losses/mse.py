"""Squared error of probabilities where there is a label (Brier, 1950)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.losses.parts import LossParts, sum_samples


def mse_parts(
    logits: Float[Tensor, "batch *cells"], target: Float[Tensor, "batch *cells"], valid: Bool[Tensor, "batch *cells"]
) -> LossParts:
    """Mean squared error of sigmoid(logits) over the valid pixels of all samples, before its division.

    Error of each sample and its number of valid pixels. What stands where not valid, NaN included, changes neither
    value nor gradient.

    Args:
        logits: of any floating type; computed in float32, summed in float64.
        target: 0..1.
        valid: whether a pixel counts.
    """
    p = logits.float().masked_fill(~valid, -math.inf).sigmoid()  # 0, as the target, where not valid
    error = p - torch.where(valid, target.float(), 0)
    return LossParts(sum_samples(error.square()), sum_samples(valid))
