"""The clouds' command line: `python -m projects.clouds.train fit`."""

from collections.abc import Sequence
from pathlib import Path

from common.cli import Project, run
from projects.clouds.data import CloudData
from projects.clouds.module import CloudModule
from projects.clouds.samples import SamplePanels
from projects.clouds.trainer import CloudTrainer

PROJECT = Project(
    name="clouds",
    module=CloudModule,
    data=CloudData,
    folder=Path(__file__).parent,
    links=("bands", "tile_hw"),
    shown=("iou", "precision", "recall", "f1", "accuracy", "boundary_f", "scene_iou", "scene_f1", "scene_boundary_f"),
    trainer=CloudTrainer,
    callbacks=lambda folder: [SamplePanels(folder / "pictures")],
    advice=(
        "next: python -m projects.clouds.train predict --input YOUR_SCENES\n"
        "      python -m projects.clouds.train fit --data.root YOUR_FOLDER   (layout: projects/clouds/README.md)"
    ),
    verbs=("filelists",),
)


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run(PROJECT, args)


if __name__ == "__main__":
    main()
