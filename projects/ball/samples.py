"""Collects frames that people should look at while scores are counted, and draws them."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.data.samples import VALID
from projects.ball.panels import Sample, draw_samples
from projects.ball.review import errors_px, sample_of


class SamplePanels(Callback):
    """Writes a picture per validation and test: frames spread over the split, and in a test the worst ones too.

    Args:
        folder: for the pictures; also sent to W&B where it is on.
        spread: number of evenly spread frames.
        worst: number of frames with the largest error; a missed ball or a false alarm is worse than any distance.
    """

    def __init__(self, folder: Path, *, spread: int = 4, worst: int = 3) -> None:
        self.folder, self.spread, self.worst = folder, spread, worst
        self._spread: list[Sample] = []
        self._worst: list[tuple[float, int, Sample]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the frames of this batch that are shown."""
        self._keep(pl_module, outputs, batch, _dataset(trainer.val_dataloaders))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the frames of this batch that are shown."""
        self._keep(pl_module, outputs, batch, _dataset(trainer.test_dataloaders))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the spread frames."""
        name = f"val_epoch_{trainer.current_epoch + 1:03d}" if trainer.state.fn == "fit" else "val"
        self._draw(trainer, name, with_worst=trainer.state.fn != "fit")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the spread frames and the worst."""
        self._draw(trainer, "test", with_worst=True)

    def _keep(self, module: Any, outputs: dict[str, Any], batch: dict[str, Tensor], dataset: Any) -> None:
        targets, located = outputs["targets"], outputs["located"]
        wanted = set(np.linspace(0, len(dataset) - 1, self.spread).astype(int).tolist())
        error = errors_px(located, targets, batch, threshold=module.threshold)
        columns = (batch["index"].tolist(), error.tolist(), batch[VALID].tolist())
        for row, (index, value, valid) in enumerate(zip(*columns, strict=True)):
            if not valid:
                continue
            if index in wanted:
                self._spread.append(sample_of(outputs, batch, row, dataset, threshold=module.threshold))
            if self.worst and (len(self._worst) < self.worst or value > self._worst[-1][0]):
                sample = sample_of(outputs, batch, row, dataset, threshold=module.threshold)
                self._worst.append((value, index, sample))
                self._worst = sorted(self._worst, key=lambda item: -item[0])[: self.worst]

    def _draw(self, trainer: Trainer, name: str, *, with_worst: bool) -> None:
        samples = self._spread + ([sample for *_, sample in self._worst] if with_worst else [])
        self._spread, self._worst = [], []
        if not samples or not trainer.is_global_zero or trainer.sanity_checking:
            return
        path = self.folder / f"{name}.png"
        draw_samples(path, samples)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(name.split("_", maxsplit=1)[0], [str(path)])
        if with_worst:
            print(f"pictures: {path} (the last {self.worst} rows are the worst frames)")


def _dataset(loader: Any) -> Any:
    return loader.dataset
