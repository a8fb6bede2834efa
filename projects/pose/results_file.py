"""After a test or validation: everybody found, in a file of COCO's format."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from projects.pose.coco.results import write_results


class ResultsFile(Callback):
    """Writes `keypoints_test.json` or `keypoints_val.json`, for COCO's server and other evaluations.

    Args:
        folder: for the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the test's."""
        self._write(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the validation's, unless it is a part of training."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "val")

    def _write(self, trainer: Trainer, module: Any, split: str) -> None:
        if trainer.is_global_zero:
            path = self.folder / f"keypoints_{split}.json"
            write_results(path, module.results)
            print(f"people found: {path}")
