"""What finds the ball without learning anything."""

import math

import torch
from jaxtyping import Float, Int
from kornia.filters import gaussian_blur2d
from torch import Tensor

from common.heatmaps import peaks


def moving_blob(
    frames: Float[Tensor, "batch time 3 height width"], anchor: Int[Tensor, " batch"], *, radius: float
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, " batch"]]:
    """The brightest moving blob of the target frame.

    The background is the median of the window at each pixel (of an even number of frames the lower one, without the
    ball), so a window of fewer than three frames shows nothing moving. What is brighter than the background is smoothed
    to the size of a ball; its highest value is the ball.

    Args:
        frames: 0..255.
        anchor: position of the target frame in its window.
        radius: of the ball in pixels.

    Returns:
        points in pixels of the frames and scores: the response in grey levels / 255, 0..1.
    """
    grey = frames.mean(dim=2)
    target = grey[torch.arange(len(grey), device=grey.device), anchor]
    brighter = (target - grey.median(dim=1).values).clamp(min=0)
    size = 2 * math.ceil(1.5 * radius) + 1  # three standard deviations to either side
    response = gaussian_blur2d(brighter[:, None], size, (radius / 2, radius / 2), border_type="replicate")
    cells, values = peaks(response[:, 0])
    return cells.float(), values / 255
