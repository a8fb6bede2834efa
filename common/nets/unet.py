"""A U-Net from scratch, with a stem that begins at coarser cells where time matters."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.nets.activations import activation as new_activation


class UNet(nn.Module):
    """Features of a U-Net (Ronneberger et al. 2015) before its last 1x1 convolution.

    Unlike the paper's, convolutions are padded, so that nothing is cropped, and batch norm follows each.

    Args:
        in_channels: channels of the input.
        width: channels of the first level; each deeper one has twice as many.
        depth: how often the size is halved.
        stem: input pixels along the side of a cell of the first level, 1 in the paper. As the finest level costs most,
            2 takes a quarter of the time; the output then has half the height and width.
        max_width: no level has more channels than this; the paper doubles to the end.
        convs: 3x3 convolutions per level and side, 2 in the paper.
        activation: after each convolution, see `ACTIVATIONS`.
        up: how the decoder doubles the size: "bilinear" after a 1x1 convolution, or by a "transposed" convolution as in
            the paper.

    Attributes:
        out_channels: channels of the output.
        stride: size of an output cell in input pixels; that of the stem.
        divisor: height and width of the input must be multiples of it.

    Raises:
        UserError: if a number is too small or a name not known.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 32,
        depth: int = 4,
        stem: int = 1,
        max_width: int = 512,
        convs: int = 2,
        activation: str = "relu",
        up: str = "bilinear",
    ) -> None:
        super().__init__()
        least = {"width": 1, "depth": 0, "stem": 1, "max_width": 1, "convs": 1}
        given = {"width": width, "depth": depth, "stem": stem, "max_width": max_width, "convs": convs}
        for name, smallest in least.items():
            if given[name] < smallest:
                raise UserError(f"U-Net: {name} = {given[name]}; expected {smallest} or more")
        widths = [min(width * 2**level, max_width) for level in range(depth + 1)]
        first = in_channels if stem == 1 else widths[0]
        self.stem = nn.Identity() if stem == 1 else _patches(in_channels, first, side=stem, act=activation)
        self.encoder = nn.ModuleList(
            _level(inputs, outputs, convs=convs, act=activation)
            for inputs, outputs in zip([first, *widths[:-1]], widths, strict=True)
        )
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(_doubled(inputs, outputs, up=up) for inputs, outputs in steps)
        self.decoder = nn.ModuleList(_level(2 * outputs, outputs, convs=convs, act=activation) for _, outputs in steps)
        self.out_channels, self.stride, self.divisor = widths[0], stem, stem * 2**depth

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """Features at `stride`; raises where height or width is no multiple of `divisor`."""
        x = self.stem(x)
        levels: list[Tensor] = []
        for level in self.encoder:
            x = level(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for skip, up, level in zip(levels[-2::-1], self.up, self.decoder, strict=True):
            x = level(torch.cat([skip, up(x)], dim=1))
        return x


def _level(inputs: int, outputs: int, *, convs: int, act: str) -> nn.Sequential:
    sizes = [inputs] + [outputs] * convs
    return nn.Sequential(*(_normed(nn.Conv2d(a, b, 3, padding=1, bias=False), act) for a, b in pairwise(sizes)))


def _patches(inputs: int, outputs: int, *, side: int, act: str) -> nn.Sequential:
    """Cells of side x side pixels that do not overlap."""
    return _normed(nn.Conv2d(inputs, outputs, side, stride=side, bias=False), act)


def _normed(conv: nn.Conv2d, act: str) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), new_activation(act))


def _doubled(inputs: int, outputs: int, *, up: str) -> nn.Module:
    if up == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    if up != "bilinear":
        raise UserError(f"U-Net: up = {up!r}; expected 'bilinear' or 'transposed'")
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
