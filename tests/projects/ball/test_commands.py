import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from common.export.graph import read_metadata
from projects.ball.module import BallModule

Command = Callable[..., None]
FEW = ("--trainer.limit_test_batches", "2", "--trainer.limit_val_batches", "2")


@pytest.fixture
def fitted(runs: Path) -> Path:
    """Folder of a short run."""
    return runs / "whole"


def scores(summary: dict[str, Any]) -> dict[str, float]:
    return {name: score for name, score in summary.items() if name.startswith("test/")}


def test_fit_leaves_a_complete_run(trained: Any) -> None:
    folder = trained.folder
    for name in ("config.yaml", "metrics.csv", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
                 "pictures/test.png", "pictures/val_epoch_001.png"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert (folder.parent / "latest").resolve() == folder
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("accuracy", "precision", "recall", "f1", "ap", "rmse_px", "median_px", "tp", "fp1", "fp2", "tn", "fn"):
        assert f"test/{name}" in summary
        assert f"test/{name}" in summary["baseline"]
    assert set(summary["baselines"]) == {"blob", "nothing"}
    assert summary["epochs"] == 2
    assert summary["seconds"] > 0
    assert sum(summary[f"test/{name}"] for name in ("tp", "fp1", "fp2", "tn", "fn")) > 0
    with (folder / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {"train/heatmap_step", "train/offset_step", "val/f1", "train/gradient_norm", "lr-AdamW"} <= columns
    assert "test split" in trained.printed
    assert "epoch 2/2" in trained.printed


def test_a_checkpoint_needs_nothing_else(fitted: Path, ball_command: Command) -> None:
    checkpoint = fitted / "checkpoints" / "best.ckpt"
    module = BallModule.load_from_checkpoint(checkpoint, weights_only=True, map_location="cpu")
    assert module.size_hw == (64, 96)
    assert module.standardizer.count > 0
    ball_command("test", "--ckpt_path", str(checkpoint), *FEW, small=False)
    first, again = (json.loads((folder / "summary.json").read_text()) for folder in (fitted, fitted / "test"))
    assert scores(first) == scores(again) != {}


def test_a_fit_can_start_from_the_weights_of_another(
    fitted: Path, ball_command: Command, brief: tuple[str, ...]
) -> None:
    checkpoint = str(fitted / "checkpoints" / "best.ckpt")
    still = ("--model.optimizer.init_args.lr", "0.0", "--model.scheduler", "null", "--trainer.max_epochs", "1")
    ball_command("fit", "--run", "second", "--start_from", checkpoint, *brief, *still)
    first, second = (
        torch.load(fitted.parent / run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "second")
    )
    name = "net.heatmap.0.weight"
    assert torch.equal(first[name], second[name])
    assert torch.equal(first["standardizer.mean"], second["standardizer.mean"])


def test_validate_takes_the_latest_run(fitted: Path, ball_command: Command) -> None:
    ball_command("validate", *FEW, small=False)
    assert "val/f1" in json.loads((fitted / "validate" / "summary.json").read_text())


def test_predict_writes_a_row_per_frame(fitted: Path, ball_command: Command, rallies: Path, tmp_path: Path) -> None:
    video = next((rallies / "test" / "videos").iterdir())
    ball_command("predict", "--input", str(video), "--output", str(tmp_path / "out"), small=False)
    with (tmp_path / "out" / f"{video.stem}_ball.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    assert (tmp_path / "out" / f"{video.stem}_ball.mp4").is_file()


def test_export_answers_as_the_module_does(fitted: Path, ball_command: Command) -> None:
    ball_command("export", small=False)
    path = fitted / "checkpoints" / "best.onnx"
    metadata = {key: json.loads(value) for key, value in read_metadata(path).items()}
    assert metadata["offsets"] == [-1, 0, 1]
    assert metadata["size_hw"] == [64, 96]
    assert metadata["threshold"] == 0.5
    module = BallModule.load_from_checkpoint(fitted / "checkpoints" / "best.ckpt", weights_only=True).eval()
    frames = 255 * torch.rand(3, 3, 3, 96, 160)
    heatmap, offset = onnxruntime.InferenceSession(path).run(None, {"frames": frames.numpy()})
    with torch.no_grad():
        expected = module(frames)
    torch.testing.assert_close(torch.from_numpy(heatmap), expected.heatmap, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.from_numpy(offset), expected.offset, atol=1e-3, rtol=1e-3)


def test_prepare_decodes_once(ball_command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    ball_command("prepare")
    assert "windows of 3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--data.root", "absent"], "error: data.root: no folder absent"),
        (["test"], "error: no checkpoint at"),
        (["test", "--ckpt_path", "absent.ckpt"], "error: --ckpt_path: no file absent.ckpt"),
        (["fit", "--data.batchsize", "3"], "data.batchsize"),
        (["fit", "--model.offsets", "[1,2]"], "error: offsets: found [1, 2]"),
    ],
)
def test_a_mistake_gets_one_message_and_no_traceback(
    words: list[str], message: str, tmp_path: Path, ball_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        ball_command(*words, small=False)
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_two_processes_train_and_score_as_one(
    ball_command: Command, small: tuple[str, ...], brief: tuple[str, ...], tmp_path: Path
) -> None:
    """As somebody starts them: Lightning starts the second process."""
    command = [sys.executable, "-m", "projects.ball.train", "fit", "--runs", str(tmp_path / "runs"), "--run", "two"]
    flags = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.limit_test_batches", "1.0"]
    subprocess.run([*command, *small, *brief, *flags], check=True, timeout=1800)
    folder = tmp_path / "runs" / "ball" / "two"
    ball_command("test", "--ckpt_path", str(folder / "checkpoints" / "best.ckpt"), small=False)
    two, one = (json.loads((path / "summary.json").read_text()) for path in (folder, folder / "test"))
    assert two["epochs"] == 2
    assert scores(two) == pytest.approx(scores(one), abs=1e-12)
    assert two["baselines"].keys() == one["baselines"].keys() == {"blob", "nothing"}
    assert two["baseline"] == pytest.approx(one["baseline"], abs=1e-12)
