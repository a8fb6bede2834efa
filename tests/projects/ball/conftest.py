"""A small network, and one short training that the tests of several files look at."""

import io
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

NETWORK = ("--model.size_hw", "[64,96]", "--model.net.encoder", "tu-test_byobnet", "--model.net.head_channels", "8",
           "--model.net.options", "{encoder_depth: 3, decoder_channels: [16, 8, 8]}")  # fmt: skip
BRIEF = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2",
         "--trainer.limit_test_batches", "2", "--trainer.log_every_n_steps", "1", "--trainer.num_sanity_val_steps", "0",
         "--trainer.accelerator", "cpu", "--trainer.devices", "1")  # fmt: skip


class Trained(NamedTuple):
    """A finished run; do not change it."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def small(rallies: Path) -> tuple[str, ...]:
    """Flags for the small data and a small network."""
    return ("--data.root", str(rallies), "--data.store", str(rallies.parent / "store"), *NETWORK)


@pytest.fixture(scope="session")
def brief() -> tuple[str, ...]:
    """Flags for two epochs of two steps."""
    return BRIEF


@pytest.fixture
def ball_command(small: tuple[str, ...], tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small data and a small network, writing below `tmp_path`."""
    from projects.ball.train import main

    settings = small

    def command(verb: str, *flags: str, small: bool = True) -> None:
        main([verb, "--runs", str(tmp_path / "runs"), *(settings if small else ()), *flags])

    return command


@pytest.fixture(scope="session")
def trained(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run `whole`, with the flags `brief`."""
    from projects.ball.train import main

    runs, printed = tmp_path_factory.mktemp("runs"), io.StringIO()
    with redirect_stdout(printed), mock.patch.dict(os.environ):  # a run names itself in the environment
        main(["fit", "--runs", str(runs), "--run", "whole", *small, *BRIEF])
    return Trained(runs / "ball" / "whole", printed.getvalue())


@pytest.fixture
def runs(trained: Trained, tmp_path: Path) -> Path:
    """The ball's runs of `ball_command`, with a copy of the run `whole` as the latest."""
    return Path(shutil.copytree(trained.folder.parent, tmp_path / "runs" / "ball", symlinks=True))
