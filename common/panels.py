"""Pictures of some samples after each validation and test: what every project's callback for them shares."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class PanelsCallback(Callback):
    """Keeps samples while scores are counted, and draws them as `val_epoch_001.png`, `val.png` or `test.png`.

    Args:
        folder: for the pictures; where W&B is on, they are sent there too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def keep(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, dataset: Any) -> None:
        """Keeps what is shown of a batch.

        Args:
            trainer: says what is going on.
            module: the project's.
            outputs: of its `validation_step` or `test_step`.
            batch: as the step got it.
            dataset: that the batch is from.
        """

    @abstractmethod
    def take(self, trainer: Trainer) -> tuple[Sequence[Any], str]:
        """Gives up what was kept, and says what to add to the line that names the picture."""

    @abstractmethod
    def draw(self, path: Path, samples: Sequence[Any]) -> None:
        """Writes a picture of what was kept."""

    def drawn(self, trainer: Trainer, split: str, samples: Sequence[Any]) -> None:
        """Called after drawing."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what is shown of this batch."""
        loader: Any = trainer.val_dataloaders
        self.keep(trainer, pl_module, outputs, batch, loader.dataset)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what is shown of this batch."""
        loader: Any = trainer.test_dataloaders
        self.keep(trainer, pl_module, outputs, batch, loader.dataset)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what was kept."""
        self._finish(trainer, f"val_epoch_{trainer.current_epoch + 1:03d}" if trainer.state.fn == "fit" else "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what was kept."""
        self._finish(trainer, "test")

    def _finish(self, trainer: Trainer, name: str) -> None:
        samples, note = self.take(trainer)
        if not samples or not trainer.is_global_zero or trainer.sanity_checking:
            return
        path, split = self.folder / f"{name}.png", name.partition("_")[0]
        self.draw(path, samples)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(split, [str(path)])
        self.drawn(trainer, split, samples)
        if trainer.state.fn != "fit":
            print(f"pictures: {path}{note}")


def spread_over(samples: int, count: int, *, world: int = 1) -> set[int]:
    """Evenly spread samples, of those that the first of `world` ranks sees: every `world`-th."""
    seen = range(0, samples, world)
    return {seen[place] for place in np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int)}
