"""What follows the features: stages, each of which says the maps anew and sees what those before it said."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from projects.pose.nets.interface import PoseOutput
from projects.pose.nets.layers import Style, require_positive

Features = Float[Tensor, "batch features rows columns"]


class Stages(nn.Module, ABC):
    """From features to the maps of every stage, all of which are compared with the targets.

    A subclass is made as `Stages(features, paf_channels, heat_channels, ...)` with its own options.

    Attributes:
        pafs: stages that give part affinity fields, in order.
        heats: stages that give heatmaps, in order.
        linked: whether a stage sees the maps of those before it beside the features.
    """

    def __init__(self, pafs: Sequence[nn.Module], heats: Sequence[nn.Module], *, linked: bool) -> None:
        super().__init__()
        self.pafs, self.heats, self.linked = nn.ModuleList(pafs), nn.ModuleList(heats), linked

    @abstractmethod
    def forward(self, features: Features) -> PoseOutput:
        """Maps of every stage, as large as the features."""

    def _seen(self, features: Tensor, *maps: Tensor) -> Tensor:
        return torch.cat([features, *maps], dim=1) if self.linked else features


class Cascade(Stages):
    """Stages of part affinity fields, then stages of heatmaps (Cao et al. 2019, OpenPose, IEEE TPAMI, section 3.2).

    The fields are refined first; heatmaps follow from the features and the last fields, and are refined in turn. A
    stage has blocks of three 3x3 convolutions whose outputs are concatenated, then two 1x1. The defaults are the
    paper's; numbers of channels, which it does not print, are those of the network that its authors published with it
    (pose_deploy.prototxt of BODY_25).

    Args:
        features: channels of the features.
        paf_channels: channels of the part affinity fields.
        heat_channels: channels of the heatmaps.
        paf_stages: stages of part affinity fields.
        heat_stages: stages of heatmaps.
        blocks: per stage.
        widths: channels of each 3x3 convolution: in the first stage of either kind, and in the later ones.
        hidden: channels between the two 1x1 convolutions, likewise.
        linked: whether a stage sees the maps of those before it, or the features alone.
        activation: "prelu" (the paper) or a name in `ACTIVATIONS`.
        norm: batch norm after each convolution but a stage's last; the paper has none.
        dropout: share of the channels before a stage's last convolution that are zero in training.

    Raises:
        UserError: a setting is too small, too large or not known.
    """

    def __init__(  # noqa: PLR0913 - what a config says of a network
        self,
        features: int,
        paf_channels: int,
        heat_channels: int,
        *,
        paf_stages: int = 4,
        heat_stages: int = 2,
        blocks: int = 5,
        widths: tuple[int, int] = (96, 128),
        hidden: tuple[int, int] = (256, 512),
        linked: bool = True,
        activation: str = "prelu",
        norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        require_positive("Cascade", paf_stages=paf_stages, heat_stages=heat_stages, blocks=blocks)
        require_positive("Cascade", widths=min(widths), hidden=min(hidden))
        style = Style(activation, norm, dropout)

        def stage(before: int, outputs: int, *, first: bool, background: bool) -> nn.Sequential:
            width, between = (widths[0], hidden[0]) if first else (widths[1], hidden[1])
            inputs = [features + before * linked, *[3 * width] * (blocks - 1)]
            trunk = [_Block(count, width, style) for count in inputs]
            end = style.output(3 * width, outputs, hidden=between, background=background)
            return nn.Sequential(*trunk, end)

        pafs = [
            stage(paf_channels * (number > 0), paf_channels, first=number == 0, background=False)
            for number in range(paf_stages)
        ]
        heats = [
            stage(paf_channels + heat_channels * (number > 0), heat_channels, first=number == 0, background=True)
            for number in range(heat_stages)
        ]
        super().__init__(pafs, heats, linked=linked)

    def forward(self, features: Features) -> PoseOutput:
        """See `Stages`."""
        pafs: list[Tensor] = []
        heats: list[Tensor] = []
        for stage in self.pafs:
            pafs.append(stage(self._seen(features, *pafs[-1:])))
        for stage in self.heats:
            heats.append(stage(self._seen(features, *heats[-1:], pafs[-1])))
        return PoseOutput(tuple(pafs), tuple(heats))


class TwoBranch(Stages):
    """Fields and heatmaps side by side, stage by stage (Cao et al. 2017, CVPR, section 2.1 and figure 3).

    In the first stage each branch has three 3x3 and two 1x1 convolutions; in later ones, five 7x7 and two 1x1, and
    sees the features and both maps of the stage before. The defaults are the paper's.

    Args:
        features: channels of the features.
        paf_channels: channels of the part affinity fields.
        heat_channels: channels of the heatmaps.
        stages: of both kinds each.
        width: channels of each 3x3 and 7x7 convolution.
        hidden: channels between the two 1x1 convolutions: in the first stage, and in the later ones.
        linked: whether a stage sees the maps of the one before it, or the features alone.
        activation: "relu" (the paper), "prelu" or another name in `ACTIVATIONS`.
        norm: batch norm after each convolution but a stage's last; the paper has none.
        dropout: share of the channels before a stage's last convolution that are zero in training.

    Raises:
        UserError: a setting is too small, too large or not known.
    """

    def __init__(  # noqa: PLR0913 - what a config says of a network
        self,
        features: int,
        paf_channels: int,
        heat_channels: int,
        *,
        stages: int = 6,
        width: int = 128,
        hidden: tuple[int, int] = (512, 128),
        linked: bool = True,
        activation: str = "relu",
        norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        require_positive("TwoBranch", stages=stages, width=width, hidden=min(hidden))
        style = Style(activation, norm, dropout)
        seen = features + (paf_channels + heat_channels) * linked

        def branch(outputs: int, *, background: bool) -> list[nn.Sequential]:
            first = _plain(features, width, style, kernel=3, count=3)
            later = [_plain(seen, width, style, kernel=7, count=5) for _ in range(stages - 1)]
            between = [hidden[0]] + [hidden[1]] * (stages - 1)
            return [
                nn.Sequential(*trunk, style.output(width, outputs, hidden=channels, background=background))
                for trunk, channels in zip([first, *later], between, strict=True)
            ]

        pafs, heats = branch(paf_channels, background=False), branch(heat_channels, background=True)
        super().__init__(pafs, heats, linked=linked)

    def forward(self, features: Features) -> PoseOutput:
        """See `Stages`."""
        pafs: list[Tensor] = []
        heats: list[Tensor] = []
        for paf_stage, heat_stage in zip(self.pafs, self.heats, strict=True):
            seen = self._seen(features, *pafs[-1:], *heats[-1:])
            pafs.append(paf_stage(seen))
            heats.append(heat_stage(seen))
        return PoseOutput(tuple(pafs), tuple(heats))


class _Block(nn.Module):
    """Three 3x3 convolutions, one after the other; the outputs of all three."""

    def __init__(self, inputs: int, width: int, style: Style) -> None:
        super().__init__()
        self.layers = _plain(inputs, width, style, kernel=3, count=3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return torch.cat(outputs, dim=1)


def _plain(inputs: int, width: int, style: Style, *, kernel: int, count: int) -> nn.Sequential:
    channels = [inputs, *[width] * (count - 1)]
    return nn.Sequential(*(style.layer(number, width, kernel=kernel) for number in channels))
