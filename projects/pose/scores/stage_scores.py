"""How near the maps of a stage come to their targets, over all batches and ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric

from projects.pose.losses import FOREGROUND, Counted, Kind, Maps, strengths

STRONG = 0.5
"""From this strength on a cell lies well within a limb or a joint's peak."""

_SUMS = ("error", "entries", "found", "strong", "missed", "wanted", "answered")


class StageScores(Metric):
    """Scores of a stage over the cells that count.

    With |t| the strength of a target and |p| that of the prediction, of each joint or limb, see `strengths`:

    - mae: mean absolute error of all channels, background included.
    - recall: of the cells with |t| >= .5, the share with |p| >= .5.
    - island_recall: 1 - sum(max(|t| - |p|, 0)) / sum(|t|) over the cells with |t| > .01.
    - activity: sum(|p|) / sum(|t|) over the same cells; near 0 where a stage has died, see `DeadStages`.

    Directions and what is found where nothing is do not matter in the last three. NaN where there is nothing to divide
    by. The states are float64 sums: how samples are spread over batches and ranks shows in the last digits at most.

    Args:
        kind: of the stage.
    """

    full_state_update = False
    is_differentiable = False

    sums: Tensor

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.add_state("sums", default=torch.zeros(len(_SUMS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Maps, target: Maps, counted: Counted) -> None:
        """Adds a batch.

        Args:
            prediction: of any floating type, on any device.
            target: of the same shape.
            counted: cells that count; any value stands where not, NaN included.
        """
        p, t = (torch.where(counted, strengths(maps, self.kind), 0) for maps in (prediction, target))
        island, strong = t > FOREGROUND, t >= STRONG
        terms = {
            "error": torch.where(counted, prediction.float() - target.float(), 0).abs(),
            "entries": counted.expand_as(target),
            "found": strong & (p >= STRONG),
            "strong": strong,
            "missed": torch.where(island, (t - p).clamp(min=0), 0),
            "wanted": torch.where(island, t, 0),
            "answered": torch.where(island, p, 0),
        }
        sums = torch.stack([terms[name].sum(dtype=torch.float64) for name in _SUMS])
        self.sums = self.sums + sums.to(self.device)

    def compute(self) -> dict[str, Tensor]:
        """The scores by name."""
        error, entries, found, strong, missed, wanted, answered = self.sums
        return {
            "mae": error / entries,
            "recall": found / strong,
            "island_recall": 1 - missed / wanted,
            "activity": answered / wanted,
        }
