"""A small training with everything that has a state, to be stopped and taken up again."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from common.checkpoints import RunCheckpointIO, newest
from common.data.datamodule import PlannedDataModule
from common.data.samples import Field, RecordSamples
from common.keeper import RunKeeper, Saving
from common.optim import ReduceLROnPlateau, WarmupCosine, optimizers
from common.rows import RowLogger
from common.signals import Stopped, request
from common.trainer import Trainer


class Vectors:
    """Random records."""

    shape, dtype, content = (4,), np.float32, "vectors"

    def __init__(self, count: int) -> None:
        self.values = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def read_many(self, records: Sequence[int]) -> list[np.ndarray]:
        return [self.values[record] for record in records]


class VectorSamples(RecordSamples):
    """One record each."""

    def __init__(self, count: int) -> None:
        super().__init__(Vectors(count), np.arange(count)[:, None])

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"x": Field((1, 4), np.float32), "index": Field((), np.int64)}

    def fetch(self, epoch: int, indices: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        self.gather(epoch, indices, out["x"])
        out["index"][:] = indices


class VectorData(PlannedDataModule):
    def __init__(self, *, train: int = 16, val: int = 3, batch_size: int = 3, num_workers: int = 0) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=3, cache=0)
        self.sizes = {"train": train, "val": val, "test": val}

    def setup(self, stage: str) -> None:
        self.datasets = {name: VectorSamples(size) for name, size in self.sizes.items()}


class Network(LightningModule):
    """Batch norm, dropout, momentum; learns to sum up."""

    def __init__(self, schedule: str | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.schedule = schedule

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"].flatten(1)
        return (self.net(x)[:, 0] - x.sum(dim=1)).square().mean()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        loss = self._loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(batch["x"]))
        self.log("train/largest", batch["x"].max(), on_step=False, on_epoch=True, reduce_fx="max", batch_size=1)
        return {"loss": loss}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self._loss(batch)
        self.log_dict({"val/loss": loss, "val/score": -loss}, batch_size=len(batch["x"]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        schedules: dict[str | None, Any] = {
            "cosine": WarmupCosine,
            "plateau": lambda optimizer: ReduceLROnPlateau(
                optimizer, monitor="val/loss", mode="max", patience=0, factor=0.5
            ),
            "epochs": lambda optimizer: StepLR(optimizer, step_size=1, gamma=0.7),
        }
        return optimizers(self, lambda p: torch.optim.AdamW(p, lr=0.02), schedules.get(self.schedule))


class StopAt(Callback):
    """Asks to stop, as a signal would, when it was asked as often as said."""

    def __init__(self, ask: int | None) -> None:
        self.left = ask

    def install(self, patch: Any) -> None:
        def asked(of: Any) -> bool:
            if self.left is not None:
                self.left -= 1
                of.reason = of.reason or ("test" if self.left == 0 else None)
            return of.reason is not None

        patch.setattr(type(request), "asked", asked)


def train(
    run: Path,
    *,
    schedule: str | None = None,
    data: Mapping[str, int] | None = None,
    saving: Saving | None = None,
    patience: int = 100,
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> Network:
    """Trains, or goes on; raises `Stopped` when stopped."""
    request.reset()
    torch.manual_seed(1)
    network = Network(schedule)
    folder = run / "checkpoints"
    keeper = RunKeeper(
        folder,
        saving or Saving(),
        latest=run.parent / "latest",
        monitor="val/score",
        settings={},
        seed=5,
    )
    start = newest(folder)
    options: dict[str, Any] = {"max_epochs": 3, "log_every_n_steps": 1} | trainer
    stopping = EarlyStopping("val/loss", patience=patience, check_on_train_epoch_end=False)
    made = Trainer(
        default_root_dir=run,
        callbacks=[stopping, LearningRateMonitor(), *callbacks, keeper],
        logger=RowLogger(run),
        plugins=[RunCheckpointIO()],
        accelerator="cpu",
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    made.fit(network, datamodule=VectorData(**(data or {})), ckpt_path=start, weights_only=True)
    return network


def train_with_stops(run: Path, stops: Sequence[int], patch: Any, **options: Any) -> int:
    """Trains to the end, stopped each time when asked as often as said; how often it was stopped."""
    count = 0
    for ask in [*stops, None]:
        with patch.context() as inside:
            StopAt(ask).install(inside)
            try:
                train(run, **deepcopy(options))  # callbacks of a new process
                return count
            except Stopped:
                count += 1
    raise AssertionError("not finished")
