"""Collects scenes that people should look at while scores are counted, and draws them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer

from common.panels import PanelsCallback, spread_over
from common.tables import log_table
from projects.clouds.panels import Answer, Sample, draw_samples, sample_of


class SamplePanels(PanelsCallback):
    """Writes a picture per validation and test: scenes spread over the split, and after training the worst others too.

    It expects of a step what `CloudModule.test_step` returns. Of several ranks the first one shows what it has seen.

    Args:
        folder: for the pictures; where W&B is on, they and a table of the scenes are sent there too.
        spread: number of evenly spread scenes.
        worst: number of other scenes with the smallest IoU.
    """

    def __init__(self, folder: Path, *, spread: int = 4, worst: int = 3) -> None:
        super().__init__(folder)
        self.spread, self.worst = spread, worst
        self._spread: list[Sample] = []
        self._worst: list[Sample] = []

    def keep(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, dataset: Any) -> None:
        """Keeps a scene if it is shown."""
        if not outputs or not trainer.is_global_zero or trainer.sanity_checking:
            return
        scene, iou = int(outputs["scene"]), float(outputs["iou"])
        spread = scene in spread_over(len(dataset), self.spread, world=trainer.world_size)
        if not spread and (trainer.state.fn == "fit" or not self._among_worst(iou)):
            return
        probability, target = (outputs[name].cpu().numpy() for name in ("probability", "target"))
        answer = Answer(scene, np.where(outputs["valid"].cpu().numpy(), probability, np.nan), target, iou)
        sample = sample_of(dataset, answer, threshold=module.threshold)
        if spread:
            self._spread.append(sample)
        else:
            self._worst = sorted([*self._worst, sample], key=lambda each: each.iou)[: self.worst]

    def _among_worst(self, iou: float) -> bool:
        """Whether a scene is shown unless worse ones come; one whose IoU has no meaning is not."""
        if self.worst == 0 or np.isnan(iou):
            return False
        return len(self._worst) < self.worst or iou < self._worst[-1].iou

    def take(self, trainer: Trainer) -> tuple[Sequence[Sample], str]:
        """Gives up the scenes: the spread ones, then the worst."""
        samples, worst = [*self._spread, *self._worst], len(self._worst)
        self._spread, self._worst = [], []
        return samples, f" (the last {worst} rows are the worst scenes)" * bool(worst)

    def draw(self, path: Path, samples: Sequence[Sample]) -> None:
        """Writes the panels."""
        draw_samples(path, samples)

    def drawn(self, trainer: Trainer, split: str, samples: Sequence[Sample]) -> None:
        """Sends a table of the scenes to W&B."""
        log_table(trainer.loggers, f"{split}/scenes", [_table_row(sample) for sample in samples])


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
