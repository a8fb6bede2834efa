"""Convolutions as every part of a pose network has them, and how their weights start."""

from dataclasses import dataclass

import torch
from torch import nn

from common.errors import UserError
from common.nets.activations import ACTIVATIONS, activation

PRELU = "prelu"
"""A ReLU whose negative side has a slope that is learned, per channel; known here beside `ACTIVATIONS`."""

OUTPUT_GAIN = 0.03
"""How large a stage's maps start, in root mean square, beside what its last convolution sees."""


def layer(inputs: int, outputs: int, *, kernel: int, act: str, norm: bool, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm where asked for, and an activation.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: side of the convolution, odd, or as large as the stride.
        act: "prelu" or a name in `ACTIVATIONS`.
        norm: whether there is batch norm.
        stride: of the convolution; a multiple of it is divided by it, without rest.

    Raises:
        UserError: `act` is not known.
    """
    padding = (max(kernel - stride, 0) + 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=not norm)
    start(conv, act)
    return nn.Sequential(conv, *([nn.BatchNorm2d(outputs)] if norm else []), _activation(act, outputs))


def start(conv: nn.Conv2d, act: str) -> None:
    """Weights as in He et al. 2015: what goes through `conv` and then `act` keeps its scale, after any number of them.

    The papers' code draws all of them with a deviation of .01: at the end of a stage without norm, a hundred-thousandth
    (2019) or a thousandth (2017) of what goes in is then left, and as little of the gradient comes back.
    """
    nn.init.kaiming_normal_(conv.weight, a=nn.PReLU().init if act == PRELU else 0.0)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


@dataclass(frozen=True)
class Style:
    """What the layers of all stages have in common.

    Args:
        activation: "prelu" or a name in `ACTIVATIONS`.
        norm: batch norm after each convolution but a stage's last.
        dropout: share of the channels before a stage's last convolution that are zero in training: behind all of its
            batch norm, whose statistics would else not be those of evaluation (Li et al. 2019, CVPR).

    Raises:
        UserError: the dropout is no share; a name that is not known is told by the first layer.
    """

    activation: str
    norm: bool
    dropout: float

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout: found {self.dropout}, expected 0 or more and less than 1")

    def layer(self, inputs: int, outputs: int, *, kernel: int) -> nn.Sequential:
        """See `layer`."""
        return layer(inputs, outputs, kernel=kernel, act=self.activation, norm=self.norm)

    def output(self, inputs: int, outputs: int, *, hidden: int, background: bool) -> nn.Sequential:
        """The end of a stage, two 1x1 convolutions: its maps start near zero, but let gradients through.

        Args:
            inputs: channels of the input.
            outputs: channels of the maps.
            hidden: channels between the two.
            background: whether the last map is the background's, which starts near one: nothing is anywhere. Its error
                would else outweigh that of all the others at first.
        """
        last = nn.Conv2d(hidden, outputs, 1)
        nn.init.normal_(last.weight, std=OUTPUT_GAIN / hidden**0.5)
        empty = torch.zeros(outputs)
        empty[-1] = float(background)
        last.bias = nn.Parameter(empty)
        dropout = [nn.Dropout2d(self.dropout)] if self.dropout else []
        return nn.Sequential(self.layer(inputs, hidden, kernel=1), *dropout, last)


def require_positive(where: str, **given: int) -> None:
    """A `UserError` for the first setting of `where` that is less than 1."""
    for name, value in given.items():
        if value < 1:
            raise UserError(f"{where}: {name}: found {value}, expected 1 or more")


def _activation(name: str, channels: int) -> nn.Module:
    if name == PRELU:
        return nn.PReLU(channels)
    if name not in ACTIVATIONS:
        raise UserError(f"activation: found {name!r}, expected one of {', '.join([*ACTIVATIONS, PRELU])}")
    return activation(name)
