"""What the network says -> where the ball is."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from common.heatmaps import cells_to_pixels, peaks
from common.shapes import Points
from projects.ball.nets import BallOutput


class Located(NamedTuple):
    """The likeliest place of the ball in each frame.

    Attributes:
        points_xy: pixels of the network's input.
        scores: 0..1; compare with a threshold to decide whether there is a ball.
    """

    points_xy: Points
    scores: Float[Tensor, " batch"]


def locate(output: BallOutput, *, stride: int) -> Located:
    """The cell with the highest activation, moved by its offset: there is one ball at most.

    Args:
        output: of the network, any floating type; the arithmetic is float32.
        stride: pixels per cell.
    """
    cells_xy, scores = peaks(output.heatmap[:, 0].float().sigmoid())
    rows = torch.arange(len(cells_xy), device=cells_xy.device)
    offset = output.offset[rows, :, cells_xy[:, 1], cells_xy[:, 0]].float()
    return Located(cells_to_pixels(cells_xy + offset, stride), scores)
