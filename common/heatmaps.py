"""Points to heatmaps and heatmaps to points.

A heatmap has one cell per `stride` x `stride` pixels. Points are `(x, y)` and cell centres are at integers, as pixel
centres are.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import UserError

SMALLEST = 40.0
"""No Gaussian falls below exp(-40) = 4e-18: a product or square of two is no denormal number, which are slow."""


def pixels_to_cells(points_xy: Float[Tensor, "*points 2"], stride: int) -> Float[Tensor, "*points 2"]:
    """Pixel coordinates as cell coordinates."""
    return (points_xy + 0.5) / stride - 0.5


def cells_to_pixels(points_xy: Float[Tensor, "*points 2"], stride: int) -> Float[Tensor, "*points 2"]:
    """Cell coordinates as pixel coordinates: cell c is centred at (c + .5) stride - .5. Inverts `pixels_to_cells`."""
    return (points_xy + 0.5) * stride - 0.5


def gaussian_heatmaps(
    points_xy: Float[Tensor, "batch points 2"],
    present: Bool[Tensor, "batch points"],
    *,
    size_hw: tuple[int, int],
    sigma: float,
    snap: bool = False,
) -> Float[Tensor, "batch points height width"]:
    """One Gaussian per point, with peak 1, as float32.

    Args:
        points_xy: in cells. The coordinates of absent points are never used, whatever they hold.
        present: an absent point has a map of zeros.
        size_hw: of the maps, in cells.
        sigma: standard deviation in cells.
        snap: centre the Gaussian on the cell that holds the point, whose value is then exactly 1 (CenterNet: Zhou et
            al., "Objects as Points", 2019). A point that no cell holds has a map of zeros.

    Raises:
        UserError: if sigma is not positive.
    """
    if not sigma > 0:
        raise UserError(f"sigma = {sigma}: a Gaussian needs a standard deviation above 0 cells")
    height, width = size_hw
    points = torch.where(present[..., None], points_xy.float(), 0)
    if snap:
        points, held = _snapped(points, points.new_tensor((width, height)))
        present = present & held
    rows = bells(points[..., 1], height, sigma)
    columns = bells(points[..., 0], width, sigma)
    return rows[..., :, None] * (columns * present[..., None])[..., None, :]


def bells(centres: Float[Tensor, "*points"], length: int, sigma: float) -> Float[Tensor, "*points length"]:
    """A Gaussian with peak 1 around each centre, at the cells 0 to `length` - 1 of a line; float32, above 0.

    Args:
        centres: in cells.
        length: of the line.
        sigma: standard deviation in cells.
    """
    cells = torch.arange(length, device=centres.device, dtype=torch.float32)
    distances = (cells - centres[..., None]).mul_(math.sqrt(0.5) / sigma)
    return distances.mul_(distances).clamp_(max=SMALLEST).neg_().exp_()


def peaks(
    heatmap: Float[Tensor, "batch height width"],
) -> tuple[Int[Tensor, "batch 2"], Float[Tensor, " batch"]]:
    """Cell `(x, y)` and value of the highest activation of each map; the first in row order among equals."""
    values, flat = heatmap.flatten(1).max(dim=1)
    width = heatmap.shape[-1]
    return torch.stack([flat % width, flat // width], dim=-1), values


def _snapped(
    points: Float[Tensor, "*points 2"], size_wh: Float[Tensor, " 2"]
) -> tuple[Float[Tensor, "*points 2"], Bool[Tensor, "*points"]]:
    """The cell that holds each point, and whether there is one: cells reach half a cell past the outer centres."""
    held = ((points >= -0.5) & (points <= size_wh - 0.5)).all(dim=-1)
    cells = torch.floor(points + 0.5)
    return torch.minimum(cells, size_wh - 1), held
