"""The clouds' own verbs beside those of every project: prediction, lists of files, and an 8-bit export."""

from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from common.data.filelists import FILELISTS, write_filelists
from common.data.report import report
from common.data.scene_folder import find_scenes
from common.data.split import split_names
from common.export.quantize import quantize_onnx
from common.export.score import score_files
from common.trainer import Trainer, autocast_dtype, load_weights, write_export
from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.module import CloudModule
from projects.clouds.predict import find_inputs, predict_file

CALIBRATION_TILES = 32
"""Training tiles that give the ranges of 8-bit activations."""


class CloudTrainer(Trainer):
    """The Trainer of the clouds' command line."""

    def filelists(self, model: CloudModule, datamodule: CloudData, *, overwrite: bool = False) -> None:
        """Write down which scenes of a folder are for training, validation and test; scenes of one product never part.

        Args:
            model: not used.
            datamodule: its root, seed, fractions and group say how.
            overwrite: whether lists that are there may go.
        """
        datamodule.prepare_data()
        found = find_scenes(datamodule.root)
        division = datamodule.division
        split = split_names(
            found.pairs, seed=division.seed, val=division.val, test=division.test, pattern=division.group
        )
        write_filelists(datamodule.root, split.names, overwrite=overwrite)
        counts = ", ".join(f"{len(names)} {name} ({split.groups[name]} groups)" for name, names in split.names.items())
        print("\n".join(filter(None, [f"{datamodule.root / FILELISTS}: {counts}", split.note, report(found.problems)])))

    def predict(  # type: ignore[override] # a verb on files, not on loaders
        self,
        model: CloudModule,
        datamodule: CloudData,
        *,
        input: str,
        ckpt_path: str,
        output: str = "predictions",
        batch_size: int = 8,
        probability: bool = False,
        overlay: bool = True,
    ) -> None:
        """Find the clouds in a scene, in each scene of a folder, or of a pattern: writes a mask and a picture of each.

        Args:
            model: the module.
            datamodule: whose `band_names` name the channels of files that do not.
            input: a scene, a folder of scenes, or a pattern such as 'scenes/*.npy'.
            ckpt_path: the trained checkpoint; the best one of the latest run by default.
            output: folder for the masks, which are named as the scenes are, and for `<name>_overlay.png`.
            batch_size: tiles that the network sees at once.
            probability: whether to write `<name>_probability` too.
            overlay: whether to draw the scene with its clouds.
        """
        load_weights(model, ckpt_path)
        for scene in find_inputs(input):
            done = predict_file(
                model,
                scene,
                output=Path(output),
                batch_size=batch_size,
                device=self.strategy.root_device,
                autocast=autocast_dtype(str(self.precision)),
                band_names=datamodule.band_names,
                probability=probability,
                overlay=overlay,
            )
            height, width = done.size_hw
            missing = f", {done.missing:.0%} without data" if done.missing else ""
            print(f"{done.mask}: {height} x {width}, {done.cloud:.1%} cloud{missing}, {done.seconds:.1f} s", flush=True)

    def export(  # type: ignore[override] # more of a file than other projects ask for
        self,
        model: CloudModule,
        datamodule: CloudData,
        *,
        ckpt_path: str,
        output: str | None = None,
        probability: bool = True,
        int8: bool = False,
    ) -> None:
        """Write the trained network as an ONNX file and check that it answers as PyTorch does.

        Args:
            model: whose network it is.
            datamodule: for `int8`: its training tiles give the ranges, and its test scenes are scored.
            ckpt_path: the trained checkpoint.
            output: the file; beside the checkpoint by default.
            probability: with the probability as a second output, which joins overlapping tiles better than masks do.
            int8: write a file in 8-bit arithmetic too, and print IoU and speed of both.
        """
        path = write_export(
            model, ckpt_path, output, partial(model.export, probability=probability, band_names=datamodule.band_names)
        )
        if int8:
            datamodule.prepare_data()
            datamodule.setup("test")
            small = quantize_onnx(path, (images.numpy() for images, _ in datamodule.some_tiles(CALIBRATION_TILES)))
            _print_scores([path, small], model, datamodule)


def _print_scores(paths: list[Path], model: CloudModule, data: CloudData) -> None:
    """IoU and speed of exported files, side by side, on the tiles of the test scenes, or of the validation scenes."""
    split = "test" if len(data.datasets["test"]) else "val"
    scenes = data.datasets[split]
    assert isinstance(scenes, WholeScenes)
    threads = torch.get_num_threads()
    tiles = scenes.tiles(model.grid, batch_size=model.tiles_at_once)
    table = Table(title=f"tiles of {len(scenes)} {split} scenes, {threads} threads", title_justify="left")
    for heading in ("file", "IoU", "ms / megapixel", "MB"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for path, score in zip(paths, score_files(paths, tiles, threads=threads), strict=True):
        table.add_row(path.name, f"{score.iou:.4f}", f"{score.ms_per_megapixel:.0f}", f"{score.megabytes:.2f}")
    Console().print(table)
