"""Checkpoints that are whole or absent, and where to find them."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from common.errors import UserError
from common.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the destination and renames, so that a killed run never leaves a torn file.

    Lightning writes through the system's temporary folder, and a move between file systems is not atomic.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves `checkpoint` to the local file `path`."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def checkpoint_callbacks(folder: Path, *, monitor: str, mode: str) -> list[Callback]:
    """Keeps `best.ckpt` by the monitored score and `last.ckpt` by time.

    Two callbacks, because Lightning's `save_last` rewrites the last one only when the best ones change.
    """
    best = ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", monitor=None, save_top_k=1, enable_version_counter=False)
    return [best, last]


def find_checkpoint(runs: Path) -> Path:
    """The best checkpoint of the latest run, for commands that name none."""
    path = runs / "latest" / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}; train first (fit), or give --ckpt_path FILE")
    return path.resolve()


def run_of(checkpoint: Path) -> Path:
    """The run folder a checkpoint lies in."""
    return checkpoint.resolve().parents[1]
