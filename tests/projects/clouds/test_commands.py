import csv
import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from common.export import __main__ as export
from common.export.graph import read_metadata
from projects.clouds.module import CloudModule
from projects.clouds.train import main

BRIEF = ("--model.tile_hw", "[64,64]", "--data.batch_size", "2", "--trainer.max_epochs", "1",
         "--trainer.log_every_n_steps", "1", "--trainer.limit_train_batches", "2", "--trainer.num_sanity_val_steps",
         "0", "--trainer.accelerator", "cpu",
         "--model.net.init_args", "{unet: {width: 4, depth: 2, stem: 2, convs: 1, up: transposed}, channels: 2}",
         )  # fmt: skip


@dataclass
class Fitted:
    """A short run, and what it printed."""

    data: Path
    run: Path
    printed: str = ""

    def __call__(self, verb: str, *flags: str) -> None:
        main([verb, "--runs", str(self.run.parents[1]), *flags])

    @property
    def brief(self) -> tuple[str, ...]:
        """Flags for these data, and little work."""
        return ("--data.root", str(self.data), *BRIEF)

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "best.ckpt"

    @property
    def scene(self) -> Path:
        """Of the test."""
        return self.data / "subscenes" / (self.data / "filelists" / "test.csv").read_text().split()[0]


@pytest.fixture(scope="module")
def fitted(cloud_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The latest of its runs; start no other beside it."""
    made = Fitted(cloud_scenes, tmp_path_factory.mktemp("fitted") / "runs" / "clouds" / "first")
    with redirect_stdout(io.StringIO()) as printed:
        made("fit", "--run", "first", *made.brief)
    made.printed = printed.getvalue()
    return made


def test_fit_leaves_a_complete_run(fitted: Fitted) -> None:
    for name in ("config.yaml", "metrics.csv", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
                 "pictures/test.png", "pictures/val_epoch_001.png"):  # fmt: skip
        assert (fitted.run / name).stat().st_size > 0, name
    summary = json.loads((fitted.run / "summary.json").read_text())
    assert set(summary["baselines"]) == {"no_cloud", "all_cloud", "brightness"}
    for name in ("iou", "precision", "recall", "f1", "boundary_f", "scene_iou", "scene_f1"):
        assert f"test/{name}" in summary
    with (fitted.run / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {"train/bce_step", "train/dice_step", "val/bce", "val/dice", "val/iou", "train/gradient_norm"} <= columns
    assert "test split" in fitted.printed
    assert "epoch 1/1" in fitted.printed


def test_a_checkpoint_needs_nothing_else(fitted: Fitted) -> None:
    module = CloudModule.load_from_checkpoint(fitted.checkpoint, weights_only=True, map_location="cpu")
    assert module.tile_hw == (64, 64)
    assert module.standardizer.count > 0
    fitted("test", "--ckpt_path", str(fitted.checkpoint))
    first, again = (json.loads((folder / "summary.json").read_text()) for folder in (fitted.run, fitted.run / "test"))
    scores = [name for name in first if name.startswith("test/")]
    assert {name: first[name] for name in scores} == {name: again[name] for name in scores}
    assert first["baselines"] == again["baselines"]  # the threshold found in training is in the checkpoint


def test_predict_finds_a_run_by_its_name_and_writes_what_the_module_says(
    fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in" / fitted.scene.name
    source.parent.mkdir()
    values = np.load(fitted.scene)
    values[5:9, 30:40, 3] = np.nan  # B4
    values[50, 60, 9] = np.nan  # B9, which the network does not see
    np.save(source, values)
    words = ("predict", "--input", str(source.parent), "--output", str(tmp_path / "out"), "--probability", "true")
    with pytest.raises(SystemExit):
        fitted(*words, "--run", "nosuch")
    assert "nosuch" in capsys.readouterr().err
    fitted(*words, "--run", "first")
    assert f"checkpoint: {fitted.checkpoint}" in capsys.readouterr().out
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


def test_a_geotiff_gives_a_geotiff_in_the_same_place(fitted: Fitted, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    bands = np.load(fitted.scene)[:50, :70, [3, 2, 1, 7]].transpose(2, 0, 1)
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(4e5, 5e6, 20, 20)}
    tif = tmp_path / "scene.tif"
    with rasterio.open(
        tif, "w", driver="GTiff", width=70, height=50, count=4, dtype="float32", nodata=-1, **place
    ) as file:
        bands[:, 0, 0] = -1
        file.write(bands)
        file.descriptions = ("B4", "B3", "B2", "B8")
    fitted("predict", "--input", str(tif), "--output", str(tmp_path / "out"))
    with rasterio.open(tmp_path / "out" / "scene.tif") as file:
        assert (file.crs, file.transform, file.nodata) == (place["crs"], place["transform"], 255)
        assert np.argwhere(file.read(1) == 255).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        ("text", "text.npy: "),
        ("three", "B8"),
    ],
)
def test_predict_refuses_in_one_line(
    scene: str, said: str, fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "three.npy", np.zeros((8, 8, 3), np.float32))
    with pytest.raises(SystemExit) as stopped:
        fitted("predict", "--input", str(tmp_path / f"{scene}.npy"), "--output", str(tmp_path / "out"))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_the_exported_network_takes_any_size_and_the_runner_says_what_predict_says(
    fitted: Fitted, tmp_path: Path
) -> None:
    model = tmp_path / "clouds.onnx"
    fitted("export", "--output", str(model), "--int8", "true")
    assert model.stat().st_size < 250e6
    assert json.loads(read_metadata(model)["bands"]) == ["B4", "B3", "B2", "B8"]
    assert (tmp_path / "clouds.int8.onnx").is_file()
    module = CloudModule.load_from_checkpoint(fitted.checkpoint, weights_only=True, map_location="cpu").eval()
    session = onnxruntime.InferenceSession(str(model))
    for shape in ((3, 4, 37, 53), (1, 4, 1, 1), (1, 4, 64, 96)):
        images = torch.rand(shape)
        with torch.inference_mode():
            likely = module.probability(images)[:, 0].numpy()
        np.testing.assert_allclose(session.run(["probability"], {"scene": images.numpy()})[0], likely, atol=1e-5)
    source = fitted.scene
    fitted("predict", "--input", str(source), "--output", str(tmp_path / "torch"), "--probability", "true")
    export.main(["run", str(model), str(source), "--output", str(tmp_path / "onnx")])
    ours, theirs = (np.load(tmp_path / folder / source.name) for folder in ("torch", "onnx"))
    likely = np.load(tmp_path / "torch" / f"{source.stem}_probability.npy")
    ties = abs(likely - 0.5) < 1e-4
    assert np.array_equal(ours[~ties], theirs[~ties])


def test_without_lists_a_folder_is_divided_as_filelists_would(
    cloud_scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    for folder in ("subscenes", "masks"):
        shutil.copytree(cloud_scenes / folder, root / folder)

    def command(verb: str) -> str:
        main([verb, "--runs", str(tmp_path / "runs"), "--data.root", str(root)])
        return capsys.readouterr().out

    said = command("prepare")
    command("filelists")
    lists = {split: (root / "filelists" / f"{split}.csv").read_text().split()[1:] for split in ("train", "val", "test")}
    assert sorted(name for names in lists.values() for name in names) == sorted(
        path.name for path in (root / "subscenes").iterdir()
    )
    assert f"{len(lists['train'])} train scenes" in said
    assert f"{len(lists['train'])} train scenes" in command("prepare")
    with pytest.raises(SystemExit):
        command("filelists")  # they are there


def test_weights_start_from_another_run_with_the_own_weight_of_cloud(fitted: Fitted, tmp_path: Path) -> None:
    more = ("--start_from", str(fitted.checkpoint), "--model.criterion.pos_weight", "auto", "--runs", str(tmp_path))
    fitted("fit", "--run", "second", *fitted.brief, *more)
    first, second = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (fitted.checkpoint, tmp_path / "clouds" / "second" / "checkpoints" / "best.ckpt")
    )
    assert first["pos_weight"] == 1
    assert second["pos_weight"] > 1
    assert torch.equal(first["standardizer.mean"], second["standardizer.mean"])


@pytest.mark.parametrize("verb", ["test", "fit"])  # predict and export load them as fit does
def test_weights_are_not_used_for_other_bands(
    verb: str, fitted: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "test": ("--ckpt_path",),
        "fit": ("--run", "third", "--runs", str(tmp_path), *fitted.brief, "--start_from"),
    }
    with pytest.raises(SystemExit) as stopped:
        fitted(verb, *words[verb], str(fitted.checkpoint), "--model.bands", "[B8,B3,B2,B4]")
    assert stopped.value.code == 2
    assert "model.bands: found ['B8', 'B3', 'B2', 'B4'], but the checkpoint's" in capsys.readouterr().err
