"""Weights & Biases, which must never stop a run."""

import os
from hashlib import blake2b
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger


def wandb_logger(project: str, folder: Path) -> WandbLogger:
    """A logger to W&B; offline, with a line that says so, where nobody has logged in.

    Args:
        project: name of the W&B project.
        folder: of the run, whose name the W&B run takes.
    """
    import wandb  # noqa: PLC0415 - a second of import time that only its users pay

    logged_in = bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
    mode = os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
    if mode == "offline":
        print(f"wandb: no login, so it records offline; `wandb sync {folder}/wandb/offline-run-*` uploads it later")
    identity = blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()  # a run that goes on is the same run
    return WandbLogger(project=project, name=folder.name, id=identity, resume="allow", save_dir=folder, mode=mode)
