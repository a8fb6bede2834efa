from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.tiles import Box
from common.errors import UserError
from projects.clouds.module import CloudModule
from projects.clouds.nets import CloudNet
from projects.clouds.predict import Predicted, find_inputs, mask_of, predict_file

CPU = torch.device("cpu")


@pytest.fixture
def module() -> CloudModule:
    """Untrained, for the bands of a photo."""
    torch.manual_seed(0)
    made = CloudModule(
        net=lambda channels: CloudNet(channels, unet={"width": 8, "depth": 2}),
        optimizer=torch.optim.AdamW,
        bands=("B4", "B3", "B2"),
        tile_hw=(32, 40),
    )
    made.standardizer.partial_fit(torch.rand(4, 3, 8, 8))
    return made.eval()


def predict(module: CloudModule, source: Path, output: Path, batch_size: int = 3) -> Predicted:
    return predict_file(
        module, source, output=output, batch_size=batch_size, device=CPU, probability=True, progress=False
    )


def scene(path: Path, size_hw: tuple[int, int] = (75, 101)) -> np.ndarray:
    values = np.random.default_rng(1).random((*size_hw, 3), dtype=np.float32)
    np.save(path, values)
    return values


@pytest.mark.parametrize("size_hw", [(1, 1), (20, 90), (75, 101), (32, 40)])
def test_any_size_gives_a_mask_of_that_size(module: CloudModule, tmp_path: Path, size_hw: tuple[int, int]) -> None:
    scene(tmp_path / "any.npy", size_hw)
    done = predict(module, tmp_path / "any.npy", tmp_path / "out")
    mask = np.load(done.mask)
    assert done.mask.name == "any.npy"
    assert mask.shape == done.size_hw == size_hw
    assert done.cloud == (mask == 1).mean()
    assert done.missing == 0


def test_the_mask_is_the_blended_probability_over_the_threshold(module: CloudModule, tmp_path: Path) -> None:
    values = scene(tmp_path / "one.npy", (32, 70))
    done = predict(module, tmp_path / "one.npy", tmp_path / "out")
    likely = np.load(done.probability or "")
    grid = module.grid((32, 70))
    assert grid.lefts == (0, 30)
    with torch.inference_mode():
        parts = [torch.from_numpy(values.transpose(2, 0, 1)[None, :, :, at : at + 40]) for at in grid.lefts]
        left, right = (module.probability(part)[0, 0].numpy() for part in parts)
    window = np.sin(np.pi * (np.arange(40) + 0.5) / 40) ** 2
    expected = (left[:, 30:] * window[30:] + right[:, :10] * window[:10]) / (window[30:] + window[:10])
    np.testing.assert_allclose(likely[:, 30:40], expected, atol=1e-6)
    np.testing.assert_allclose(likely[:, :30], left[:, :30], atol=1e-6)
    np.testing.assert_allclose(likely[:, 40:], right[:, 10:], atol=1e-6)
    assert np.array_equal(np.load(done.mask), mask_of(likely, module.threshold))


def test_the_batch_size_does_not_show(module: CloudModule, tmp_path: Path) -> None:
    scene(tmp_path / "one.npy")
    maps = [np.load(predict(module, tmp_path / "one.npy", tmp_path / str(size), size).probability or "")
            for size in (1, 4, 50)]  # fmt: skip
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
    np.testing.assert_allclose(maps[0], maps[2], atol=1e-6)


def test_missing_stays_missing_and_harms_no_neighbour(module: CloudModule, tmp_path: Path) -> None:
    values = scene(tmp_path / "whole.npy")
    whole = np.load(predict(module, tmp_path / "whole.npy", tmp_path / "out").probability or "")
    values[10:30, 20:70] = np.nan
    values[60, 5, 1] = np.inf
    np.save(tmp_path / "holes.npy", values)
    done = predict(module, tmp_path / "holes.npy", tmp_path / "out")
    likely, mask = np.load(done.probability or ""), np.load(done.mask)
    missing = ~np.isfinite(values).all(axis=2)
    assert np.array_equal(np.isnan(likely), missing)
    assert np.array_equal(mask == 255, missing)
    assert done.missing == missing.mean()
    assert done.overlay is not None
    np.testing.assert_allclose(likely[:, 95:], whole[:, 95:], atol=1e-6)  # out of sight of the holes


def test_a_photo_gives_a_picture_of_the_classes(module: CloudModule, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[3, 4, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = predict(module, tmp_path / "photo.png", tmp_path / "out")
    with Image.open(done.mask) as mask:
        classes = np.asarray(mask)
        assert mask.mode == "P"
    assert classes.shape == (40, 30)
    assert np.argwhere(classes == 255).tolist() == [[3, 4]]
    assert set(np.unique(classes)) <= {0, 1, 255}


def test_a_scene_is_never_overwritten(module: CloudModule, tmp_path: Path) -> None:
    scene(tmp_path / "one.npy")
    before = (tmp_path / "one.npy").read_bytes()
    with pytest.raises(UserError, match="could overwrite"):
        predict(module, tmp_path / "one.npy", tmp_path)
    assert (tmp_path / "one.npy").read_bytes() == before


def test_a_failure_leaves_nothing(module: CloudModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene(tmp_path / "one.npy")
    real, calls = module.probability, []

    def fails(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 3:
            raise RuntimeError("stopped")
        return real(images)

    monkeypatch.setattr(module, "probability", fails)
    with pytest.raises(RuntimeError, match="stopped"):
        predict(module, tmp_path / "one.npy", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_inputs_are_a_file_a_folder_or_a_pattern(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy", "c.tif", "notes.txt"):
        (tmp_path / name).touch()
    names = ["a.npy", "b.npy", "c.tif"]
    assert [path.name for path in find_inputs(str(tmp_path))] == names
    assert [path.name for path in find_inputs(f"{tmp_path}/*.npy")] == names[:2]
    assert find_inputs(str(tmp_path / "c.tif")) == [tmp_path / "c.tif"]
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="would be called a"):
        find_inputs(str(tmp_path))
    for nothing in (f"{tmp_path}/*.jp2", str(tmp_path / "nowhere")):
        with pytest.raises(UserError, match="no scene at"):
            find_inputs(nothing)


def test_memory_is_that_of_a_strip(module: CloudModule, tmp_path: Path) -> None:
    asked = []

    class Huge:
        size_hw = (3000, 64)

        def read_float(self, box: Box) -> np.ndarray:
            asked.append(box)
            return np.zeros((3, box.bottom - box.top, box.right - box.left), np.float32)

    rows = module.predict_rows(Huge(), batch_size=2)
    top, first = next(rows)
    assert top == 0
    assert first.shape[0] <= module.tile_hw[0]
    assert max(box.bottom for box in asked) < 6 * module.tile_hw[0]  # a few batches ahead, not the scene


def test_values_of_another_unit_are_said(
    module: CloudModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "high.npy", 10000 * scene(tmp_path / "same.npy"))
    predict(module, tmp_path / "same.npy", tmp_path / "out")
    assert "unit" not in capsys.readouterr().out
    predict(module, tmp_path / "high.npy", tmp_path / "out")
    assert "is its unit another" in capsys.readouterr().out


def test_results_never_take_each_others_names(tmp_path: Path) -> None:
    for name in ("a.npy", "a_probability.npy"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="would be called a_probability"):
        find_inputs(str(tmp_path))
