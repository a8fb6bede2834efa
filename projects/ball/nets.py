"""The ball's network: stacked frames in, one heatmap and one offset map out."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from common.errors import UserError
from common.nets.activations import main_activation
from common.nets.backbone import Backbone
from common.nets.head import Head
from common.shapes import Heatmaps, Offsets


class BallOutput(NamedTuple):
    """What the network says of each cell."""

    heatmap: Heatmaps
    """Logits: is the ball's centre in this cell?"""
    offset: Offsets
    """Where in the cell: (x, y) from the cell's centre, in cells."""


class BallNet(nn.Module):
    """A backbone by name with a short heatmap head and a short offset head.

    The scheme is CenterNet's (Zhou et al. 2019, "Objects as Points") for one object without a size.

    Args:
        in_channels: 3 x frames; the module gives it.
        arch: smp architecture, see `Backbone`.
        encoder: smp encoder, or timm's as "tu-<name>".
        stride: input pixels per cell of the heatmap, a power of two.
        activation: of decoder and heads; "match" takes the encoder's.
        weights: file with pretrained weights of the encoder.
        head_channels: hidden channels of each head.
        prior: share of cells that the untrained heatmap calls the ball.
        options: more arguments of the smp class.
    """

    def __init__(  # noqa: PLR0913 - what a config says of a network
        self,
        in_channels: int,
        *,
        arch: str = "Unet",
        encoder: str = "resnet18",
        stride: int = 4,
        activation: str = "match",
        weights: str | None = None,
        head_channels: int = 32,
        prior: float = 0.01,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(
            in_channels,
            arch=arch,
            encoder=encoder,
            stride=stride,
            activation=activation,
            weights=weights,
            options=options,
        )
        if stride % self.backbone.stride:
            raise UserError(
                f"stride: found {stride}, but {arch} with this encoder ends at {self.backbone.stride} "
                f"pixels per cell; choose a multiple of that"
            )
        act = main_activation(self.backbone.net.encoder) if activation == "match" else activation
        features, surplus = self.backbone.out_channels, stride // self.backbone.stride
        self.stride = stride
        self.heatmap = Head(features, 1, hidden=head_channels, act=act, stride=surplus, prior=prior)
        self.offset = Head(features, 2, hidden=head_channels, act=act, stride=surplus)

    @property
    def divisor(self) -> int:
        """Height and width of the input must be multiples of it."""
        return self.backbone.divisor

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> BallOutput:
        """Standardised frames, stacked along the channels, to logits and offsets at `stride`."""
        features = self.backbone(x)
        return BallOutput(self.heatmap(features), self.offset(features))
