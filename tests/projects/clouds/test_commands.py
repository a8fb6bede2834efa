import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.export.graph import read_metadata
from projects.clouds.module import CloudModule

Command = Callable[..., None]
BRIEF = ("--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "1", "--trainer.limit_train_batches", "2",
         "--trainer.num_sanity_val_steps", "0", "--trainer.accelerator", "cpu")  # fmt: skip


@pytest.fixture
def fitted(cloud_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Folder of a short run, whose output `capsys` holds."""
    cloud_command("fit", "--run", "first", *BRIEF)
    return tmp_path / "runs" / "clouds" / "first"


def scene_of(root: Path, split: str = "test") -> Path:
    return root / "subscenes" / (root / "filelists" / f"{split}.csv").read_text().split()[0]


def test_fit_leaves_a_complete_run(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.yaml", "metrics.csv", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
                 "pictures/test.png", "pictures/val_epoch_001.png"):  # fmt: skip
        assert (fitted / name).stat().st_size > 0, name
    summary = json.loads((fitted / "summary.json").read_text())
    assert set(summary["baselines"]) == {"no_cloud", "all_cloud", "brightness"}
    for name in ("iou", "precision", "recall", "f1", "boundary_f", "scene_iou", "scene_f1"):
        assert f"test/{name}" in summary
    with (fitted / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {"train/bce_step", "train/dice_step", "val/bce", "val/dice", "val/iou", "train/gradient_norm"} <= columns
    printed = capsys.readouterr().out
    assert "test split" in printed
    assert "epoch 1/1" in printed


def test_a_checkpoint_needs_nothing_else(fitted: Path, cloud_command: Command) -> None:
    checkpoint = fitted / "checkpoints" / "best.ckpt"
    module = CloudModule.load_from_checkpoint(checkpoint, weights_only=True, map_location="cpu")
    assert module.tile_hw == (64, 64)
    assert module.standardizer.count > 0
    cloud_command("test", "--ckpt_path", str(checkpoint), small=False)
    first, again = (json.loads((folder / "summary.json").read_text()) for folder in (fitted, fitted / "test"))
    scores = [name for name in first if name.startswith("test/")]
    assert {name: first[name] for name in scores} == {name: again[name] for name in scores}
    assert first["baselines"] == again["baselines"]  # the threshold found in training is in the checkpoint


def test_predict_writes_what_the_module_says(
    fitted: Path, cloud_command: Command, cloud_scenes: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in" / scene_of(cloud_scenes).name
    source.parent.mkdir()
    values = np.load(scene_of(cloud_scenes))
    values[5:9, 30:40, 3] = np.nan  # B4
    values[50, 60, 9] = np.nan  # B9, which the network does not see
    np.save(source, values)
    cloud_command("predict", "--input", str(source.parent), "--output", str(tmp_path / "out"), "--probability", "true")
    mask, likely = np.load(tmp_path / "out" / source.name), np.load(tmp_path / "out" / f"{source.stem}_probability.npy")
    assert mask.dtype == np.uint8
    assert mask.shape == values.shape[:2]
    missing = np.zeros(mask.shape, bool)
    missing[5:9, 30:40] = True
    assert np.array_equal(mask == 255, missing)
    assert np.array_equal(np.isnan(likely), missing)
    assert np.array_equal(mask[~missing] == 1, likely[~missing] >= 0.5)
    with Image.open(tmp_path / "out" / f"{source.stem}_overlay.png") as picture:
        assert picture.size == mask.shape[::-1]


def test_a_geotiff_gives_a_geotiff_in_the_same_place(
    fitted: Path, cloud_command: Command, cloud_scenes: Path, tmp_path: Path
) -> None:
    rasterio = pytest.importorskip("rasterio")
    bands = np.load(scene_of(cloud_scenes))[:50, :70, [3, 2, 1, 7]].transpose(2, 0, 1)
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(4e5, 5e6, 20, 20)}
    tif = tmp_path / "scene.tif"
    with rasterio.open(
        tif, "w", driver="GTiff", width=70, height=50, count=4, dtype="float32", nodata=-1, **place
    ) as file:
        bands[:, 0, 0] = -1
        file.write(bands)
        file.descriptions = ("B4", "B3", "B2", "B8")
    cloud_command("predict", "--input", str(tif), "--output", str(tmp_path / "out"))
    with rasterio.open(tmp_path / "out" / "scene.tif") as file:
        assert (file.crs, file.transform, file.nodata) == (place["crs"], place["transform"], 255)
        assert np.argwhere(file.read(1) == 255).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--input", "nowhere"), "no scene at nowhere"),
        (("--input", "{scenes}", "--output", "{scenes}"), "could overwrite"),
        (("--input", "{text}"), "text.npy"),
        (("--input", "{three}"), "B8"),
    ],
)
def test_predict_refuses_in_one_line(
    fitted: Path, cloud_command: Command, cloud_scenes: Path, tmp_path: Path, flags: tuple[str, ...], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {name: tmp_path / "bad" / f"{name}.npy" for name in ("text", "three")}
    places["text"].parent.mkdir()
    places["text"].write_text("no array")
    np.save(places["three"], np.zeros((8, 8, 3), np.float32))
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(scene_of(cloud_scenes), own / "scene.npy")
    with pytest.raises(SystemExit) as stopped:
        cloud_command("predict", *(flag.format(scenes=own, **places) for flag in flags))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_export_and_the_runner(fitted: Path, cloud_command: Command, cloud_scenes: Path, tmp_path: Path) -> None:
    model = tmp_path / "clouds.onnx"
    cloud_command("export", "--output", str(model), "--int8", "true")
    assert model.stat().st_size < 250e6
    assert json.loads(read_metadata(model)["bands"]) == ["B4", "B3", "B2", "B8"]
    assert (tmp_path / "clouds.int8.onnx").is_file()
    source = scene_of(cloud_scenes)
    cloud_command("predict", "--input", str(source), "--output", str(tmp_path / "torch"), "--probability", "true")
    run = [sys.executable, "-m", "common.export", "run", str(model), str(source), "--output", str(tmp_path / "onnx")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = (np.load(tmp_path / folder / source.name) for folder in ("torch", "onnx"))
    likely = np.load(tmp_path / "torch" / f"{source.stem}_probability.npy")
    ties = abs(likely - 0.5) < 1e-4
    assert np.array_equal(ours[~ties], theirs[~ties])


def test_without_lists_a_folder_is_divided_as_filelists_would(
    cloud_command: Command, cloud_scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    for folder in ("subscenes", "masks"):
        shutil.copytree(cloud_scenes / folder, root / folder)
    cloud_command("prepare", "--data.root", str(root))
    said = capsys.readouterr().out
    cloud_command("filelists", "--data.root", str(root))
    lists = {split: (root / "filelists" / f"{split}.csv").read_text().split()[1:] for split in ("train", "val", "test")}
    assert sorted(name for names in lists.values() for name in names) == sorted(
        path.name for path in (root / "subscenes").iterdir()
    )
    assert f"{len(lists['train'])} train scenes" in said
    cloud_command("prepare", "--data.root", str(root))
    assert f"{len(lists['train'])} train scenes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cloud_command("filelists", "--data.root", str(root))  # they are there


def test_weights_start_from_another_run_with_the_own_weight_of_cloud(
    fitted: Path, cloud_command: Command, tmp_path: Path
) -> None:
    start = fitted / "checkpoints" / "best.ckpt"
    cloud_command("fit", "--run", "second", "--start_from", str(start), "--model.criterion.pos_weight", "auto", *BRIEF)
    first, second = (
        torch.load(fitted.parent / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("first", "second")
    )
    assert first["pos_weight"] == 1
    assert second["pos_weight"] > 1
    assert torch.equal(first["standardizer.mean"], second["standardizer.mean"])


def test_weights_are_not_used_for_other_bands(fitted: Path, cloud_command: Command, cloud_scenes: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    checkpoint = str(fitted / "checkpoints" / "best.ckpt")
    other = ("--model.bands", "[B8,B3,B2,B4]")
    for words in (("predict", "--input", str(scene_of(cloud_scenes)), "--output", str(tmp_path / "out"),
                   "--ckpt_path", checkpoint), ("test", "--ckpt_path", checkpoint),
                  ("fit", "--run", "third", "--start_from", checkpoint, *BRIEF)):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            cloud_command(*words, *other)
        assert stopped.value.code == 2
        assert "model.bands: found ['B8', 'B3', 'B2', 'B4'], but the checkpoint's" in capsys.readouterr().err


def test_a_run_is_evaluated_by_its_name(
    fitted: Path, cloud_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud_command("test", "--run", "first", small=False)
    assert str(fitted / "checkpoints") in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cloud_command("test", "--run", "nosuch", small=False)
    assert "nosuch" in capsys.readouterr().err
