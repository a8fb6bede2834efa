"""Batch -> what the network should say, rendered on the device."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.heatmaps import gaussian_heatmaps, pixels_to_cells
from common.shapes import Heatmaps, Offsets, Points

REACH = 1.5
"""Cells around the ball that learn their offset to it, so that a peak one cell beside it decodes to the same place."""


class BallTargets(NamedTuple):
    """Targets of a batch.

    Attributes:
        heatmap: 0..1, a Gaussian whose peak is 1 in the ball's cell; 0 where the ball is absent.
        offset: (x, y) from the centre of a cell to the ball, in cells, within `REACH`; 0 elsewhere.
        offset_mask: the ball's cell and its neighbours.
        labelled: whether the target frame has a label; the others count nowhere.
        points_xy: the ball in pixels of the input, (0, 0) where absent.
        visible: whether the ball is there.
    """

    heatmap: Heatmaps
    offset: Offsets
    offset_mask: Bool[Tensor, "batch 1 rows columns"]
    labelled: Bool[Tensor, " batch"]
    points_xy: Points
    visible: Bool[Tensor, " batch"]


def ball_targets(batch: dict[str, Tensor], *, stride: int, sigma: float) -> BallTargets:
    """Targets of the batch's target frames.

    Args:
        batch: `frames` (B, T, 3, H, W), `window_xy` (B, T, 2) in pixels, `window_visible` and `window_labelled` (B, T),
            `anchor` (B,).
        stride: pixels per cell.
        sigma: standard deviation of the Gaussian, in cells.
    """
    height, width = batch["frames"].shape[-2:]
    rows = torch.arange(len(batch["anchor"]), device=batch["anchor"].device)
    points_xy = batch["window_xy"][rows, batch["anchor"]]
    visible = batch["window_visible"][rows, batch["anchor"]]
    labelled = batch["window_labelled"][rows, batch["anchor"]]
    size_hw = (height // stride, width // stride)
    cells_xy = pixels_to_cells(points_xy, stride)
    heatmap = gaussian_heatmaps(cells_xy[:, None], visible[:, None], size_hw=size_hw, sigma=sigma, snap=True)
    offset = cells_xy[:, :, None, None] - _cell_centres(size_hw, like=cells_xy)
    shown = labelled & heatmap.flatten(1).any(dim=1)
    mask = (offset.abs().amax(dim=1, keepdim=True) <= REACH) & shown[:, None, None, None]
    offset = torch.where(mask, offset, 0)
    return BallTargets(heatmap, offset, mask, labelled, points_xy, visible)


def _cell_centres(size_hw: tuple[int, int], *, like: Tensor) -> Float[Tensor, "2 rows columns"]:
    rows, columns = (torch.arange(size, dtype=like.dtype, device=like.device) for size in size_hw)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
