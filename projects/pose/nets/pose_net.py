"""The pose network: a front that gives features, and stages of fields and heatmaps."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import UserError
from projects.pose.nets.fronts import Front
from projects.pose.nets.interface import PoseOutput, stage_names
from projects.pose.nets.stages import Stages


class PoseNet(nn.Module):
    """Features of a picture, and from them the maps of every stage.

    Args:
        paf_channels: of the part affinity fields, 2 x limbs; the module gives it.
        heat_channels: of the heatmaps, joints + 1; the module gives it.
        front: makes the front from the number of the picture's channels.
        stages: makes the stages from the numbers of channels of features, fields and heatmaps.
        channels_last: lay channels side by side in memory: two thirds of the time for few channels on a CPU, but more
            for many; on a GPU in 16 bits mostly faster. It changes no result but by rounding.

    Attributes:
        stride: pixels of the picture along the side of a cell.
        divisor: height and width of the picture must be multiples of it.
        stage_names: of the maps, as in `PoseOutput.stages`.
    """

    def __init__(
        self,
        paf_channels: int,
        heat_channels: int,
        *,
        front: Callable[[int], Front],
        stages: Callable[[int, int, int], Stages],
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.front = front(3)
        self.stages = stages(self.front.out_channels, paf_channels, heat_channels)
        self.stride, self.divisor = self.front.stride, self.front.divisor
        self.stage_names = stage_names(len(self.stages.pafs), len(self.stages.heats))
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> PoseOutput:
        """Maps of every stage for standardised pictures.

        Raises:
            UserError: height or width is no multiple of `divisor`.
        """
        if not torch.compiler.is_exporting():
            height, width = x.shape[-2:]
            if height % self.divisor or width % self.divisor:
                raise UserError(f"pictures of {height} x {width}: expected multiples of {self.divisor}")
            x = x.contiguous(memory_format=self.layout)
        output: PoseOutput = self.stages(self.front(x))
        return output
