"""The small ball training with Lightning alone, as its documentation has it, to be killed beside ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ball import default_config
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger
from noting import Note, Progress

from projects.ball.data import BallData
from projects.ball.module import BallModule

FINAL = "final.pt"
"""Weights and optimizer after the last step."""


def one_callback(folder: Path, every: int) -> list[Callback]:
    """One callback for the best and the last."""
    return [ModelCheckpoint(folder, monitor="val/f1", mode="max", save_last=True, every_n_train_steps=every)]


def two_callbacks(folder: Path, every: int) -> list[Callback]:
    """One for the best, and one for the last, which saves when it is stopped too."""
    best = ModelCheckpoint(folder, monitor="val/f1", mode="max")
    return [best, ModelCheckpoint(folder, save_last=True, every_n_train_steps=every, save_on_exception=True)]


def train(folder: Path, *, settings: Mapping[str, Any], every: int, two: bool) -> None:
    """Trains, or goes on from the last checkpoint."""
    note = Note(folder / "note")
    note.watch(TorchCheckpointIO)
    seed_everything(0, workers=True)
    module, data = _parts(settings)
    saving = (two_callbacks if two else one_callback)(folder / "checkpoints", every)
    trainer = Trainer(
        **settings["trainer"],
        default_root_dir=folder,
        callbacks=[EarlyStopping("val/loss", patience=8), LearningRateMonitor(), *saving, Progress(note)],
        logger=CSVLogger(folder, name="rows", flush_logs_every_n_steps=1),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path="last", weights_only=False)  # what it wrote itself it trusts
    if trainer.global_step == settings["trainer"]["max_epochs"] * settings["trainer"]["limit_train_batches"]:
        states = [optimizer.state_dict() for optimizer in trainer.optimizers]
        torch.save({"state_dict": module.state_dict(), "optimizer_states": states}, folder / FINAL)


def last(folder: Path) -> Path | None:
    """What `ckpt_path="last"` finds."""
    return max((folder / "checkpoints").glob("last*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)


def _parts(settings: Mapping[str, Any]) -> tuple[LightningModule, LightningDataModule]:
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(BallModule, "model")
    parser.add_lightning_class_args(BallData, "data")
    default = default_config()
    told = {
        "model": {},
        "data": {name: (default["model"] | settings["model"])[name] for name in ("offsets", "size_hw")},
    }
    given = {part: default[part] | settings[part] | told[part] for part in told}
    made = parser.instantiate_classes(parser.parse_object(given))
    return made.model, made.data
