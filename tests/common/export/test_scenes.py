"""The runner says what PyTorch says, from any scene, without PyTorch; mistakes are one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from common.data.scenes import open_scene
from common.data.tiles import Blend, make_grid
from common.errors import UserError
from common.export.__main__ import main
from common.export.scenes import Network, predict_scene
from common.export.session import Session
from common.tiled import predict_rows
from tests.common.export.segmenter import BANDS, METADATA, THRESHOLD, Exported, blobs

SIZE = (77, 131)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Four bands, of which the network takes three in another order; some pixels lack one band, some all."""
    values = np.moveaxis(blobs(4, *SIZE, seed=5), 0, -1).copy()
    values[3:9, 40:90] = np.nan
    values[30:35, 10:60, 2] = np.nan
    values[50, 50, 0] = np.nan  # B2, which the network does not take
    values[-1] = np.inf
    np.save(tmp_path / "scene.npy", values)
    return tmp_path / "scene.npy"


def _expected(module: torch.nn.Module, scene: Path, *, tile_hw: tuple[int, int], blend: Blend) -> np.ndarray:
    """Probability of the scene by PyTorch's tiled prediction."""
    opened = open_scene(scene, bands=BANDS, band_names=METADATA["band_names"])

    def network(tiles: torch.Tensor, numbers: range) -> torch.Tensor:
        known = torch.isfinite(tiles).all(dim=1)
        return torch.where(known, module(tiles)[1], torch.nan)[:, None]

    grid = make_grid(opened.size_hw, tile_hw, overlap_hw=tuple(METADATA["overlap"]), edge="pad")
    rows = predict_rows(opened.read_float, network, grid, batch_size=3, blend=blend)
    return np.concatenate([part[0] for _, part in rows])


def _changed(exported: Exported, path: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """The exported network with other metadata."""
    model = onnx.load(exported.path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    change(metadata)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def _agree(mask: np.ndarray, probability: np.ndarray) -> None:
    expected = np.where(np.isnan(probability), 255, probability >= THRESHOLD)
    tied = np.abs(probability - THRESHOLD) < 1e-5
    assert tied.mean() < 0.01
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[~tied], expected[~tied])


@pytest.mark.parametrize("tile_hw", [None, (20, 29), (100, 200)])
def test_it_gives_pytorchs_mask_pixel_by_pixel(
    exported: Exported, scene: Path, tmp_path: Path, tile_hw: tuple[int, int] | None
) -> None:
    done = predict_scene(
        Network(Session(exported.path)), scene, tmp_path / "out", tile_hw=tile_hw, batch_size=2, probability=True
    )
    mask, probability = np.load(done.mask), np.load(tmp_path / "out" / "scene_probability.npy")
    expected = _expected(exported.module, scene, tile_hw=tile_hw or (32, 48), blend="hann")
    _agree(mask, expected)
    np.testing.assert_allclose(probability, expected, atol=1e-5)

    missing = np.zeros(SIZE, bool)
    missing[3:9, 40:90] = missing[30:35, 10:60] = missing[-1] = True
    np.testing.assert_array_equal(mask == 255, missing)
    assert done.missing == missing.mean()
    assert done.found == (mask == 1).sum() / (~missing).sum()
    assert 0.2 < done.found < 0.8


@pytest.mark.parametrize("blend", ["crop", "mean"])
def test_tiles_are_joined_as_the_metadata_says(exported: Exported, scene: Path, tmp_path: Path, blend: Blend) -> None:
    path = _changed(exported, tmp_path / "net.onnx", lambda metadata: metadata.update(blend=json.dumps(blend)))
    done = predict_scene(Network(Session(path)), scene, tmp_path / "out")
    _agree(np.load(done.mask), _expected(exported.module, scene, tile_hw=(32, 48), blend=blend))


def test_without_probabilities_masks_of_tiles_vote(exported: Exported, scene: Path, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    del model.graph.output[1]
    onnx.save(model, tmp_path / "net.onnx")
    network = Network(Session(tmp_path / "net.onnx"))
    done = predict_scene(network, scene, tmp_path / "out", tile_hw=(200, 200))
    _agree(np.load(done.mask), _expected(exported.module, scene, tile_hw=(200, 200), blend="hann"))
    tiled = np.load(predict_scene(network, scene, tmp_path / "tiled").mask)
    assert np.mean(tiled == np.load(done.mask)) > 0.95


def test_a_scene_without_a_value_has_no_share(exported: Exported, tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", np.full((1, 1, 4), np.nan, np.float32))
    done = predict_scene(Network(Session(exported.path)), tmp_path / "scene.npy", tmp_path / "out")
    assert np.load(done.mask).tolist() == [[255]]
    assert np.isnan(done.found)
    assert done.missing == 1


def test_pictures_give_pictures(exported: Exported, tmp_path: Path) -> None:
    from PIL import Image

    pixels = (blobs(3, 40, 50, seed=2).transpose(1, 2, 0) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    done = predict_scene(
        Network(Session(exported.path)),
        tmp_path / "scene.png",
        tmp_path / "out",
        band_names=["B4", "B3", "B8"],
        probability=True,
    )
    assert done.mask == tmp_path / "out" / "scene.png"
    mask, probability = np.asarray(Image.open(done.mask)), np.load(tmp_path / "out" / "scene_probability.npy")
    np.testing.assert_array_equal(mask, probability >= THRESHOLD)


def test_the_command_prints_one_line_per_scene(
    exported: Exported, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.npy"
    np.save(whole, np.moveaxis(blobs(4, 20, 30), 0, -1))
    out = tmp_path / "out"
    main(["run", str(exported.path), str(scene), str(whole), "--output", str(out), "--batch", "1", "--threads", "1"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{out / 'scene.npy'}: 77 x 131, ")
    assert "% cloud, 6.8% without data, " in first
    assert first.endswith(" s")
    assert second.startswith(f"{out / 'whole.npy'}: 20 x 30, ")
    assert "without" not in second
    assert sorted(path.name for path in out.iterdir()) == ["scene.npy", "whole.npy"]


def _error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *map(str, words)])
    found = capsys.readouterr()
    assert stopped.value.code == 2
    assert found.out == ""
    assert found.err.count("\n") == 1
    return found.err


def test_mistakes_are_one_line(
    exported: Exported, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output", tmp_path / "out"]
    (tmp_path / "text.onnx").write_text("no network")
    (tmp_path / "file").write_text("not a folder")
    np.save(tmp_path / "five.npy", np.zeros((6, 7, 5), np.float32))
    assert "absent.onnx: no such file" in _error(capsys, tmp_path / "absent.onnx", scene, *out)
    assert "text.onnx: not an ONNX file" in _error(capsys, tmp_path / "text.onnx", scene, *out)
    assert f"{tmp_path}: no such file" in _error(capsys, tmp_path, scene, *out)
    assert "absent.npy" in _error(capsys, exported.path, tmp_path / "absent.npy", *out)
    assert "five.npy: 5 channels" in _error(capsys, exported.path, tmp_path / "five.npy", *out)
    assert "bands: found B8" in _error(capsys, exported.path, scene, "--band_names", "B1,B2,B3,B4", *out)
    assert "overlap" in _error(capsys, exported.path, scene, "--tile", 8, 64, *out)
    assert f"{tmp_path / 'file'}" in _error(capsys, exported.path, scene, "--output", tmp_path / "file")
    assert "would overwrite it" in _error(capsys, exported.path, scene, "--output", tmp_path)
    assert "scene.npy: would be the result of several" in _error(capsys, exported.path, scene, scene, *out)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bands", None),
        ("bands", "[]"),
        ("bands", '["B4", 3, "B8"]'),
        ("bands", "B4"),
        ("band_names", '"B4"'),
        ("tile", None),
        ("tile", "[32]"),
        ("tile", "[32, 48.0]"),
        ("tile", "[true, 48]"),
        ("tile", "[0, 48]"),
        ("tile", "[1000000, 1000000]"),
        ("overlap", "[-1, 0]"),
        ("blend", '"none"'),
        ("blend", "[]"),
        ("threshold", "NaN"),
        ("threshold", "1.5"),
        ("threshold", "true"),
        ("nodata", "1"),
        ("nodata", "256"),
        ("classes", '["clear", "shadow", "cloud"]'),
        ("tile", "[" * 100_000),
    ],
)
def test_what_the_metadata_lacks_or_says_wrongly_is_named(
    exported: Exported, tmp_path: Path, key: str, value: str | None
) -> None:
    def change(metadata: dict[str, str]) -> None:
        metadata.pop(key) if value is None else metadata.update({key: value})

    path = _changed(exported, tmp_path / "net.onnx", change)
    with pytest.raises(UserError, match=rf"net\.onnx: .*'{key}'.*; expected ") as raised:
        Network(Session(path))
    assert len(str(raised.value)) < 500


def test_bands_and_input_must_be_as_many(exported: Exported, tmp_path: Path) -> None:
    path = _changed(exported, tmp_path / "net.onnx", lambda metadata: metadata.update(bands='["B4", "B3"]'))
    with pytest.raises(UserError, match=r"its input is \['batch', 3, .*; expected batch, 2 bands"):
        Network(Session(path))


def test_a_network_without_masks_is_refused(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, None))
    model.graph.node.append(onnx.helper.make_node("Identity", ["scene"], ["other"]))
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"has the outputs \['other'\]; expected 'probability' or 'mask'"):
        Network(Session(tmp_path / "net.onnx"))


ONLY = """
import sys
import onnxruntime
brought = {name.partition(".")[0] for name in sys.modules}
from common.export.__main__ import main
main(sys.argv[1:])
found = {name.partition(".")[0] for name in sys.modules}
print(*found - brought - set(sys.stdlib_module_names), "torch" in found, "onnx" in found, "jaxtyping" in found)
"""


def test_it_needs_only_onnxruntime_and_numpy(exported: Exported, scene: Path, tmp_path: Path) -> None:
    words = ["run", str(exported.path), str(scene), "--output", str(tmp_path / "out"), "--probability"]
    ran = subprocess.run([sys.executable, "-c", ONLY, *words], capture_output=True, text=True, check=True)
    line, modules = ran.stdout.splitlines()
    assert "77 x 131" in line
    assert modules == "common False False False"
    assert ran.stderr == ""
