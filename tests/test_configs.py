from collections.abc import Callable
from pathlib import Path

import pytest

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
BALL = sorted((PROJECTS / "ball" / "configs").glob("*.yaml"))
CLOUDS = sorted((PROJECTS / "clouds" / "configs").glob("*.yaml"))
FORECAST = sorted((PROJECTS / "forecast" / "configs").glob("*.yaml"))
POSE = sorted((PROJECTS / "pose" / "configs").glob("*.yaml"))
OWN_BANDS = ("--data.band_names", "null", "--data.classes.names", "[CLEAR,CLOUD,CLOUD_SHADOW]")


@pytest.mark.parametrize("path", BALL, ids=lambda path: path.stem)
def test_ball_config_runs(path: Path, ball_command: Callable[..., None]) -> None:
    ball_command("fit", "-c", str(path), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                 "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.batch_size", "2",
                 "--data.test_videos", "[]", "--model.size_hw", "[64,96]")  # fmt: skip


@pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
def test_clouds_config_runs(path: Path, cloud_command: Callable[..., None]) -> None:
    cloud_command("fit", "-c", str(path), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                  "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.batch_size", "2",
                  "--model.tile_hw", "[64,64]", *OWN_BANDS)  # fmt: skip


@pytest.mark.parametrize("path", FORECAST, ids=lambda path: path.stem)
def test_forecast_config_runs(path: Path, flood_command: Callable[..., None]) -> None:
    flood_command("fit", "-c", str(path), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                  "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.test_names", "[]",
                  "--model.horizon", "8", "--model.curriculum", "{begins: [0.0], steps: [2], lead: [1]}")  # fmt: skip


@pytest.mark.parametrize("path", POSE, ids=lambda path: path.stem)
def test_pose_config_runs(path: Path, pose_command: Callable[..., None]) -> None:
    pose_command("fit", "-c", str(path), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                 "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.batch_size", "2",
                 "--data.train", "null", "--data.val", "null", "--data.test", "null",
                 "--model.size_hw", "[64,64]")  # fmt: skip


@pytest.mark.parametrize("path", BALL + CLOUDS + FORECAST + POSE, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_config_opens_with_its_command(path: Path) -> None:
    assert path.read_text().startswith(f"# python -m projects.{path.parts[-3]}.train fit")
