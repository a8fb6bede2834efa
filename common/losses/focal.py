"""Focal loss for heatmaps with one peak per object."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from common.losses.parts import LossParts, sum_samples


def penalty_reduced_focal_loss(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    *,
    mask: Bool[Tensor, "batch *masked"] | None = None,
    positive_weight: float = 1.0,
    alpha: float = 2.0,
    beta: float = 4.0,
) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss on logits, as float32.

    With p = sigmoid(logits), a cell with target 1 costs -positive_weight (1 - p)^alpha log p, any other cell
    -(1 - target)^beta p^alpha log(1 - p): the closer to a peak, the cheaper a false alarm (Law and Deng, "CornerNet",
    2018; Zhou et al., "Objects as Points", 2019).

    Normalisation: the sum over the cells of a sample, then the mean over the samples that have a labelled cell (at
    least one, so that nothing labelled costs 0). The papers divide by the number of objects, which lets a batch of
    empty frames weigh as much as one of full frames; here every frame weighs the same.

    Value and gradient are finite in fp16, bf16 and fp32 for logits in +-1e4: powers and logarithms of p are both taken
    from logsigmoid, in float32 under any autocast.

    Args:
        logits: of any floating type.
        target: 0..1, exactly 1 at the peaks. Give float32: half types round .9999 up to a peak.
        mask: true where labelled; its axes are the batch and, if any, the next ones of the logits, each of full size or
            1. Default: all.
        positive_weight: weight of the peaks.
        alpha: focus on cells that are wrong.
        beta: mercy for cells near a peak.
    """
    cost, labelled = _costs(logits, target, mask, positive_weight=positive_weight, alpha=alpha, beta=beta)
    return cost.sum() / labelled.sum().clamp(min=1)


def penalty_reduced_focal_parts(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    *,
    mask: Bool[Tensor, "batch *masked"] | None = None,
    positive_weight: float = 1.0,
    alpha: float = 2.0,
    beta: float = 4.0,
) -> LossParts:
    """`penalty_reduced_focal_loss` before its division: the cost of each sample, and 1 where it has a labelled cell."""
    cost, labelled = _costs(logits, target, mask, positive_weight=positive_weight, alpha=alpha, beta=beta)
    return LossParts(sum_samples(cost), sum_samples(labelled))


class PenaltyReducedFocalLoss(nn.Module):
    """`penalty_reduced_focal_loss` with its weights."""

    def __init__(self, *, positive_weight: float = 1.0, alpha: float = 2.0, beta: float = 4.0) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        self.alpha = alpha
        self.beta = beta

    def forward(
        self,
        logits: Float[Tensor, "batch *cells"],
        target: Float[Tensor, "batch *cells"],
        mask: Bool[Tensor, "batch *masked"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss over the labelled cells."""
        return penalty_reduced_focal_loss(
            logits, target, mask=mask, positive_weight=self.positive_weight, alpha=self.alpha, beta=self.beta
        )

    def parts(
        self,
        logits: Float[Tensor, "batch *cells"],
        target: Float[Tensor, "batch *cells"],
        mask: Bool[Tensor, "batch *masked"] | None = None,
    ) -> LossParts:
        """The loss before its division."""
        return penalty_reduced_focal_parts(
            logits, target, mask=mask, positive_weight=self.positive_weight, alpha=self.alpha, beta=self.beta
        )


def _costs(
    logits: Float[Tensor, "batch *cells"],
    target: Float[Tensor, "batch *cells"],
    mask: Bool[Tensor, "batch *masked"] | None,
    *,
    positive_weight: float,
    alpha: float,
    beta: float,
) -> tuple[Float[Tensor, "batch *cells"], Bool[Tensor, " batch"]]:
    """The cost of each cell, 0 where not labelled, and whether a sample has a labelled cell."""
    logits, target = logits.float(), target.float()
    log_p, log_q = logsigmoid(logits), logsigmoid(-logits)
    peak = -positive_weight * torch.exp(alpha * log_q) * log_p
    rest = -(1 - target).clamp(min=0).pow(beta) * torch.exp(alpha * log_p) * log_q
    cost = torch.where(target >= 1, peak, rest)
    labelled = torch.ones_like(cost, dtype=torch.bool) if mask is None else _expand(mask, cost)
    return torch.where(labelled, cost, 0), labelled.flatten(1).any(dim=1)


def _expand(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim)).expand_as(like)
