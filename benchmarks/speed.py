"""How fast a training runs, and how fast its network would alone."""

import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, distributed

from common.files import write_text
from common.trainer import autocast_dtype

WARM = 2
"""First batches of an epoch and of the bare loop, not measured."""

HOOKS = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end", "before_batch", "after_batch",
)  # fmt: skip
"""What is called in each step; the last two by our loops."""

BARE_STEPS, BARE_ROUNDS = 10, 5


class Speed(Callback):
    """Measures whole epochs but their first batches, from the second epoch on; waits for the device only there.

    Args:
        folder: where each rank writes `rank-<rank>.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps, self.seconds, self.waited, self.size = 0, 0.0, 0.0, 0
        self.batch: dict[str, Tensor] = {}
        self.hooks = dict[str, float]()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Has all other callbacks timed."""
        for callback in trainer.callbacks if stage == "fit" else ():  # type: ignore[attr-defined]
            for name in HOOKS:
                if callback is not self and hasattr(callback, name):
                    setattr(callback, name, self._timed(type(callback).__name__, getattr(callback, name)))

    def _timed(self, name: str, hook: Callable[..., None]) -> Callable[..., None]:
        self.hooks[name] = 0.0

        def run(*args: Any) -> None:
            started = perf_counter()
            hook(*args)
            self.hooks[name] += perf_counter() - started

        return run

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.hooks = dict.fromkeys(self.hooks, 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self.batch, self.size = batch, len(batch["index"])
        loader: Any = trainer.train_dataloader
        if trainer.current_epoch == 0:
            return
        if batch_idx == WARM - 1:
            _wait_for_device()
            self._begun, self._waited = perf_counter(), loader.waited_s
        if batch_idx == trainer.num_training_batches - 1:
            _wait_for_device()
            self.seconds += perf_counter() - self._begun
            self.waited += loader.waited_s - self._waited
            self.steps += batch_idx + 1 - WARM

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells, and lets the network run alone where it is alone on its device."""
        steps = (trainer.max_epochs - 1) * trainer.num_training_batches  # type: ignore[operator]
        found = {
            "samples": self.steps * self.size,
            "seconds": self.seconds,
            "step_us": 1e6 * self.seconds / self.steps,
            "hooks_us": {name: 1e6 * spent / steps for name, spent in self.hooks.items()},
            "waited": self.waited / self.seconds,
            "memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
            "precision": str(trainer.precision),
            "backend": distributed.get_backend() if distributed.is_initialized() else "no backend",
            "device": torch.cuda.get_device_name() if pl_module.device.type == "cuda" else "CPU process",
            "bare": self._bare(trainer, pl_module) if trainer.world_size == 1 else 0.0,
        }
        write_text(self.folder / f"rank-{trainer.global_rank}.json", json.dumps(found))

    def _bare(self, trainer: Trainer, module: Any) -> float:
        """Samples per second of forward, backward and step on the last batch; best of some rounds."""
        dtype, kind = autocast_dtype(str(trainer.precision)), module.device.type
        scaler = torch.amp.GradScaler(kind, enabled=dtype is torch.float16)
        optimizer, best = module.optimizer(module.parameters()), float("inf")
        targets = module.targets(self.batch)
        for _ in range(BARE_ROUNDS):
            started = perf_counter()
            for step in range(BARE_STEPS + WARM):
                if step == WARM:
                    _wait_for_device()
                    started = perf_counter()
                with torch.autocast(kind, dtype, enabled=dtype is not None):
                    loss = module.losses(module(self.batch["frames"]), targets)["loss"]
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            _wait_for_device()
            best = min(best, perf_counter() - started)
        return BARE_STEPS * self.size / best


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
