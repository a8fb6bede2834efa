"""The stand-in for breaches anywhere: where they are, that no water is lost, that a store is made once."""

import importlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from common.errors import UserError
from projects.forecast.flood.maps import DRY
from projects.forecast.flood.module import FloodModule
from projects.forecast.flood.simulation import Simulation, find_simulations
from projects.forecast.flood.synthetic import write_dataset
from projects.forecast.nets.interface import ForecastNet
from projects.forecast.nets.unet import IncrementUNet

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HOURS = 3


@pytest.fixture(scope="module")
def breach() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("breach_anywhere")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("floods")
    counts = {"train": 1, "val": 0, "test": 2}
    write_dataset(folder, simulations=counts, size_hw=(12, 10), hours=HOURS, workers=1, progress=False)
    return folder


def untrained(*_: Any) -> FloodModule:
    def net(*channels: int) -> ForecastNet:
        return IncrementUNet(*channels, widths=[8, 12], blocks=1)

    return FloodModule(net=net, optimizer=torch.optim.SGD).eval()


def simulations(root: Path) -> list[Simulation]:
    return find_simulations(root, minutes_per_frame=60.0).simulations


def test_places_are_of_their_kind_and_those_of_a_seed(breach: Any, root: Path) -> None:
    for one in simulations(root):
        basin = np.pad(np.isfinite(one.bed()), 1)
        found = breach.places(one, 0)
        around = {
            kind: basin[row : row + 3, column : column + 3][[0, 1, 1, 1, 2], [1, 0, 1, 2, 1]]
            for kind, (row, column) in found.items()
        }
        assert all(there[2] for there in around.values())
        assert around["inside"].all() and not around["border"].all()
        assert found == breach.places(one, 0) and found != breach.places(one, 1)
        assert one.read(1)[0][found["same_place"]] > DRY


def test_all_water_that_enters_is_in_the_maps(breach: Any, root: Path) -> None:
    one = simulations(root)[0]
    run = breach.Rerun(one, breach.places(one, 0)["inside"], cell_m=100.0, name="any")
    volumes = [1e4 * np.nansum(run.read(frame)[0], dtype=np.float64) for frame in range(len(run))]
    np.testing.assert_allclose(volumes, [100 + 50 * 3600 * hour for hour in range(HOURS + 1)], rtol=1e-5)
    assert run.description.minutes.tolist() == [0, 60, 120, 180]


def run(breach: Any, root: Path, folder: Path, *more: str) -> dict[str, Any]:
    flags = ["--root", root, "--minutes_per_frame", 60, "--store", folder / "store", "--results", folder]
    breach.main([*map(str, flags), "--workers", "1", *more])
    rows: list[dict[str, Any]] = json.loads((folder / "breach_anywhere.json").read_text())["figures"]
    return {row["name"]: row for row in rows}


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_network_that_changes_nothing_scores_as_persistence_everywhere(
    breach: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breach, "opened", untrained)
    rows = run(breach, root, tmp_path)
    for kind in ("real", "same place", "border", "inside"):
        for score in ("csi_005", "h_rmse", "q_rmse"):
            row = rows[f"{score}, {kind}, 2 simulations"]
            assert math.isclose(row["value"], row["beside"]["persistence"], rel_tol=1e-3)  # but what is below DRY
    stored = sorted((tmp_path / "store").glob("*.h5"))
    written, content = [file.stat().st_mtime_ns for file in stored], stored[0].read_bytes()
    assert len(stored) == 6
    stored[0].unlink()
    monkeypatch.setattr(breach, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(breach, root, tmp_path)  # goes on where it stopped
    assert [file.stat().st_mtime_ns for file in stored[1:]] == written[1:]
    assert stored[0].read_bytes() == content

    with pytest.raises(UserError, match="asked for"):
        run(breach, root, tmp_path, "--seed", "1")
    other = Path(shutil.copy(stored[0], tmp_path))
    with h5py.File(other, "r+") as file:
        file["DEM"][...] += 1
    other.replace(stored[0])
    with pytest.raises(UserError, match="bed of another"):
        run(breach, root, tmp_path)


def test_a_model_that_is_not_there(breach: Any, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        run(breach, root, tmp_path, "--ckpt_path", str(tmp_path / "none.ckpt"))
    with pytest.raises(UserError, match="no trained run"):
        run(breach, root, tmp_path, "--run", str(tmp_path))
