"""Focal loss for pixels of two classes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from common.losses.parts import LossParts, sum_samples


def binary_focal_parts(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    valid: Bool[Tensor, "batch *cells"],
    *,
    gamma: float = 2.0,
) -> LossParts:
    """Mean focal loss over the valid pixels of all samples, before its division.

    Cost of each sample and its number of valid pixels. With p = sigmoid(logits), a positive pixel costs
    -(1 - p)^gamma log p, a negative one -p^gamma log(1 - p), a soft label its share of both (Lin et al., "Focal Loss
    for Dense Object Detection", 2017, without alpha; per pixel, as there are no objects to divide by). gamma = 0 is the
    cross entropy.

    Value and gradient are finite for logits in +-1e4 of any floating type: powers and logarithms are both taken from
    logsigmoid, in float32. What stands where not valid, NaN included, changes neither.

    Args:
        logits: of any floating type.
        target: 0..1.
        valid: whether a pixel counts.
        gamma: focus on pixels that are wrong.
    """
    logits, target = torch.where(valid, logits.float(), 0), target.float()
    log_p, log_q = logsigmoid(logits), logsigmoid(-logits)
    cost = -target * torch.exp(gamma * log_q) * log_p - (1 - target) * torch.exp(gamma * log_p) * log_q
    return LossParts(sum_samples(cost.masked_fill(~valid, 0)), sum_samples(valid))
