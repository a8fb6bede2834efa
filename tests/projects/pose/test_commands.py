"""The public command on fish: another skeleton is a YAML file, and nothing else is changed."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.export import __main__ as export
from common.export.graph import read_metadata
from projects.pose.coco.results import read_results
from projects.pose.module import PoseModule
from projects.pose.nets import layers
from projects.pose.scores.evaluate import SCORES, keypoint_scores
from projects.pose.skeleton import find_skeleton
from projects.pose.train import main
from tests.projects.pose.fish import NET, write_fish

Command = Callable[..., None]
ONE = ("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--trainer.num_sanity_val_steps", "0",
       "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1")  # fmt: skip
STILL = json.dumps(dict.fromkeys(("flip", "scale", "rotate", "translate", "brightness", "contrast", "saturation",
                                  "gain", "blur", "noise"), 0))  # fmt: skip


@dataclass
class Trained:
    """A run on fish, and what it printed."""

    data: Path
    skeleton: Path
    run: Path
    printed: str

    def __call__(self, verb: str, *flags: str) -> None:
        main([verb, "--runs", str(self.run.parents[1]), *flags])

    @property
    def fish(self) -> tuple[str, ...]:
        """Flags for these data and their skeleton."""
        return ("--data.root", str(self.data), "--model.skeleton", str(self.skeleton), "--model.size_hw", "[64,96]",
                "--data.batch_size", "8", "--model.test_time.flip", "false", *NET)  # fmt: skip

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.run / "summary.json").read_text())
        return content

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "best.ckpt"

    @property
    def pictures(self) -> Path:
        """Of the test."""
        return self.data / "test2024"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three epochs; do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    skeleton = write_fish(folder / "data", {"train": 96, "val": 8, "test": 8})
    made = Trained(folder / "data", skeleton, folder / "runs" / "pose" / "first", "")
    with redirect_stdout(io.StringIO()) as printed:
        made(
            "fit", "--run", "first", *made.fish, "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "3",
            "--model.optimizer.init_args.lr", "0.03", "--data.augment", "{rotate: 20, scale: 0.2, blur: 0.5}",
            "--trainer.num_sanity_val_steps", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1",
        )  # fmt: skip
    made.printed = printed.getvalue()
    return made


def test_a_skeleton_from_a_file_is_learned_and_the_run_is_complete(trained: Trained) -> None:
    for name in ("config.yaml", "metrics.csv", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
                 "pictures/test.png", "pictures/val_epoch_003.png"):  # fmt: skip
        assert (trained.run / name).stat().st_size > 0, name
    summary = trained.summary
    assert {f"test/{name}" for name in (*SCORES, "pck", "loss", "activity/paf/1", "mae/heat/2")} <= summary.keys()
    assert summary["test/ap"] > 0.5
    assert summary["test/pck"] > 0.9
    assert set(summary["baselines"]) == {"mean_pose", "nothing"}
    assert all(scores["test/ap"] < 0.1 for scores in summary["baselines"].values())
    with (trained.run / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    stages = [f"loss{stage}" for stage in ("", "/paf/1", "/heat/1", "/heat/2")]
    assert {f"train/{name}_{when}" for name in stages for when in ("step", "epoch")} <= columns
    assert {f"val/{name}" for name in stages} <= columns
    assert {"train/gradient_norm", "lr-AdamW", "val/recall/paf/1", "val/island_recall/heat/2", "val/ap"} <= columns
    assert "96 train, 8 val, 8 test" in trained.printed
    assert "test split, stage by stage" in trained.printed
    assert "next: python -m projects.pose.train predict" in trained.printed
    assert "looks dead" not in trained.printed


def test_a_checkpoint_needs_nothing_else(trained: Trained) -> None:
    module = PoseModule.load_from_checkpoint(trained.checkpoint, weights_only=True, map_location="cpu")
    assert module.skeleton.name == "fish"
    assert module.size_hw == (64, 96)
    assert module.standardizer.count > 0
    trained("test", "--ckpt_path", str(trained.checkpoint))
    again = json.loads((trained.run / "test" / "summary.json").read_text())
    names = [name for name in trained.summary if name.startswith("test/")]
    assert {name: again[name] for name in names} == {name: trained.summary[name] for name in names}
    assert again["baselines"] == trained.summary["baselines"]  # the mean pose is in the checkpoint


def test_what_is_predicted_scores_as_the_test_says(trained: Trained, tmp_path: Path) -> None:
    trained("predict", "--input", str(trained.pictures), "--output", str(tmp_path / "out"))
    skeleton = find_skeleton(str(trained.skeleton))
    found = read_results(tmp_path / "out" / "keypoints.json")
    truth = json.loads((trained.data / "annotations" / "person_keypoints_test2024.json").read_text())
    expected = {name: trained.summary[f"test/{name}"] for name in SCORES if trained.summary[f"test/{name}"] is not None}
    scores = keypoint_scores(truth, found, skeleton=skeleton)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    tested = read_results(trained.run / "keypoints_test.json")
    assert [one["image_id"] for one in found] == [one["image_id"] for one in tested]
    for one, other in zip(found, tested, strict=True):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=1e-3)
    with (tmp_path / "out" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["image_id"]) for row in rows] == [(f"00{n}.png", str(n)) for n in range(1, 9)]
    with Image.open(tmp_path / "out" / "001_pose.png") as drawn:
        assert drawn.size == (100, 70)
    again = ("--ckpt_path", str(trained.checkpoint), "--overlay", "false", "--model.test_time")
    trained("predict", "--input", str(trained.pictures), "--output", str(tmp_path / "seen_twice"), *again,
            "{flip: true, scales: [1.0, 1.5]}")  # fmt: skip
    twice = read_results(tmp_path / "seen_twice" / "keypoints.json")
    assert twice != found
    assert keypoint_scores(truth, twice, skeleton=skeleton)["ap"] > 0.5
    assert not list((tmp_path / "seen_twice").glob("*.png"))


def test_the_exported_network_finds_the_same_people(trained: Trained, tmp_path: Path) -> None:
    model, folders = tmp_path / "fish.onnx", [tmp_path / name for name in ("torch", "onnx")]
    trained("export", "--output", str(model))
    metadata = {key: json.loads(value) for key, value in read_metadata(model).items() if key != "commit"}
    assert metadata["skeleton"]["keypoints"] == ["tail", "left_fin", "mouth", "right_fin", "crest"]
    trained("predict", "--input", str(trained.pictures), "--output", str(folders[0]))
    export.main(["run", str(model), str(trained.pictures), "--output", str(folders[1])])
    ours, theirs = (read_results(folder / "keypoints.json") for folder in folders)
    assert len(ours) == len(theirs) >= 8
    for one, other in zip(ours, theirs, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
        np.testing.assert_allclose(other["keypoints"], one["keypoints"], atol=0.02)
    tables = [(folder / "images.csv").read_text() for folder in folders]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--data.root", "{data}"], "expected a category with the id 1, that of the skeleton 'coco'"),
        (["fit", "--data.augment.flip", "2"], "error: augmentation flip = 2.0: give 0 (off) to 1"),
        (
            ["predict", "--input", "{data}/test2024", "--ckpt_path", "{checkpoint}", "--model.skeleton", "coco"],
            "found 'coco' with 17 keypoints, but the checkpoint's network was trained for another, 'fish'; give that",
        ),
    ],
)
def test_a_mistake_gets_one_message_and_no_traceback(
    words: list[str], message: str, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"data": trained.data, "checkpoint": trained.checkpoint}
    with pytest.raises(SystemExit) as stop:
        main([words[0], "--runs", str(tmp_path / "runs"), *(word.format(**places) for word in words[1:])])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.fixture
def damaged(trained: Trained, tmp_path: Path) -> tuple[Trained, Path]:
    """The same with a training picture of sixteen that is cut short."""
    write_fish(tmp_path / "data", {"train": 16, "val": 2, "test": 2})
    path = tmp_path / "data" / "train2024" / "005.png"
    path.write_bytes(path.read_bytes()[:5000])
    return Trained(tmp_path / "data", tmp_path / "data" / "fish.yaml", tmp_path / "runs" / "pose" / "one", ""), path


def test_a_damaged_picture_stops_a_run_is_listed_and_may_be_skipped(
    damaged: tuple[Trained, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command, path = damaged
    for verb, status in (("check", 1), ("fit", 2)):
        with pytest.raises(SystemExit) as stop:
            command(verb, *command.fish, *ONE)
        assert stop.value.code == status
    captured = capsys.readouterr()
    assert "1 of 20 records cannot be read" in captured.out
    assert [line for line in captured.err.splitlines() if "error" in line.lower()] == [
        f"error: {path}: no readable picture (image file is truncated); expected a whole PNG or JPEG. Copy it again "
        "from its source"
    ]
    assert "Traceback" not in captured.err
    command("fit", "--run", "one", *command.fish, *ONE, "--data.skip_damaged", "0.1")
    printed = capsys.readouterr().out
    assert f"skipped: {path}: sample 4 (005.png 5): no readable picture" in printed
    assert "test/ap" in command.summary


def test_stages_that_say_zero_are_told(
    pose_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layers, "OUTPUT_GAIN", 1e-5)
    still = ("--model.optimizer.init_args.lr", "0", "--data.augment", STILL)
    often = (
        "--trainer.max_epochs",
        "3",
        "--trainer.check_val_every_n_epoch",
        "1",
        "--trainer.limit_train_batches",
        "1",
    )
    pose_command("fit", "--run", "dead", *NET, *ONE, *often, *still)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [line.partition(" looks dead")[0] for line in said] == [
        f"warning: stage {stage}" for stage in ("heat/1", "heat/2", "paf/1")
    ]
    folder = tmp_path / "runs" / "pose" / "dead"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test/ap"] == 0
    assert summary["baselines"]["mean_pose"]["test/pck"] > 0
    assert len(list((folder / "pictures").glob("val_epoch_*.png"))) == 3


def test_the_default_optimizer_and_clipping_work_in_mixed_precision(pose_command: Command) -> None:
    """As on a GPU, where it is the default precision."""
    pose_command("fit", *NET, *ONE[-4:], "--trainer.fast_dev_run", "true", "--trainer.precision", "bf16-mixed")


def test_without_a_test_file_the_scores_are_the_validation_s(
    pose_command: Command, people_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    shutil.copytree(people_root / "train2017", root / "train2017")
    (root / "annotations").mkdir()
    name = "person_keypoints_train2017.json"
    shutil.copy(people_root / "annotations" / name, root / "annotations" / name)
    pose_command("fit", "--run", "mine", *NET, *ONE, "--data.root", str(root), "--data.fold", "1", "--data.folds", "3")
    printed = capsys.readouterr().out
    assert "pictures: 4 train, 2 val, 0 test (val: fold 1 of 0..2 of the training pictures)" in printed
    assert "no test split: the scores below are of the validation split" in printed
    summary = json.loads((tmp_path / "runs" / "pose" / "mine" / "summary.json").read_text())
    assert "val/ap" in summary
    assert "val/ap" in summary["baseline"]
