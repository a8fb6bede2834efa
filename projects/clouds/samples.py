"""Collects scenes that people should look at while scores are counted, and draws them."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from common.tables import log_table
from projects.clouds.panels import Answer, Sample, draw_samples, sample_of


class SamplePanels(Callback):
    """Writes a picture per validation and test: scenes spread over the split, and after training the worst others too.

    It expects of a step what `CloudModule.test_step` returns. Of several ranks the first one shows what it has seen.

    Args:
        folder: for the pictures; where W&B is on, they and a table of the scenes are sent there too.
        spread: number of evenly spread scenes.
        worst: number of other scenes with the smallest IoU.
    """

    def __init__(self, folder: Path, *, spread: int = 4, worst: int = 3) -> None:
        self.folder, self.spread, self.worst = folder, spread, worst
        self._spread: list[Sample] = []
        self._worst: list[Sample] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the scene of this batch if it is shown."""
        self._keep(trainer, pl_module, outputs, trainer.val_dataloaders)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the scene of this batch if it is shown."""
        self._keep(trainer, pl_module, outputs, trainer.test_dataloaders)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what was kept."""
        self._draw(trainer, f"val_epoch_{trainer.current_epoch + 1:03d}" if trainer.state.fn == "fit" else "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws what was kept."""
        self._draw(trainer, "test")

    def _keep(self, trainer: Trainer, module: Any, outputs: Any, loader: Any) -> None:
        if not outputs or not trainer.is_global_zero or trainer.sanity_checking:
            return
        scene, iou = int(outputs["scene"]), float(outputs["iou"])
        spread = scene in _spread(len(loader.dataset), self.spread, trainer.world_size)
        if not spread and (trainer.state.fn == "fit" or not self._among_worst(iou)):
            return
        probability, target = (outputs[name].cpu().numpy() for name in ("probability", "target"))
        answer = Answer(scene, np.where(outputs["valid"].cpu().numpy(), probability, np.nan), target, iou)
        sample = sample_of(loader.dataset, answer, threshold=module.threshold)
        if spread:
            self._spread.append(sample)
        else:
            self._worst = sorted([*self._worst, sample], key=lambda each: each.iou)[: self.worst]

    def _among_worst(self, iou: float) -> bool:
        """Whether a scene is shown unless worse ones come; one whose IoU has no meaning is not."""
        if self.worst == 0 or np.isnan(iou):
            return False
        return len(self._worst) < self.worst or iou < self._worst[-1].iou

    def _draw(self, trainer: Trainer, name: str) -> None:
        samples, worst = [*self._spread, *self._worst], len(self._worst)
        self._spread, self._worst = [], []
        if not samples:
            return
        path = self.folder / f"{name}.png"
        draw_samples(path, samples)
        split = name.partition("_")[0]
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(split, [str(path)])
        log_table(trainer.loggers, f"{split}/scenes", [_table_row(sample) for sample in samples])
        if trainer.state.fn != "fit":
            print(f"pictures: {path}" + f" (the last {worst} rows are the worst scenes)" * bool(worst))


def _spread(scenes: int, count: int, world: int) -> set[int]:
    """Evenly spread scenes, of those that the first of `world` ranks sees: every `world`-th."""
    seen = range(0, scenes, world)
    return {seen[place] for place in np.linspace(0, len(seen) - 1, min(count, len(seen))).astype(int)}


def _table_row(sample: Sample) -> dict[str, Any]:
    return {
        "name": sample.name,
        "image": sample.whole.scene,
        "target": sample.whole.label,
        "prediction": sample.whole.probability,
        "error map": sample.whole.errors,
        "IoU": sample.iou,
        "cloud labelled": sample.labelled,
        "cloud predicted": sample.predicted,
    }
