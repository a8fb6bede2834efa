"""Says in words that a stage has stopped to answer."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from common.errors import UserError

PREFIX = "val/activity/"


class DeadStages(Callback):
    """Warns, once per stage and run, of a stage whose maps stay near zero while their targets are not.

    Targets are mostly zero, and a stage may learn to say zero everywhere; its loss is then small and flat, and nothing
    else tells. Reads `val/activity/<stage>` (see `StageScores`) after each validation of a training; where that is NaN,
    as no target was there, it says nothing of the stage.

    Args:
        least: activity below which a stage counts as dead.
        patience: validations in a row that it stays so before the warning.

    Raises:
        UserError: for a value out of its range.
    """

    def __init__(self, least: float = 0.1, patience: int = 3) -> None:
        if not 0 < least < 1:
            raise UserError(f"dead_stages.least: found {least}, expected a share between 0 and 1")
        if patience < 1:
            raise UserError(f"dead_stages.patience: found {patience}, expected a number of validations, 1 or more")
        self.least, self.patience = least, patience
        self.low: dict[str, int] = {}  # validations in a row
        self.warned: list[str] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the activities, which by now are those of all ranks."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        for name in sorted(trainer.callback_metrics):
            if name.startswith(PREFIX):
                self._look(name.removeprefix(PREFIX), float(trainer.callback_metrics[name]), trainer)

    def _look(self, stage: str, activity: float, trainer: Trainer) -> None:
        self.low[stage] = self.low.get(stage, 0) + 1 if activity < self.least else 0
        if self.low[stage] < self.patience or stage in self.warned:
            return
        self.warned.append(stage)
        if trainer.is_global_zero:
            print(_warning(stage, activity, self.low[stage]), flush=True)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen and said, so that a resumed run does not say it again."""
        return {"low": dict(self.low), "warned": list(self.warned)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what `state_dict` left."""
        self.low, self.warned = dict(state_dict["low"]), list(state_dict["warned"])


def _warning(stage: str, activity: float, validations: int) -> str:
    return (
        f"warning: stage {stage} looks dead: where its targets are not zero, its answers sum to {activity:.2%} of "
        f"theirs, for {validations} validation{'s' if validations > 1 else ''} now. It says zero nearly everywhere, "
        "which is nearly right as targets are sparse. Give the foreground more weight in the loss, draw limbs wider or "
        "with ends, change the learning rate (too high kills a stage, too low leaves it so), or switch batch norm or "
        "dropout off in the stages."
    )
