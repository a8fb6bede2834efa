"""Absolute error where there is something to compare with."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from common.losses.parts import LossParts, sum_samples


def masked_l1_loss(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], mask: Bool[Tensor, "*mask"]
) -> Float[Tensor, ""]:
    """Mean absolute error over the masked entries, as float32.

    An empty mask costs 0, with a gradient of 0. What stands at the other entries, NaN included, has no effect.

    Args:
        prediction: of any floating type.
        target: same shape and unit as the prediction.
        mask: true where the entry counts; broadcasts to the prediction, so (batch, 1, height, width) counts both
            channels of an offset.
    """
    error, counted = _errors(prediction, target, mask)
    return error.sum() / counted.sum().clamp(min=1)


def masked_l1_parts(
    prediction: Float[Tensor, "batch *shape"], target: Float[Tensor, "batch *shape"], mask: Bool[Tensor, "batch *mask"]
) -> LossParts:
    """`masked_l1_loss` before its division: error and number of masked entries of each sample.

    The loss over many batches is the error per masked entry of all of them; a sample without any changes nothing.
    """
    error, counted = _errors(prediction, target, mask)
    return LossParts(sum_samples(error), sum_samples(counted))


def _errors(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], mask: Bool[Tensor, "*mask"]
) -> tuple[Float[Tensor, "*shape"], Bool[Tensor, "*shape"]]:
    counted = mask.expand_as(prediction)
    return torch.where(counted, prediction.float() - target.float(), 0).abs(), counted


class MaskedL1Loss(nn.Module):
    """`masked_l1_loss` as a module."""

    def forward(
        self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], mask: Bool[Tensor, "*mask"]
    ) -> Float[Tensor, ""]:
        """The mean absolute error over the masked entries."""
        return masked_l1_loss(prediction, target, mask)
