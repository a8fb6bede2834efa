"""Where a training is, noted so that its death does not lose it."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

SET_UP, TRAINING, VALIDATION, SAVING, TESTING, LEAVING = PHASES = (
    "set-up", "training", "validation", "saving", "testing", "leaving",
)  # fmt: skip


class Note:
    """Where a training is, in a shared mapping of a file: whatever ends the process, it stays.

    Args:
        path: of the file, made if absent.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            np.zeros(5).tofile(path)
        self._values = np.memmap(path, np.float64, "r+")

    def begin(self) -> None:
        """A process starts."""
        self.phase, self.resumed = SET_UP, -1

    @property
    def phase(self) -> str:
        return PHASES[int(self._values[0])]

    @phase.setter
    def phase(self, phase: str) -> None:
        self._values[0] = PHASES.index(phase)

    @property
    def step(self) -> int:
        """Optimizer steps that the run has behind it."""
        return int(self._values[1])

    @step.setter
    def step(self, step: int) -> None:
        self._values[1] = step

    @property
    def resumed(self) -> int:
        """The step that this process went on from; -1 if it did not come to train."""
        return int(self._values[2])

    @resumed.setter
    def resumed(self, step: int) -> None:
        self._values[2] = step

    @property
    def saves(self) -> tuple[int, float]:
        """Number of checkpoints written by all processes, and seconds that it took."""
        return int(self._values[3]), float(self._values[4])

    def watch(self, writer: type[CheckpointIO]) -> None:
        """Notes when a checkpoint is written and how long it takes."""
        save = writer.save_checkpoint

        def noted(*args: Any, **named: Any) -> None:
            before, self.phase, started = self.phase, SAVING, perf_counter()
            save(*args, **named)
            self.phase = before
            self._values[3:] += 1, perf_counter() - started

        writer.save_checkpoint = noted  # type: ignore[method-assign]


class Progress(Callback):
    """Keeps a note of a training."""

    def __init__(self, note: Note) -> None:
        self.note = note

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase, self.note.step = TRAINING, trainer.global_step
        self.note.resumed = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.note.step = trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase = SET_UP if trainer.sanity_checking else VALIDATION

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase = SET_UP if trainer.sanity_checking else TRAINING

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase = LEAVING

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase = TESTING

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note.phase = LEAVING
