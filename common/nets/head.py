"""A short head: long ones, and batch norm in them, slow a rare-positive heatmap down."""

import math

import torch
from torch import nn

from common.nets.activations import activation


class Head(nn.Sequential):
    """Two convolutions without normalisation: 3x3 (with the stride that is missing), activation, 1x1.

    Args:
        in_channels: channels of the features.
        out_channels: channels of the output, which are logits or plain numbers: no activation follows.
        hidden: channels between the two convolutions.
        act: name of the activation between them.
        stride: stride of the first convolution.
        prior: where given, the output's bias starts at the logit of this probability, so that a network which has
            seen nothing yet expects positives to be rare (Lin et al. 2017, focal loss, section 4.1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int,
        act: str,
        stride: int = 1,
        prior: float | None = None,
    ) -> None:
        last = nn.Conv2d(hidden, out_channels, 1)
        if prior is not None:
            with torch.no_grad():
                last.weight.mul_(0.1)  # the prior, not chance, decides the first outputs
                last.bias.fill_(math.log(prior / (1 - prior)))  # type: ignore[union-attr]
        super().__init__(nn.Conv2d(in_channels, hidden, 3, stride=stride, padding=1), activation(act), last)
