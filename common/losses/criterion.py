"""The loss of two-class segmentation: a weighted sum of terms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.errors import UserError
from common.losses.bce import balancing_pos_weight, bce_parts
from common.losses.binary_focal import binary_focal_parts
from common.losses.dice import DiceOver, dice_parts
from common.losses.mse import mse_parts
from common.losses.parts import LossParts

TERMS = ("bce", "dice", "mse", "focal")
"""Names of the terms; each is also the name of its weight."""


@dataclass(frozen=True)
class Criterion:
    """Weights of the terms, and what each needs. A term without weight is neither computed nor logged.

    Attributes:
        bce: weight of the binary cross entropy.
        dice: weight of the soft Dice loss.
        mse: weight of the squared error of the probabilities.
        focal: weight of the focal loss.
        pos_weight: weight of positive pixels in the cross entropy. "auto" balances them with the
            negative ones of the training labels, see `weight_of_positives`.
        dice_over: "sample" for the mean over samples, "batch" for all pixels as of one sample.
        dice_smoothing: added to both sides of the Dice ratio, as a share of the valid pixels.
        focal_gamma: focus of the focal loss on pixels that are wrong.
        label_smoothing: in training, a label 0 becomes this and a label 1 becomes 1 minus this, for all terms but Dice,
            for which p = 1 may be the best answer to a tile of low labels.

    Raises:
        UserError: for a value out of its range.
    """

    bce: float = 1.0
    dice: float = 1.0
    mse: float = 0.0
    focal: float = 0.0
    pos_weight: float | Literal["auto"] = 1.0
    dice_over: DiceOver = "sample"
    dice_smoothing: float = 0.05
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in (*TERMS, "dice_smoothing", "focal_gamma"):
            _require(self, name, 0 <= getattr(self, name) < math.inf, "a number of at least 0")
        _require(self, "label_smoothing", 0 <= self.label_smoothing < 0.5, "at least 0 and less than 0.5")
        _require(self, "dice_over", self.dice_over in get_args(DiceOver), "sample or batch")
        positive = self.pos_weight == "auto" or (
            not isinstance(self.pos_weight, str) and 0 < self.pos_weight < math.inf
        )
        _require(self, "pos_weight", positive, "auto or a number above 0")
        if not self.terms:
            raise UserError(f"criterion: the weights {', '.join(TERMS)} are all 0; give at least one a weight above 0")

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms with a weight above 0."""
        return tuple(name for name in TERMS if getattr(self, name) > 0)

    def weight_of_positives(self, label_mean: float) -> float:
        """`pos_weight` as a number; "auto" is what balances labels with this share of positive ones."""
        return balancing_pos_weight(label_mean) if self.pos_weight == "auto" else self.pos_weight

    def __call__(
        self,
        logits: Float[Tensor, "batch 1 height width"],
        target: Float[Tensor, "batch 1 height width"],
        valid: Bool[Tensor, "batch 1 height width"],
        *,
        pos_weight: Float[Tensor, ""],
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of a training batch: "loss", the weighted sum, and each term with a weight by its name; float32.

        A batch without a valid pixel costs 0, with a gradient of 0.

        Args:
            logits: of any floating type.
            target: 0 or 1; any value, NaN included, where not valid.
            valid: whether a pixel counts.
            pos_weight: what `weight_of_positives` said, as a tensor, so that "auto" can stand in a checkpoint.
        """
        parts = self._parts(logits, target, valid, pos_weight=pos_weight)
        terms = {name: part.sums.sum() / part.counts.sum().clamp(min=1) for name, part in parts.items()}
        return self.weighted({name: value.float() for name, value in terms.items()})

    def parts(
        self,
        logits: Float[Tensor, "batch 1 height width"],
        target: Float[Tensor, "batch 1 height width"],
        valid: Bool[Tensor, "batch 1 height width"],
        *,
        pos_weight: Float[Tensor, ""],
    ) -> dict[str, LossParts]:
        """The terms of an evaluation before their division, for a `MeanLoss` each, without label smoothing.

        The loss of a split is that of all its samples as one batch: with `dice_over` "batch" one Dice of all pixels.
        """
        return replace(self, label_smoothing=0.0)._parts(logits, target, valid, pos_weight=pos_weight)

    def weighted(self, terms: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The terms, behind their weighted sum "loss"."""
        return {"loss": torch.stack([getattr(self, name) * terms[name] for name in self.terms]).sum(), **terms}

    def _parts(self, logits: Tensor, target: Tensor, valid: Tensor, *, pos_weight: Tensor) -> dict[str, LossParts]:
        labels = self.label_smoothing + (1 - 2 * self.label_smoothing) * target.float()
        terms = {
            "bce": partial(bce_parts, logits, labels, valid, pos_weight=pos_weight),
            "dice": partial(dice_parts, logits, target, valid, over=self.dice_over, smoothing=self.dice_smoothing),
            "mse": partial(mse_parts, logits, labels, valid),
            "focal": partial(binary_focal_parts, logits, labels, valid, gamma=self.focal_gamma),
        }
        return {name: terms[name]() for name in self.terms}


def _require(criterion: Criterion, name: str, fulfilled: bool, expected: str) -> None:
    if not fulfilled:
        raise UserError(f"criterion.{name}: found {getattr(criterion, name)!r}, expected {expected}")
