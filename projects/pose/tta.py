"""Test-time augmentation: the maps of a picture, of its mirror image and of other sizes of it, averaged."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from projects.pose.skeleton import Skeleton

Maps = tuple[Float[Tensor, "batch maps rows columns"], Float[Tensor, "batch fields rows columns"]]
"""Heatmaps and part affinity fields."""

_SCALES = (0.1, 10.0)


@dataclass(frozen=True)
class TestTime:
    """What a network is shown of each picture when it is used.

    Args:
        flip: the mirror image too.
        scales: sizes, as shares of the input's; 1 first, as the maps have the size that they have there.

    Raises:
        UserError: if 1 is not the first scale, or one is out of range.
    """

    __test__ = False  # pytest takes the name for a test's

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        lowest, highest = _SCALES
        if self.scales[:1] != (1.0,) or not all(lowest <= scale <= highest for scale in self.scales):
            raise UserError(
                f"test_time.scales: found {list(self.scales)}; expected 1.0, then others from {lowest} to {highest}"
            )


def averaged_maps(
    maps: Callable[[Tensor], tuple[Tensor, Tensor]],
    images: Float[Tensor, "batch 3 height width"],
    *,
    skeleton: Skeleton,
    flip: bool,
    scales: Sequence[float],
    divisor: int,
) -> Maps:
    """The mean over all that the network is shown of its heatmaps and fields, float32, as large as at the first scale.

    A mirrored picture's maps are mirrored back: right and left exchange their channels, and x of the fields its sign.
    Cells of a mirrored picture lie on cells as sizes are multiples of the stride. A scaled picture's sizes are rounded
    to multiples of `divisor`; picture and maps cover the same area, so that scaled maps lie where they belong.

    Args:
        maps: images -> heatmaps and fields at the network's stride.
        images: their height and width are multiples of `divisor`.
        skeleton: of the maps' channels.
        flip: whether to show the mirror images too.
        scales: one or more, as shares of the images' size.
        divisor: of the network's input, a multiple of its stride.

    Raises:
        UserError: the images' size is no multiple of `divisor`.
    """
    height, width = images.shape[-2:]
    if height % divisor or width % divisor:
        raise UserError(f"size: found {height} x {width}; expected multiples of {divisor}, which the network needs")
    shown = [_upright(maps, _scaled(images, scale, divisor), flip=flip, skeleton=skeleton) for scale in scales]
    size_hw = shown[0][0].shape[-2:]
    heat, paf = ([_resized(part, size_hw) for part in kind] for kind in zip(*shown, strict=True))
    return torch.stack(heat).mean(dim=0), torch.stack(paf).mean(dim=0)


def _upright(
    maps: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor, *, flip: bool, skeleton: Skeleton
) -> Maps:
    heat, paf = (part.float() for part in maps(images))
    if not flip:
        return heat, paf
    heat_back, paf_back = (part.float() for part in maps(images.flip(-1)))
    exchanged = torch.from_numpy(skeleton.mirrored_heat).to(heat.device)
    fields = torch.from_numpy(skeleton.mirrored_paf).to(heat.device)
    sign = torch.from_numpy(skeleton.mirrored_paf_sign).to(heat.device)[:, None, None]
    return (heat + heat_back[:, exchanged].flip(-1)) / 2, (paf + sign * paf_back[:, fields].flip(-1)) / 2


def _scaled(images: Tensor, scale: float, divisor: int) -> Tensor:
    height, width = (divisor * max(math.floor(scale * size / divisor + 0.5), 1) for size in images.shape[-2:])
    return _resized(images, (height, width))


def _resized(planes: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Bilinear, over the area of neighbours where it shrinks; borders stay on borders."""
    if tuple(planes.shape[-2:]) == tuple(size_hw):
        return planes
    with torch.autocast(planes.device.type, enabled=False):
        return functional.interpolate(planes.float(), tuple(size_hw), mode="bilinear", antialias=True)
