"""Pictures of any size for networks that want multiples."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Fill = Literal["reflect", "replicate"]


class Padded(nn.Module):
    """Lets a network take pictures of any height and width: adds to them at bottom and right, and crops its output.

    It can be exported with free sizes. Where nothing is missing, the picture goes through as it is.

    Args:
        net: (batch, channels, height, width) to (batch, any, height, width), of the same size.
        divisor: `net` takes heights and widths that are multiples of it.
        least: and at least this.
        fill: what is added: the picture "reflect"ed, to and fro where it is smaller than what is missing, or its last
            row and column, "replicate".
    """

    def __init__(self, net: nn.Module, divisor: int, *, least: int = 1, fill: Fill = "reflect") -> None:
        super().__init__()
        self.net, self.divisor, self.fill = net, divisor, fill
        self.least_cells = -(-least // divisor)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs height width"]:
        """What `net` says of the pixels of `x`; at least 1 x 1."""
        height, width = x.shape[-2:]
        y: Tensor = self.net(self._filled(self._filled(x, -2), -1))
        return y[..., :height, :width]

    def _filled(self, x: Tensor, dim: int) -> Tensor:
        size = x.shape[dim]
        cells = torch.sym_max((size + self.divisor - 1) // self.divisor, self.least_cells)
        if not torch.compiler.is_exporting() and cells * self.divisor == size:
            return x
        places = torch.arange(cells * self.divisor, device=x.device)
        if self.fill == "replicate":
            return x.index_select(dim, places.clamp(max=size - 1))
        period = torch.full_like(places, torch.sym_max(2 * size - 2, 1))  # a number would not be exported
        return x.index_select(dim, torch.minimum(places % period, period - places % period))
