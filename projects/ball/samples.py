"""Collects frames that people should look at while scores are counted, and draws them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from torch import Tensor

from common.data.samples import VALID
from common.panels import PanelsCallback
from projects.ball.panels import Sample, draw_samples
from projects.ball.review import errors_px, sample_of


class SamplePanels(PanelsCallback):
    """Writes a picture per validation and test: frames spread over the split, and in a test the worst ones too.

    Args:
        folder: for the pictures; also sent to W&B where it is on.
        spread: number of evenly spread frames.
        worst: number of frames with the largest error; a missed ball or a false alarm is worse than any distance.
    """

    def __init__(self, folder: Path, *, spread: int = 4, worst: int = 3) -> None:
        super().__init__(folder)
        self.spread, self.worst = spread, worst
        self._spread: list[Sample] = []
        self._worst: list[tuple[float, int, Sample]] = []

    def keep(
        self, trainer: Trainer, module: Any, outputs: dict[str, Any], batch: dict[str, Tensor], dataset: Any
    ) -> None:
        """Keeps the frames of a batch that are shown."""
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

    def take(self, trainer: Trainer) -> tuple[Sequence[Sample], str]:
        """Gives up the frames: the spread ones, then, but for a fit's validations, the worst."""
        worst = [sample for *_, sample in self._worst] if trainer.state.fn != "fit" else []
        samples = [*self._spread, *worst]
        self._spread, self._worst = [], []
        return samples, f" (the last {len(worst)} rows are the worst frames)" * bool(worst)

    def draw(self, path: Path, samples: Sequence[Sample]) -> None:
        """Writes the panels."""
        draw_samples(path, samples)
