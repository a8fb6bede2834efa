"""Collects pictures that people should look at while scores are counted, and draws them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer

from common.panels import PanelsCallback, spread_over
from projects.pose.panels import Sample, draw_samples, sample_of


class SamplePanels(PanelsCallback):
    """Writes a picture per validation and test: pictures spread over the split, and after training the worst others.

    It expects of a step what `PoseModule.test_step` returns. Of several ranks the first one shows what it has seen.

    Args:
        folder: for the pictures; also sent to W&B where it is on.
        spread: number of evenly spread pictures.
        worst: number of other pictures whose people are found worst, by OKS; those with nobody are left out.
    """

    def __init__(self, folder: Path, *, spread: int = 4, worst: int = 3) -> None:
        super().__init__(folder)
        self.spread, self.worst = spread, worst
        self._spread: list[Sample] = []
        self._worst: list[Sample] = []

    def keep(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, dataset: Any) -> None:
        """Keeps the pictures of a batch that are shown."""
        if not outputs or not trainer.is_global_zero or trainer.sanity_checking:
            return
        wanted = spread_over(len(dataset), self.spread, world=trainer.world_size)
        columns = (outputs["index"].tolist(), outputs["valid"].tolist(), np.asarray(outputs["oks"]).tolist())
        for row, (index, valid, oks) in enumerate(zip(*columns, strict=True)):
            if valid and index in wanted:
                self._spread.append(sample_of(outputs, row, dataset, skeleton=module.skeleton))
            elif valid and trainer.state.fn != "fit" and self._among_worst(oks):
                sample = sample_of(outputs, row, dataset, skeleton=module.skeleton)
                self._worst = sorted([*self._worst, sample], key=lambda each: each.oks)[: self.worst]

    def _among_worst(self, oks: float) -> bool:
        """Whether a picture is shown unless worse ones come."""
        if self.worst == 0 or np.isnan(oks):
            return False
        return len(self._worst) < self.worst or oks < self._worst[-1].oks

    def take(self, trainer: Trainer) -> tuple[Sequence[Sample], str]:
        """Gives up the pictures: the spread ones, then the worst."""
        samples, worst = [*self._spread, *self._worst], len(self._worst)
        self._spread, self._worst = [], []
        return samples, f" (the last {worst} rows are the worst pictures)" * bool(worst)

    def draw(self, path: Path, samples: Sequence[Sample]) -> None:
        """Writes the panels."""
        draw_samples(path, samples)
