"""Every point of a sweep is a run that starts."""

from collections.abc import Callable
from pathlib import Path

import yaml

from common.losses.criterion import Criterion
from common.sweep import read_sweep

LOSS = Path(__file__).resolve().parents[3] / "projects" / "clouds" / "configs" / "sweeps" / "loss.yaml"
POINTS = 24


def test_every_point_has_a_valid_loss_and_another_one() -> None:
    sweep = read_sweep(LOSS)
    assert sweep.points == POINTS
    prefix = "--model.criterion."
    criteria = {
        Criterion(**{
            name.removeprefix(prefix): yaml.safe_load(value)
            for name, _, value in (flag.partition("=") for flag in sweep.point(number))
            if name.startswith(prefix)
        })
        for number in range(POINTS)
    }  # fmt: skip
    assert len(criteria) == POINTS
    for term in ("dice", "mse", "focal"):
        assert {term in criterion.terms for criterion in criteria} == {True, False}, f"with and without {term}"


def test_no_draw_is_without_a_loss() -> None:
    """W&B's server draws other points from the same file."""
    weight = read_sweep(LOSS).parameters["model.criterion.bce"]
    assert min(weight.draw(share) for share in (0.01, 0.34, 0.5, 0.67, 0.99)) > 0


def test_a_point_runs(cloud_command: Callable[..., None]) -> None:
    cloud_command("fit", "--sweep", str(LOSS), "--point", "7", "--trainer.fast_dev_run", "true",
                  "--trainer.accelerator", "cpu", "--trainer.precision", "32-true")  # fmt: skip


def test_the_file_opens_with_its_command() -> None:
    opening = "# python -m projects.clouds.train fit --sweep projects/clouds/configs/sweeps/loss.yaml --point 0"
    assert LOSS.read_text().splitlines()[0] == opening
