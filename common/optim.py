"""Optimizer and scheduler as Lightning wants them."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from torch.nn import Parameter


def optimizers(
    parameters: Iterable[Parameter], optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None
) -> dict[str, Any]:
    """One optimizer with its scheduler, if any, which steps once per epoch, on its `monitor` if it has one.

    Returns:
        what `LightningModule.configure_optimizers` returns.
    """
    made = optimizer(parameters)
    if scheduler is None:
        return {"optimizer": made}
    schedule = scheduler(made)
    monitor = {"monitor": schedule.monitor} if isinstance(schedule, ReduceLROnPlateau) else {}
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, **monitor}}
