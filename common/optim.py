"""Optimizer and scheduler as Lightning wants them."""

import math
from typing import Any

from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.errors import UserError


class WarmupCosine(LRScheduler):
    """Per step: a linear warm-up, then half a cosine down to nothing at the end of the run.

    `optimizers` tells it the run's length, so that it fits any number of epochs.

    Args:
        optimizer: whose learning rate is the highest one.
        warmup: share of the run that warms up.
    """

    def __init__(self, optimizer: Optimizer, *, warmup: float = 0.1) -> None:
        self.warmup = warmup
        self.total_steps = 1
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Without the run's length: one that is continued with more epochs takes its new length."""
        return {key: value for key, value in super().state_dict().items() if key != "total_steps"}

    def get_lr(self) -> list[float | Tensor]:
        """Rates of the parameter groups at this step."""
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]

    def factor(self, step: int) -> float:
        """Share of the highest rate at a step, 0..1."""
        warm = max(1.0, self.warmup * self.total_steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, self.total_steps - warm))))


def optimizers(
    module: LightningModule, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None
) -> dict[str, Any]:
    """One optimizer with its scheduler, if any, which steps once per epoch; with a `monitor`, after each validation.

    Returns:
        what `LightningModule.configure_optimizers` returns.
    """
    made = optimizer(module.parameters())
    if scheduler is None:
        return {"optimizer": made}
    schedule = scheduler(made)
    if isinstance(schedule, WarmupCosine):
        steps = module.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise UserError("scheduler: WarmupCosine needs the run's length: set trainer.max_epochs or max_steps")
        schedule.total_steps = int(steps)
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    when: dict[str, Any] = {}
    if isinstance(schedule, ReduceLROnPlateau):  # it can be asked only where a validation has just been
        when = {"monitor": schedule.monitor, "frequency": module.trainer.check_val_every_n_epoch or 1}
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, **when}}
