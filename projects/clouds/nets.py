"""The clouds' network: bands in, one logit per pixel out, whatever the size."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import UserError
from common.nets.backbone import Backbone
from common.nets.padded import Padded
from common.nets.unet import UNet

OWN = "UNet"
"""The architecture from scratch, `common.nets.unet`; smp's, with an encoder by name, is "Unet"."""

_ENCODER = "resnet18"


class CloudNet(nn.Module):
    """Our own U-Net, or any smp architecture with any encoder, for pictures of any height and width.

    All but PSPNet and UPerNet, which pool to a fixed grid, can be exported with free sizes.

    With two channels, trained by a softmax, what comes out is the difference of their logits, z1 - z0, which says the
    same: softmax(z)[1] = exp(z1) / (exp(z0) + exp(z1)) = 1 / (1 + exp(-(z1 - z0))) = sigmoid(z1 - z0).

    Args:
        in_channels: bands; the module gives it.
        arch: "UNet", our own, or an smp architecture, see `Backbone` ("Unet", "DeepLabV3Plus", "Segformer", ...).
        encoder: smp encoder, or timm's as "tu-<name>", resnet18 by default; "UNet" has none, "DPT" needs a ViT.
        channels: 1, a logit of cloud, or 2, logits of clear and cloud.
        activation: of decoder (and, of "UNet", encoder); "match" takes the encoder's, ReLU for "UNet".
        weights: file with pretrained weights of the encoder.
        prior: share of cloud that the untrained network expects; None leaves it to chance.
        unet: more arguments of our own `UNet`: width, depth, stem, ...; smp's architectures do not look at them.
        options: more arguments of the smp class.

    Raises:
        UserError: if the settings do not make a network.
    """

    def __init__(  # noqa: PLR0913 - what a config says of a network
        self,
        in_channels: int,
        *,
        arch: str = OWN,
        encoder: str | None = None,
        channels: Literal[1, 2] = 1,
        activation: str = "match",
        weights: str | None = None,
        prior: float | None = None,
        unet: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if channels not in (1, 2):
            raise UserError(f"channels: found {channels}, expected 1 (logits) or 2 (softmax)")
        features = (
            _own(in_channels, activation, unet or {}, encoder=encoder, weights=weights, options=options)
            if arch == OWN
            else Backbone(
                in_channels, arch=arch, encoder=encoder or _ENCODER, activation=activation, weights=weights,
                options=(options or {}) | ({"dynamic_img_size": True} if arch == "DPT" else {}),
            )
        )  # fmt: skip
        head = nn.Conv2d(features.out_channels, channels, 1)
        if prior is not None:
            _expect(head, prior)
        full = nn.Upsample(scale_factor=features.stride, mode="bilinear") if features.stride > 1 else nn.Identity()
        divisor = features.divisor * (2 if arch == "DPT" else 1)  # it halves its grid of patches once more
        least = 8 * divisor if arch == "PAN" else 1  # it pools 8 cells of its encoder to one
        self.net = Padded(nn.Sequential(features, head, full), divisor, least=least)
        self.to(memory_format=torch.channels_last)  # a fifth faster

    @property
    def divisor(self) -> int:
        """Other heights and widths than its multiples are padded."""
        return self.net.divisor

    def forward(self, x: Float[Tensor, "batch bands height width"]) -> Float[Tensor, "batch 1 height width"]:
        """Standardised pictures to the logit of cloud."""
        logits: Tensor = self.net(x)
        return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]


def _own(in_channels: int, activation: str, unet: dict[str, Any], **of_smp: Any) -> UNet:
    given = {name: value for name, value in of_smp.items() if value}
    if given:
        raise UserError(
            f'arch "{OWN}": found {given}, which smp\'s architectures have; leave it out, or take smp\'s "Unet"'
        )
    if activation != "match":
        unet = unet | {"activation": activation}
    try:
        return UNet(in_channels, **unet)
    except (TypeError, ValueError) as error:
        raise UserError(f'unet of arch "{OWN}": {unet}: {error}') from error


def _expect(head: nn.Conv2d, prior: float) -> None:
    """Lets an untrained head say `prior` of every pixel, as in Lin et al. 2017, focal loss, section 4.1."""
    if not 0 < prior < 1:
        raise UserError(f"prior: found {prior}, expected a share of cloud between 0 and 1")
    assert head.bias is not None
    with torch.no_grad():
        head.weight.mul_(0.1)
        head.bias.zero_()
        head.bias[-1] = math.log(prior / (1 - prior))
