"""Squared error of a stage's maps, where they count and more where something is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.errors import UserError
from common.losses.parts import LossParts, sum_samples

Kind = Literal["paf", "heat"]
"""What a stage draws: part affinity fields, x and y of each limb in turn, or heatmaps, the background last."""

FOREGROUND = 0.01
"""Something is where a target is stronger."""

Maps = Float[Tensor, "batch channels rows columns"]
Counted = Bool[Tensor, "batch 1 rows columns"]


def kind_of(stage: str) -> Kind:
    """What the stage of this name draws, see `PoseOutput.stages`."""
    return "paf" if stage.startswith("paf/") else "heat"


def strengths(maps: Maps, kind: Kind) -> Float[Tensor, "batch parts rows columns"]:
    """How much is said of each limb (the length of its vector) or joint (its absolute value, no background), float32.

    The background is left out as it is 1 nearly everywhere: a network that finds nobody would have most of it right.
    """
    if kind == "heat":
        return maps[:, :-1].float().abs()
    return torch.hypot(maps[:, 0::2].float(), maps[:, 1::2].float())


@dataclass(frozen=True)
class StageLoss:
    """Weighted squared error of a stage per counted cell: **summed** over channels, **mean** over cells.

    With c the cells that count, p the prediction and t the target of channel k,

        sum_c sum_k weight (p - t)^2 / number of c,   weight = 1 + foreground where |t| > .01, else 1

    so it does not depend on the sizes of batch and maps, but does on the number of channels. |t| is that of the limb,
    so that x and y weigh the same; the background weighs more where any joint does. Where no cell counts it is 0, with
    a gradient of 0. What stands where not counted, NaN included, changes neither value nor gradient.

    Attributes:
        foreground: what the cells with something in them weigh in addition, 0 or more: targets are so sparse that
            zeros everywhere are nearly right.
        paf: weight of the stages of fields in the sum of all stages, 0 or more.
        heat: weight of the stages of heatmaps. Fields need only tell whose a joint is; heatmaps say where it is.

    Raises:
        UserError: for a value out of its range.
    """

    foreground: float = 4.0
    paf: float = 1.0
    heat: float = 1.0

    def __post_init__(self) -> None:
        for name in ("foreground", "paf", "heat"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"loss.{name}: found {getattr(self, name)}, expected a weight, 0 or more")

    def total(self, stages: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of all stages' losses, given by the name of their stage."""
        weights = {"paf": self.paf, "heat": self.heat}
        return torch.stack([weights[kind_of(stage)] * loss for stage, loss in stages.items()]).sum()

    def __call__(self, prediction: Maps, target: Maps, counted: Counted, *, kind: Kind) -> Float[Tensor, ""]:
        """The loss of a batch, float32.

        Args:
            prediction: of any floating type.
            target: of the same shape.
            counted: cells that count.
            kind: of the stage.
        """
        return self._errors(prediction, target, counted, kind).sum() / counted.sum().clamp(min=1)

    def parts(self, prediction: Maps, target: Maps, counted: Counted, *, kind: Kind) -> LossParts:
        """The same before its division: weighted error and number of counted cells of each sample."""
        return LossParts(sum_samples(self._errors(prediction, target, counted, kind)), sum_samples(counted))

    def _errors(self, prediction: Maps, target: Maps, counted: Counted, kind: Kind) -> Maps:
        """Weighted squared errors, float32; sums over whole samples are for evaluations, as they take their time."""
        error = torch.where(counted, prediction.float() - target.float(), 0)
        weight = torch.where(_filled(target, kind), 1 + self.foreground, 1.0)
        return weight * error.square()


def _filled(target: Maps, kind: Kind) -> Bool[Tensor, "batch channels rows columns"]:
    """Where something is in each channel."""
    filled = strengths(target, kind) > FOREGROUND
    if kind == "paf":
        return filled.repeat_interleave(2, dim=1)
    return torch.cat([filled, filled.any(dim=1, keepdim=True)], dim=1)
