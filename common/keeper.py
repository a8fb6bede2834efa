"""Keeps a run: saves it while it goes on, stops it when asked to, takes it up again."""

import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger

from common.checkpoints import drop_best, drop_left, keep_best, keep_newest, require_loadable, step_path
from common.data.plan import sample_seeds
from common.errors import UserError
from common.files import link
from common.loops import restore_running_means, running_means
from common.ranks import sum_over_ranks
from common.signals import Stopped, request

MINE = "run"
"""Key of what this program adds to a checkpoint."""


@dataclass(frozen=True)
class Saving:
    """When checkpoints are written, besides each epoch's end.

    Attributes:
        every_minutes: of training, at most, from one to the next.
        every_steps: optimizer steps from one to the next; None leaves it to the time.
        best: number of checkpoints kept for their validation score.
    """

    every_minutes: float = 10.0
    every_steps: int | None = None
    best: int = 1

    def __post_init__(self) -> None:
        if self.best < 1 or self.every_minutes < 0 or (self.every_steps is not None and self.every_steps < 1):
            raise UserError(f"save: found {self}; expected minutes of 0 or more, steps and best of 1 or more")


class RunKeeper(Checkpoint):
    """Saves, stops and resumes a training; tells the loops' places (`common.loops.Places`).

    A resumed training is the same as an uninterrupted one, bit by bit: order and augmentation are functions of (seed,
    epoch, sample), what a network draws itself (dropout) of (seed, batch, rank), and everything else is in the
    checkpoint: weights, optimizer, schedulers, position in the epoch, running means, rows of metrics.csv.

    Args:
        folder: of the checkpoints, in the run's.
        saving: when to save.
        latest: a link that points to the run from its first checkpoint on: a failed start leaves it as it was.
        monitor: validation score by which the best are kept; higher is better.
        settings: of the run, flat, to be compared when it is resumed.
        seed: of what the network draws.
    """

    def __init__(
        self, folder: Path, saving: Saving, *, latest: Path, monitor: str, settings: Mapping[str, Any], seed: int
    ) -> None:
        self.folder, self.saving, self.latest = folder, saving, latest
        self.monitor, self.settings, self.seed = monitor, settings, seed
        self.seconds = 0.0  # of training, over all restarts
        self._written = False
        self._from: Path | None = None
        self._trainer: lightning.Trainer | None = None
        self._saved_step, self._saved_at, self._started = 0, time.monotonic(), time.monotonic()
        self._resumed: dict[str, Any] = {}
        self._means: list[list[dict[str, Any]]] = []
        self._validated = False

    @property
    def trainer(self) -> lightning.Trainer:
        """Whose training this is."""
        assert self._trainer is not None
        return self._trainer

    def setup(self, trainer: lightning.Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tells the loops whom to tell."""
        self._trainer = trainer
        if stage == "fit":
            _refuse_callbacks(trainer)
            trainer.fit_loop.epoch_loop.places = self

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """Notes where the run starts; one that starts afresh starts its tables afresh."""
        start = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        self._from = start if start is not None and start.parent == self.folder else None
        if start is None:
            _rewind(trainer, {})

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes up what `on_save_checkpoint` left."""
        if trainer.state.fn != "fit":
            return
        self._resumed = checkpoint[MINE]
        self._saved_step = checkpoint["global_step"]
        self.seconds = self._resumed["seconds"]
        trainer.should_stop = self._resumed["should_stop"]  # early stopping had its way
        _rewind(trainer, self._resumed["rows"])

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what Lightning leaves out."""
        metrics = {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}
        checkpoint[MINE] = {
            "settings": dict(self.settings),
            "world_size": trainer.world_size,
            "samples": _samples(trainer),
            "rows": {type(logger).__name__: _rows(logger) for logger in trainer.loggers},
            "means": self._means,
            "metrics": metrics,
            "should_stop": trainer.should_stop,
            "accumulate": trainer.accumulate_grad_batches,  # which a callback may schedule
            "seconds": self.seconds + time.monotonic() - self._started,
        }

    def on_train_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """Goes on where the checkpoint was written."""
        request.in_loop = True
        _require_whole_steps(trainer)
        require_loadable(trainer._checkpoint_connector.dump_checkpoint(weights_only=False))
        self._started = self._saved_at = time.monotonic()
        resumed, self._resumed = self._resumed, {}
        if not resumed:
            return
        if resumed["world_size"] != trainer.world_size:
            raise UserError(
                f"trainer.devices, trainer.num_nodes: the run began with {resumed['world_size']} processes, now "
                f"there are {trainer.world_size}; give as many, or start a new run: --run NEW_NAME"
            )
        if resumed["samples"] != _samples(trainer):
            raise UserError(
                f"data: the checkpoint was trained on {resumed['samples']} samples, now there are {_samples(trainer)}; "
                "a run goes on with the data it began with. Restore them, or start a new run (--run NEW)"
            )
        trainer.accumulate_grad_batches = resumed["accumulate"]
        trainer._logger_connector._callback_metrics.update(resumed["metrics"])
        restore_running_means(trainer, resumed["means"])

    def on_train_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """Training is over."""
        request.in_loop = False
        self.seconds += time.monotonic() - self._started

    def on_exception(self, trainer: lightning.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """From now on a request to stop takes effect at once."""
        request.in_loop = False

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """A request to stop now waits for the end of a batch."""
        request.in_loop = True

    on_test_start = on_validation_start

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """Notes that there is a new score."""
        request.in_loop = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._validated = request.in_loop

    def on_test_end(self, trainer: lightning.Trainer, pl_module: LightningModule) -> None:
        """From now on a request to stop takes effect at once."""
        request.in_loop = False

    def on_validation_batch_end(self, trainer: lightning.Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops inside a validation, which starts over later."""
        if self._agreed():
            if trainer.state.fn == "fit" and not trainer.sanity_checking:  # before the first step there is nothing
                _take_back_averages(trainer, pl_module)
                self._save()
            self._stop()

    def on_test_batch_end(self, trainer: lightning.Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stops inside a test, which starts over later."""
        if self._agreed():
            self._stop()

    def before_batch(self) -> None:
        """Makes what the network draws a function of (seed, batch, rank)."""
        batch = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        draw = int(sample_seeds(np.array([batch]), seed=self.seed, epoch=self.trainer.global_rank)[0])
        torch.default_generator.manual_seed(draw)  # `torch.manual_seed` seeds devices that are not there, for .4 ms
        if self.trainer.strategy.root_device.type == "cuda":
            torch.cuda.manual_seed(draw)
        random.seed(draw)
        np.random.seed(draw % 2**32)  # the generator that libraries use

    def after_batch(self) -> None:
        """Saves if it is time to, and stops if asked to; between optimizer steps, when gradients are used up."""
        if self.trainer.fit_loop._should_accumulate():
            return
        stopping, due = sum_over_ranks([request.asked(), self.trainer.is_global_zero and self._due()])
        if stopping or due:
            self._save()
        if stopping:
            self._stop()

    def after_validation(self) -> None:
        """Saves, and keeps the best."""
        self._save()
        if self._agreed():
            self._stop()

    after_epoch = after_validation

    def _agreed(self) -> bool:
        return sum_over_ranks([request.asked()]) != [0]

    def _stop(self) -> None:
        raise Stopped(request.reason or "another rank")

    def _due(self) -> bool:
        steps, minutes = self.trainer.global_step - self._saved_step, (time.monotonic() - self._saved_at) / 60
        every = self.saving.every_steps
        return (every is not None and steps >= every) or minutes >= self.saving.every_minutes

    def _save(self) -> None:
        """Writes a checkpoint; as one of the best first, since a run that goes on from it does not validate again."""
        self._means = running_means(self.trainer)
        path, pending = step_path(self.folder, self.trainer.global_step), self.folder / "pending.ckpt"
        self.trainer.save_checkpoint(pending, weights_only=False)
        if self.trainer.is_global_zero:
            self._keep_best(pending)
            pending.replace(path)
            if not self._written:
                drop_left(self.folder, resumed=self._from, written=path)
            keep_newest(self.folder, path)
            with contextlib.suppress(OSError):  # a folder of that name, or a file system without links
                link(self.latest, self.folder.parent)
        self._written, self._validated = True, False
        self._saved_step, self._saved_at = self.trainer.global_step, time.monotonic()

    def _keep_best(self, source: Path) -> None:
        score = self.trainer.callback_metrics.get(self.monitor) if self._validated else None
        if score is not None:
            if not self._written and self._from is None:
                drop_best(self.folder)
            step = self.trainer.global_step
            keep_best(self.folder, source, step=step, score=float(score), count=self.saving.best)


def _samples(trainer: lightning.Trainer) -> dict[str, int]:
    datasets = getattr(trainer.datamodule, "datasets", {})  # type: ignore[attr-defined]
    return {name: len(samples) for name, samples in datasets.items()}


def _refuse_callbacks(trainer: lightning.Trainer) -> None:
    """Some of Lightning's callbacks keep what they need in no checkpoint."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging | ModelPruning | BatchSizeFinder):
            raise UserError(
                f"trainer.callbacks: {type(callback).__name__} keeps a state that no checkpoint holds, so a stopped "
                "training could not go on; for averaged weights take EMAWeightAveraging"
            )


def _take_back_averages(trainer: lightning.Trainer, pl_module: LightningModule) -> None:
    """Averaged weights stand in for the trained ones during a validation; a checkpoint wants the trained ones."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_validation_epoch_end(trainer, pl_module)


def _require_whole_steps(trainer: lightning.Trainer) -> None:
    """Checkpoints hold no half-added gradients, so validations must fall between optimizer steps."""
    window, interval = trainer.accumulate_grad_batches, trainer.val_check_batch
    if trainer.check_val_every_n_epoch is None and trainer.num_training_batches % window:  # counted over epochs
        raise UserError(
            f"trainer.check_val_every_n_epoch null: with epochs of {trainer.num_training_batches} batches and "
            f"optimizer steps of {window} (trainer.accumulate_grad_batches) a validation falls inside one; set it to 1"
        )
    if isinstance(interval, int) and interval < trainer.num_training_batches and interval % window:
        raise UserError(
            f"trainer.val_check_interval: a validation every {interval} batches would fall inside an optimizer step of "
            f"{window} batches (trainer.accumulate_grad_batches); make it a multiple of that"
        )


def _rows(logger: Logger) -> int:
    """Rows that a logger has on disk by now; 0 for those that keep no count."""
    sync = getattr(logger, "sync", None)
    return int(sync()) if callable(sync) else 0


def _rewind(trainer: lightning.Trainer, rows: Mapping[str, int]) -> None:
    """Lets loggers that keep files of their own forget what came after a checkpoint: it comes again."""
    for logger in trainer.loggers:
        rewind = getattr(logger, "rewind", None)
        if callable(rewind):
            rewind(rows.get(type(logger).__name__, 0))
