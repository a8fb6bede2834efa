"""After a test or validation: how well each stage does, printed as a table."""

import math
from collections.abc import Mapping

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.table import Table

SHOWN = ("loss", "mae", "recall", "island_recall", "activity")
"""Logged as `<split>/<name>/<stage>`."""


class StageTable(Callback):
    """Prints the scores of every stage, so that a stage that does nothing is seen."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the test's."""
        self._print(trainer, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the validation's, unless it is a part of training."""
        if trainer.state.fn == "validate":
            self._print(trainer, "val")

    def _print(self, trainer: Trainer, split: str) -> None:
        if trainer.is_global_zero:
            Console().print(stage_table(split, {name: float(v) for name, v in trainer.callback_metrics.items()}))


def stage_table(split: str, values: Mapping[str, float]) -> Table:
    """A row per stage.

    Args:
        split: "val" or "test".
        values: as logged, of all names.
    """
    table = Table(title=f"{split} split, stage by stage")
    for name in ("stage", *SHOWN):
        table.add_column(name.replace("_", " "), justify="left" if name == "stage" else "right")
    prefix = f"{split}/{SHOWN[0]}/"
    for stage in (name.removeprefix(prefix) for name in values if name.startswith(prefix)):
        cells = (values.get(f"{split}/{name}/{stage}", math.nan) for name in SHOWN)
        table.add_row(stage, *("-" if math.isnan(value) else f"{value:.3g}" for value in cells))
    return table
