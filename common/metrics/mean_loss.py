"""The loss of an evaluation, whatever its batches and ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric

from common.losses.parts import LossParts


class MeanLoss(Metric):
    """All sums over all counts of the `LossParts` of every batch and rank; 0 where nothing counts.

    A mean of the batches' means would give the samples of a small last batch more weight, and each number of ranks its
    own value. The sums are float64: their order shows in the sixteenth digit at most.
    """

    full_state_update = False
    is_differentiable = False

    sums: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in LossParts._fields:
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, parts: LossParts) -> None:
        """Adds one batch."""
        self.sums = self.sums + parts.sums.sum()
        self.counts = self.counts + parts.counts.sum()

    def compute(self) -> Tensor:
        """The loss of all samples."""
        return self.sums / self.counts.clamp(min=1)
