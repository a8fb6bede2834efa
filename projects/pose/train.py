"""The pose command line: `python -m projects.pose.train fit`."""

from collections.abc import Sequence
from pathlib import Path

from common.cli import Project, run
from projects.pose.data import PoseData
from projects.pose.dead_stages import DeadStages
from projects.pose.module import PoseModule
from projects.pose.results_file import ResultsFile
from projects.pose.samples import SamplePanels
from projects.pose.stage_table import StageTable
from projects.pose.trainer import PoseTrainer

PROJECT = Project(
    name="pose",
    module=PoseModule,
    data=PoseData,
    folder=Path(__file__).parent,
    links=("skeleton", "size_hw"),
    shown=("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large", "pck"),
    trainer=PoseTrainer,
    callbacks=lambda folder: [SamplePanels(folder / "pictures"), DeadStages(), StageTable(), ResultsFile(folder)],
    advice=(
        "next: python -m projects.pose.train predict --input YOUR_PHOTO_FOLDER_OR_VIDEO\n"
        "      python -m projects.pose.train fit --data.root YOUR_FOLDER   (layout: projects/pose/README.md)"
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run(PROJECT, args)


if __name__ == "__main__":
    main()
