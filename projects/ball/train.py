"""The ball's command line: `python -m projects.ball.train fit`."""

from collections.abc import Sequence
from pathlib import Path

from common.cli import Project, run
from projects.ball.data import BallData
from projects.ball.module import BallModule
from projects.ball.samples import SamplePanels
from projects.ball.trainer import BallTrainer

PROJECT = Project(
    name="ball",
    module=BallModule,
    data=BallData,
    folder=Path(__file__).parent,
    links=("offsets", "size_hw"),
    shown=("f1", "accuracy", "precision", "recall", "ap", "rmse_px", "median_px", "tp", "fp1", "fp2", "tn", "fn"),
    trainer=BallTrainer,
    callbacks=lambda folder: [SamplePanels(folder / "pictures")],
    advice=(
        "next: python -m projects.ball.train predict --input YOUR.mp4\n"
        "      python -m projects.ball.train fit --data.root YOUR_FOLDER   (layouts: projects/ball/README.md)"
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run(PROJECT, args)


if __name__ == "__main__":
    main()
