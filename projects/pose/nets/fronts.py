"""What a pose network begins with: features of the picture, by default at stride 8. VGG-19's are in `vgg`."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from common.errors import UserError
from common.nets.activations import main_activation
from common.nets.backbone import Backbone
from common.nets.unet import UNet
from projects.pose.nets.layers import layer, require_positive


class Front(nn.Module, ABC):
    """Features of a picture. A subclass is made as `Front(in_channels, ...)` with its own options.

    Attributes:
        out_channels: channels of the features.
        stride: pixels of the picture along the side of a cell.
        divisor: height and width of the picture must be multiples of it.
    """

    out_channels: int
    stride: int
    divisor: int

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """Features of standardised pictures: RGB less ImageNet's mean, over its deviation."""


class BackboneFront(Front):
    """Any encoder and decoder by name, then a 3x3 convolution with batch norm.

    Args:
        in_channels: channels of the picture.
        arch: smp architecture, see `Backbone`.
        encoder: smp encoder, or timm's as "tu-<name>".
        channels: of the features.
        stride: pixels per cell, a power of two.
        activation: of decoder and last convolution; "match" takes the encoder's.
        weights: file with pretrained weights of the encoder.
        options: more arguments of the smp class.

    Raises:
        UserError: the settings make no network, or one whose cells do not divide `stride`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        arch: str = "Unet",
        encoder: str = "resnet18",
        channels: int = 128,
        stride: int = 8,
        activation: str = "match",
        weights: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_positive("BackboneFront", channels=channels, stride=stride)
        self.backbone = Backbone(
            in_channels, arch=arch, encoder=encoder, stride=stride, activation=activation, weights=weights,
            options=options,
        )  # fmt: skip
        surplus, rest = divmod(stride, self.backbone.stride)
        if rest:
            raise UserError(
                f"stride: found {stride}, but {arch} with {encoder} ends at {self.backbone.stride} pixels per cell; "
                f"choose a multiple of that, or another architecture"
            )
        act = main_activation(self.backbone.net.encoder) if activation == "match" else activation
        self.added = layer(self.backbone.out_channels, channels, kernel=3, act=act, norm=True, stride=surplus)
        self.out_channels, self.stride, self.divisor = channels, stride, self.backbone.divisor

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """See `Front`."""
        features: Tensor = self.added(self.backbone(x))
        return features


class PatchFront(Front):
    """Patches of 4 x 4 pixels, of which 2 x 2 become a cell, and a U-Net from there down and up again.

    For training on few cores. Most of a usual encoder's time goes into its finest levels, where cells are many and
    channels few; this one has none, and dense convolutions, which a CPU multiplies faster than depthwise ones.

    Args:
        in_channels: channels of the picture.
        stem: channels of the patches.
        width: channels of the features, and of the U-Net's first level.
        depth: how often the U-Net halves the size.
        max_width: no level of it has more channels than this.
        convs: 3x3 convolutions per level and side.
        activation: after each convolution, see `ACTIVATIONS`.

    Raises:
        UserError: a setting is too small or not known.
    """

    stride = 8

    def __init__(
        self,
        in_channels: int = 3,
        *,
        stem: int = 32,
        width: int = 48,
        depth: int = 2,
        max_width: int = 96,
        convs: int = 1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        require_positive("PatchFront", stem=stem)
        self.unet = UNet(
            width, width=width, depth=depth, max_width=max_width, convs=convs, activation=activation
        )  # first: it names what is wrong
        self.patches = layer(in_channels, stem, kernel=4, act=activation, norm=True, stride=4)
        self.merged = layer(stem, width, kernel=2, act=activation, norm=True, stride=2)
        self.out_channels, self.divisor = self.unet.out_channels, self.stride * self.unet.divisor

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """See `Front`."""
        features: Tensor = self.unet(self.merged(self.patches(x)))
        return features
