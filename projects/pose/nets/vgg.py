"""The front of both papers: the beginning of VGG-19."""

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers  # type: ignore[import-untyped]

from common.errors import UserError
from projects.pose.nets.fronts import Front
from projects.pose.nets.layers import layer, require_positive, start

_LAYERS = cfgs["E"][:13]
"""Of VGG-19 up to conv4_2: channels of ten convolutions, and three poolings."""


class Vgg19Front(Front):
    """The first ten convolutions of VGG-19 (Simonyan and Zisserman 2015), then two of 3x3 (Cao et al. 2017 and 2019).

    The papers begin with weights from ImageNet. Without them and without norm it learns slowly.

    Args:
        in_channels: channels of the picture, which are 3.
        channels: of the two convolutions that are added; the papers' by default.
        activation: after these two, "prelu" (2019), "relu" (2017) or another name in `ACTIVATIONS`; VGG's own is ReLU.
        norm: batch norm after each convolution; VGG's layers are then those of torchvision's vgg19_bn.
        weights: file of a state dict of torchvision's vgg19 or, with `norm`, vgg19_bn. Nothing is ever downloaded.

    Raises:
        UserError: the file or a setting is not as described.
    """

    stride = divisor = 8

    def __init__(
        self,
        in_channels: int = 3,
        *,
        channels: tuple[int, int] = (256, 128),
        activation: str = "relu",
        norm: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if in_channels != 3:
            raise UserError(f"Vgg19Front: in_channels: found {in_channels}, expected 3")
        require_positive("Vgg19Front", channels=min(channels))
        self.features: nn.Sequential = make_layers(_LAYERS, batch_norm=norm)
        for conv in self.features:
            if isinstance(conv, nn.Conv2d):
                start(conv, "relu")
        if weights is not None:
            _load(self.features, weights, kind="vgg19_bn" if norm else "vgg19")
        sizes = pairwise([_LAYERS[-1], *channels])
        self.added = nn.Sequential(*(layer(a, b, kernel=3, act=activation, norm=norm) for a, b in sizes))
        self.out_channels = channels[-1]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features rows columns"]:
        """See `Front`."""
        features: Tensor = self.added(self.features(x))
        return features


def _load(features: nn.Sequential, weights: str, *, kind: str) -> None:
    """Loads what `features` has of torchvision's state dict; the later layers in the file are not needed."""
    if not Path(weights).is_file():
        raise UserError(f"weights: no file {weights!r}; give the path of a local file or leave it out")
    names = {f"features.{name}": name for name in features.state_dict()}
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        features.load_state_dict({names[key]: values for key, values in state.items() if key in names})
    except Exception as error:  # every way in which a foreign file can be wrong
        why = " ".join(str(error).split())
        raise UserError(
            f"weights {weights}: not a state dict of torchvision's {kind}: {why}; give such a file, and set `norm` as "
            f"it was trained"
        ) from error
