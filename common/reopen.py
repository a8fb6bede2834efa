"""A run, opened again by its folder: for notebooks and for verbs that take a checkpoint."""

import json
from argparse import ArgumentError
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser
from lightning import LightningModule

from common.checkpoints import BEST
from common.errors import UserError
from common.trusted import only_from

Data = TypeVar("Data")
Module = TypeVar("Module", bound=LightningModule)


def find_run(folder: Path, *, project: str) -> Path:
    """The run's folder itself where `folder` is a link such as `latest`; a `UserError` where no run is."""
    if not (folder / "checkpoints" / "best.ckpt").is_file():
        raise UserError(
            f"no trained run at {folder} (expected checkpoints/best.ckpt in it): `python -m projects.{project}.train "
            f"fit` makes one and links it as runs/{project}/latest; or set RUN to the folder of another run"
        )
    return folder.resolve()


def run_settings(run: Path) -> dict[str, Any]:
    """The settings of a run's model and data, as its `config.yaml` holds them."""
    path = run / "config.yaml"
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; expected the run's configuration there, two folders above a checkpoint: keep "
            f"checkpoints in the folder of their run (move or copy the whole folder)"
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(
            f"{path}: not a configuration ({str(error).splitlines()[0]}); use the one that fit wrote"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: holds a {type(config).__name__}, expected the settings that fit wrote")
    return {key: config[key] for key in ("model", "data") if key in config}


def run_summary(run: Path) -> dict[str, Any]:
    """The `summary.json` of a run; of its latest test or validation where the training has not finished."""
    paths = [run / folder / "summary.json" for folder in ("", "test", "validate")]
    found: Path | None = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise UserError(
            f"{paths[0]}: no such file; the training has not finished. The verb `test` with "
            f"--ckpt_path {run / 'checkpoints' / 'best.ckpt'} scores what there is"
        )
    summary: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return summary


def run_data(run: Path, kind: type[Data], **told: Any) -> Data:
    """The data module of a run, made from its `config.yaml`.

    Args:
        run: folder of the run.
        kind: class of the data module.
        told: arguments that the model gives, such as its window.
    """
    with only_from():
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind, "data")
        try:
            config = parser.parse_object({"data": run_settings(run).get("data", {}) | told})
        except ArgumentError as error:
            raise UserError(f"{run / 'config.yaml'}: {error}; is it from another version of the code?") from error
        data: Data = parser.instantiate_classes(config)["data"]
    return data


def run_module(run: Path, kind: type[Module]) -> Module:
    """The trained module of a run: its best checkpoint, on the CPU.

    Args:
        run: folder of the run.
        kind: class of the module.
    """
    with only_from():  # a checkpoint names the classes of its network
        return kind.load_from_checkpoint(run / "checkpoints" / BEST, weights_only=True, map_location="cpu")
