"""Random changes to images of any number of bands; their label maps move along, pixel for pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor
from torch.nn import functional

from common.data.augment import uniforms
from common.data.blocks import NOT_COUNTED
from common.errors import UserError

_STREAM = 2  # of the seeds' random numbers
_LIMITS = {"flip": 1.0, "turn": 1.0}  # of the others: 4


@dataclass(frozen=True)
class MapAugment:
    """Flips, 90-degree turns, zoom and brightness, for images seen from above: no side of them is up.

    What is drawn for an image depends on its seed alone: not on the rest of the batch, the number of workers or the
    device. 0 switches a part off; all 0 changes nothing.

    Flips and turns move pixels and compute none. The zoom, about the centre, is bilinear in the image and nearest in
    the labels, so that no label is invented; where a zoomed-out image would end, it is mirrored, and the labels there
    say 255, not counted. Zooming out does not smooth first: beyond a zoom of 2 fine texture aliases.

    Args:
        flip: probability of a flip, drawn for left-right and for up-down.
        turn: probability of a turn by 90, 180 or 270 degrees, alike; of one by 180 where height and width differ.
        scale: largest zoom, in or out: 0.2 is 1/1.2..1.2.
        brightness: largest change of all bands together, by a factor: 0.2 is 1/1.2..1.2.
        gain: largest change of each band by itself, a factor as well.

    Raises:
        UserError: if a value is outside its range.
    """

    flip: float = 0.5
    turn: float = 0.75
    scale: float = 0.2
    brightness: float = 0.1
    gain: float = 0.05

    def __post_init__(self) -> None:
        for field in fields(self):
            value, limit = getattr(self, field.name), _LIMITS.get(field.name, 4.0)
            if not 0 <= value <= limit:
                raise UserError(f"augmentation {field.name} = {value}: give 0 (off) to {limit:g}")

    def __call__(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: UInt8[Tensor, "batch height width"],
        seeds: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch channels height width"], UInt8[Tensor, "batch height width"]]:
        """Changed copies of images and labels.

        Args:
            images: values of which 0 is no light, in any unit, not standardised yet; NaN where missing.
            labels: classes by number, 255 where a pixel does not count.
            seeds: one per image, different in every epoch.

        Returns:
            images and labels. A missing pixel stays missing, and what the zoom interpolates from one is missing too,
            with the label 255.
        """
        draws = uniforms(seeds, 6 + images.shape[1], stream=_STREAM)
        flip, turn, zoom, light = draws[:, :2], draws[:, 2:4], draws[:, 4], draws[:, 5:]
        if self.flip or self.turn:
            mirrored = (flip < self.flip).tolist()
            quarters = self._quarters(turn, square=images.shape[-1] == images.shape[-2])
            images, labels = (_moved(maps, mirrored, quarters) for maps in (images, labels))
        if self.scale:
            images, labels = _zoomed(images, labels, _factors(zoom, self.scale))
        if self.brightness or self.gain:
            factors = _factors(light[:, :1], self.brightness) * _factors(light[:, 1:], self.gain)
            images = images * factors[:, :, None, None].to(images)
        return images, labels

    def _quarters(self, draws: Float64[Tensor, "batch 2"], *, square: bool) -> list[int]:
        """Quarter turns, 0..3."""
        turned = draws[:, 0] < self.turn
        quarters = 1 + (3 * draws[:, 1]).long() if square else torch.full(turned.shape, 2)
        return torch.where(turned, quarters, 0).tolist()


def _factors(draws: Float64[Tensor, "..."], largest: float) -> Float64[Tensor, "..."]:
    return torch.exp((2 * draws - 1) * math.log1p(largest))


def _moved(maps: Tensor, mirrored: Sequence[Sequence[bool]], quarters: Sequence[int]) -> Tensor:
    """Each map flipped left-right, then up-down, as `mirrored` says, then turned; last two axes."""
    moved = torch.empty_like(maps)
    for to, source, (sideways, upright), quarter in zip(moved, maps, mirrored, quarters, strict=True):
        axes = [axis for axis, wanted in ((-1, sideways), (-2, upright)) if wanted]
        to.copy_(torch.rot90(source.flip(axes), quarter, (-2, -1)))
    return moved


def _zoomed(images: Tensor, labels: Tensor, zooms: Float64[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
    rows, columns = (_places(length, zooms).float().to(images.device) for length in images.shape[-2:])
    sizes = (*labels.shape, 1)
    grid = torch.cat([columns[:, None, :, None].expand(sizes), rows[:, :, None, None].expand(sizes)], dim=-1)
    zoomed = functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    below = labels[:, None].float() - NOT_COUNTED  # outside it is 0: not counted
    nearest = functional.grid_sample(below, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    labels = (nearest[:, 0] + NOT_COUNTED).to(torch.uint8)
    return zoomed.to(images.dtype), labels.masked_fill(zoomed.sum(dim=1).isnan(), NOT_COUNTED)


def _places(length: int, zooms: Float64[Tensor, " batch"]) -> Float64[Tensor, "batch length"]:
    """Where each pixel of the zoomed image lies in the given one, whose edges are -1 and 1."""
    centres = (2 * torch.arange(length, dtype=torch.float64) + 1) / length - 1
    return centres / zooms[:, None]
