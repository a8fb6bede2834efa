from collections.abc import Callable
from pathlib import Path

import pytest

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
BALL = sorted((PROJECTS / "ball" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", BALL, ids=lambda path: path.stem)
def test_ball_config_runs(path: Path, ball_command: Callable[..., None]) -> None:
    ball_command("fit", "-c", str(path), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                 "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.batch_size", "2",
                 "--data.test_videos", "[]", "--model.size_hw", "[64,96]")  # fmt: skip


@pytest.mark.parametrize("path", BALL, ids=lambda path: path.stem)
def test_a_config_opens_with_its_command(path: Path) -> None:
    assert path.read_text().startswith("# python -m projects.ball.train fit")
