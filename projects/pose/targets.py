"""Where people's joints are -> what the network should say, rendered on the device, whole batches at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d, hardshrink, pad, softshrink

from common.errors import UserError
from common.heatmaps import SMALLEST, bells, pixels_to_cells

Shape = Literal["hard", "gaussian"]

Joints = Float[Tensor, "batch people joints 2"]
Labels = Bool[Tensor, "batch people joints"]

SAME = 1e-3
"""Cells: nearer points are one, a limb between them has no direction, and a border reaches so far beyond itself."""

FAR = 1e6
"""Cells: what is further out is taken to be here, so that nothing overflows."""

EDGE = math.sqrt(SMALLEST)
"""A border in coordinates whose square is an exponent: what is beyond has no weight."""

AT_ONCE = {"cpu": 2**16}
"""Values that are rendered together: on a CPU what its cache holds, elsewhere (2**24) what its memory spares."""


@dataclass(frozen=True)
class TargetOptions:
    """How targets are drawn; lengths in cells.

    Attributes:
        sigma: standard deviation of a joint's Gaussian. 1 cell of 8 pixels is about what OpenPose has (7 pixels).
        width: of a limb, on either side of its line: where a hard one ends, the standard deviation of a Gaussian one.
        shape: of a limb across its line: "hard" is 1 within the width and 0 outside (Cao et al. 2017), "gaussian" falls
            off with the distance from the line.
        ends: standard deviation with which a limb falls off beyond both of its joints. 0 ends it at the joints: a limb
            shorter than a cell, such as from nose to eye, may then cover no cell at all.

    Raises:
        UserError: for a value out of its range.
    """

    sigma: float = 1.0
    width: float = 1.0
    shape: Shape = "gaussian"
    ends: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sigma", "width"):
            self._require(name, SAME <= getattr(self, name) < math.inf, f"a number of cells, {SAME} or more")
        self._require("ends", not self.ends or SAME <= self.ends < math.inf, f"0, or cells of {SAME} or more")

    def _require(self, name: str, fulfilled: bool, expected: str) -> None:
        if not fulfilled:
            raise UserError(f"targets.{name}: found {getattr(self, name)!r}, expected {expected}")


class PoseTargets(NamedTuple):
    """Targets of a batch, all finite.

    Attributes:
        heat: 0..1, a Gaussian with peak 1 around each joint, the maximum over people; the last channel, the background,
            is 1 minus the maximum over joints.
        paf: x and y of each limb in turn: its direction from the first joint to the second, weighted, no longer than 1.
        counted: the cells that count in losses and scores.
    """

    heat: Float[Tensor, "batch maps rows columns"]
    paf: Float[Tensor, "batch fields rows columns"]
    counted: Bool[Tensor, "batch 1 rows columns"]


def pose_targets(
    batch: dict[str, Tensor], *, stride: int, limbs: Int64[Tensor, "limbs 2"], options: TargetOptions
) -> PoseTargets:
    """Targets of a batch.

    A cell counts where less than half of it is ignored.

    Args:
        batch: `points_xy` (B, P, J, 2) in pixels, `visibility` (B, P, J), 0 where not labelled, `ignored` (B, 1, H, W),
            255 where it is.
        stride: pixels per cell.
        limbs: numbers of the joints that each limb runs from and to.
        options: how they are drawn.
    """
    height, width = batch["ignored"].shape[-2:]
    size_hw = (height // stride, width // stride)
    points, labelled = pixels_to_cells(batch["points_xy"].float(), stride), batch["visibility"] > 0
    heat = joint_heatmaps(points, labelled, size_hw=size_hw, sigma=options.sigma)
    paf = limb_fields(points, labelled, limbs=limbs, size_hw=size_hw, options=options)
    counted = avg_pool2d(batch["ignored"].float(), stride) < 255 / 2
    return PoseTargets(heat, paf, counted)


@torch.no_grad()
def joint_heatmaps(
    points_cells: Joints, labelled: Labels, *, size_hw: tuple[int, int], sigma: float
) -> Float[Tensor, "batch maps rows columns"]:
    """A map of each joint, the maximum over people's Gaussians, and one of the background; float32, 0..1.

    Args:
        points_cells: in cells, anywhere. What is not finite counts as not labelled.
        labelled: who is drawn.
        size_hw: of the maps, in cells.
        sigma: standard deviation in cells.
    """
    points, present = _usable(points_cells, labelled)
    rows = bells(points[..., 1], size_hw[0], sigma)[..., :, None]
    columns = (bells(points[..., 0], size_hw[1], sigma) * present[..., None])[..., None, :]
    batch, _, joints = labelled.shape
    heat = rows.new_empty(batch, joints + 1, *size_hw)
    for some, people in _chunks(present.any(dim=2), joints * math.prod(size_hw)):
        maps = heat[some, :joints]
        torch.amax(rows[some, :people] * columns[some, :people], dim=1, out=maps)
        torch.sub(1, maps.amax(dim=1), out=heat[some, joints])
    return heat


@torch.no_grad()
def limb_fields(
    points_cells: Joints,
    labelled: Labels,
    *,
    limbs: Int64[Tensor, "limbs 2"],
    size_hw: tuple[int, int],
    options: TargetOptions,
) -> Float[Tensor, "batch fields rows columns"]:
    """Part affinity fields (Cao et al. 2017): x and y of each limb in turn, float32, finite and no longer than 1.

    Of each person that has both ends of a limb, let v be the unit vector from the first to the second, and w, 0..1, the
    weight of a cell, see `TargetOptions`. The field is sum(w^2 v) / sum(w) over people: w v of one, the mean of several
    where they weigh the same, and nearly that of the nearest elsewhere. Who weighs nothing is not counted.

    Args:
        points_cells: in cells, anywhere: the part of a limb that is inside is drawn. What is not finite counts as not
            labelled.
        labelled: who is drawn. A limb without length has no direction and is not.
        limbs: numbers of the joints that each limb runs from and to.
        size_hw: of the maps, in cells.
        options: how a limb is drawn.
    """
    fields = points_cells.new_empty(len(labelled) * len(limbs), 2, *size_hw, dtype=torch.float32)
    with torch.autocast(points_cells.device.type, enabled=False):
        drawn = _limbs(*_usable(points_cells, labelled), limbs)
        strips = _strips(drawn, size_hw, options)
        for some, people in _chunks(drawn.present, math.prod(size_hw)):
            weights = _weights(strips.cut(some, people), options).flatten(2)
            totals = weights.sum(dim=1, keepdim=True).clamp_(min=math.exp(-2 * SMALLEST))
            sums = torch.bmm(drawn.directions[some, :people].mT, weights.mul_(weights))
            torch.div(sums, totals, out=fields[some].flatten(2))
    return fields.view(len(labelled), 2 * len(limbs), *size_hw)


class _Limbs(NamedTuple):
    """A row per limb of a sample; in it first the people that have it. Directions are 0 where not present."""

    middles: Float[Tensor, "rows people 2"]
    directions: Float[Tensor, "rows people 2"]
    halves: Float[Tensor, "rows people"]
    present: Bool[Tensor, "rows people"]


class _Strips(NamedTuple):
    """Coordinates of cells relative to limbs, as a sum of two terms: that of a cell's row and that of its column.

    Attributes:
        across: distance from the line. Its square is the exponent of a Gaussian limb; a hard one ends at `EDGE`.
        along: distance from the middle of the limb, which ends at `EDGE`.
        steepness: turns what of `along` is beyond into what the square of is the exponent of a Gaussian end.
    """

    across: tuple[Float[Tensor, "rows people height 1"], Float[Tensor, "rows people 1 width"]]
    along: tuple[Float[Tensor, "rows people height 1"], Float[Tensor, "rows people 1 width"]]
    steepness: Float[Tensor, "rows people 1 1"]

    def cut(self, rows: slice, people: int) -> "_Strips":
        """Of some rows the first people."""
        across, along = ((a[rows, :people], b[rows, :people]) for a, b in (self.across, self.along))
        return _Strips(across, along, self.steepness[rows, :people])


def _limbs(points: Joints, present: Labels, limbs: Int64[Tensor, "limbs 2"]) -> _Limbs:
    start, end = (points[:, :, joints].transpose(1, 2).flatten(0, 1) for joints in limbs.T)
    both = (present[:, :, limbs[:, 0]] & present[:, :, limbs[:, 1]]).transpose(1, 2).flatten(0, 1)
    vectors = end - start
    lengths = torch.hypot(vectors[..., 0], vectors[..., 1])
    both = both & (lengths >= SAME)
    directions = vectors / torch.where(both, lengths, math.inf)[..., None]
    first = torch.argsort(both.byte(), dim=1, descending=True, stable=True)
    middles, directions = (
        values.gather(1, first[..., None].expand_as(values)) for values in (start + vectors / 2, directions)
    )
    return _Limbs(middles, directions, lengths.gather(1, first) / 2, both.gather(1, first))


def _strips(limbs: _Limbs, size_hw: tuple[int, int], options: TargetOptions) -> _Strips:
    rows, columns = (torch.arange(size, device=limbs.middles.device, dtype=torch.float32) for size in size_hw)
    x = (columns - limbs.middles[..., :1])[..., None, :]
    y = (rows - limbs.middles[..., 1:])[..., :, None]
    halves = (limbs.halves if options.ends else limbs.halves + SAME)[..., None, None]
    halves = torch.where(limbs.present[..., None, None], halves, 1)
    width = options.width * math.sqrt(2) if options.shape == "gaussian" else (options.width + SAME) / EDGE
    ux, uy = limbs.directions[..., None, None].unbind(dim=2)
    absent = torch.where(limbs.present, 0, 2 * SMALLEST)[..., None, None]  # lies beside all cells
    across = (y * (ux / width) + absent, x * (-uy / width))
    along = (y * (uy * EDGE / halves), x * (ux * EDGE / halves))
    return _Strips(across, along, halves / (EDGE * math.sqrt(2) * (options.ends or 1)))


def _weights(strips: _Strips, options: TargetOptions) -> Float[Tensor, "rows people height width"]:
    """Of each cell for each person's limb, 0..1."""
    across, along = strips.across[0] + strips.across[1], strips.along[0] + strips.along[1]
    if options.shape == "hard" and not options.ends:
        return torch.maximum(across.abs_(), along.abs_(), out=across).le_(EDGE)
    if options.shape == "hard":
        across = hardshrink(across, EDGE)
    along = softshrink(along, EDGE).mul_(strips.steepness) if options.ends else hardshrink(along, EDGE)
    return across.mul_(across).addcmul_(along, along).clamp_(max=SMALLEST).neg_().exp_()


def _usable(
    points: Joints, labelled: Labels
) -> tuple[Float[Tensor, "batch drawn joints 2"], Bool[Tensor, "batch drawn joints"]]:
    """float32 points within `FAR`, and which of them are drawn; the others are (0, 0). Padding is cut off."""
    if not labelled.shape[1]:
        points, labelled = pad(points, (0, 0, 0, 0, 0, 1)), pad(labelled, (0, 0, 0, 1))
    present = labelled & points.isfinite().all(dim=-1)
    (people,) = _numbers(present.any(dim=2).any(dim=0)[None])
    points, present = points[:, :people], present[:, :people]
    return torch.where(present[..., None], points.float(), 0).clamp(-FAR, FAR), present


def _chunks(present: Bool[Tensor, "rows people"], values: int) -> Iterator[tuple[slice, int]]:
    """Rows that are rendered together, and to how many of their people.

    Args:
        present: who is drawn in each row.
        values: per row and person.
    """
    step = max(1, AT_ONCE.get(present.device.type, 2**24) // max(1, values * present.shape[1]))
    people = _numbers(present)
    for start in range(0, len(people), step):
        yield slice(start, start + step), max(people[start : start + step])


def _numbers(present: Bool[Tensor, "rows people"]) -> list[int]:
    """How many people to look at in each row, one at least: up to the last that is there."""
    rows, people = present.shape
    if present.device.type != "cpu":  # looking would let the host wait
        return [people] * rows
    last = (present * torch.arange(1, people + 1)).amax(dim=1)
    return last.clamp(min=1).tolist()
