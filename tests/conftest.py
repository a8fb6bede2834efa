"""Settings that every test shares."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # after OMP_NUM_THREADS, which it reads once

torch.set_num_threads(1)

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """Folder of small real samples; tests that need it skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real sample data at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def rallies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set in the true layout, made once for all workers of a test run; do not change it."""
    shared = tmp_path_factory.getbasetemp().parent
    from projects.ball import synthetic

    with FileLock(shared / "rallies.lock"):
        synthetic.write_dataset(shared / "rallies", rallies={"training": 4, "test": 1}, workers=1, progress=False)
    return shared / "rallies"


@pytest.fixture
def ball_command(rallies: Path, tmp_path: Path) -> Callable[..., None]:
    """Runs the public command in this process, with small data and a small network, writing below `tmp_path`."""
    from projects.ball.train import main

    def command(verb: str, *flags: str, small: bool = True) -> None:
        options = ["--runs", str(tmp_path / "runs")]
        if small:
            options += ["--data.root", str(rallies), "--data.store", str(rallies.parent / "store")]
            options += ["--model.size_hw", "[64,96]"]
        main([verb, *options, *flags])

    return command
