"""The Trainer that every project uses: Lightning's, with verbs of its own."""

from pathlib import Path

import lightning
import torch
from lightning import LightningDataModule, LightningModule

from common.data.datamodule import PlannedDataModule
from common.errors import UserError
from common.export import Parity


class ExportableModule(LightningModule):
    """A module that can leave PyTorch."""

    def export(self, path: Path) -> Parity:
        """Writes itself as ONNX and says how far the file's answers are from its own."""
        raise NotImplementedError


class Trainer(lightning.Trainer):
    """Lightning's Trainer; its public methods are the verbs of the command line."""

    def prepare(self, model: LightningModule, datamodule: PlannedDataModule) -> None:
        """Decode and check the data once, before training; says what is left out and why.

        Args:
            model: not used; its settings, such as the window, are the data's.
            datamodule: whose `setup` prints what it found.
        """
        datamodule.prepare_data()
        datamodule.setup("fit")

    def export(
        self, model: ExportableModule, datamodule: LightningDataModule, *, ckpt_path: str, output: str | None = None
    ) -> None:
        """Write the trained network as an ONNX file and check that it answers as PyTorch does.

        Args:
            model: whose `export` does the work.
            datamodule: not used.
            ckpt_path: the trained checkpoint.
            output: the file; beside the checkpoint by default.
        """
        load_weights(model, ckpt_path)
        path = Path(output) if output else Path(ckpt_path).with_suffix(".onnx")
        parity = model.export(path)
        print(
            f"{path}: largest relative difference to PyTorch {parity.relative_error:.1e} over inputs of {parity.shapes}"
        )


def load_weights(model: LightningModule, path: str) -> None:
    """Loads a checkpoint's weights into a module of the same configuration; a file can run no code."""
    if not Path(path).is_file():
        raise UserError(f"ckpt_path: no file {path}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise UserError(f"ckpt_path {path}: weights of another network than the config's: {error}") from error


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The type of a forward pass at a trainer's precision, such as "16-mixed"; None for the network's own."""
    return {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
