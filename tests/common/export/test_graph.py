"""ONNX files agree with torch at other sizes, carry their metadata and do not exist when they are wrong."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from common.export import graph
from common.export.graph import export_onnx, read_metadata
from common.nets.unet import UNet
from tests.common.export.segmenter import Exported

DYNAMIC = {0: "batch", 3: "height", 4: "width"}
METADATA = {"offsets": "[-1, 0, 1]", "mean": "[110.0, 120.0, 130.0]", "note": "ü"}


class Windowed(nn.Module):
    """Frames (B, T, 3, H, W) in 0..255 -> two maps, as a windowed network does."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"encoder_depth": 3, "decoder_channels": (16, 8, 4)}
        self.net = smp.Unet("tu-test_resnet", encoder_weights=None, in_channels=9, classes=3, **sizes)
        self.mean = nn.Buffer(torch.tensor([110.0, 120.0, 130.0]))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.net(((frames - self.mean[:, None, None]) / 60).flatten(1, 2))
        return maps[:, :1], maps[:, 1:]


class Fixed(nn.Module):
    """Works at one width only."""

    def forward(self, images: Tensor) -> Tensor:
        return images * torch.linspace(0, 1, 8)


def _export(module: nn.Module, path: Path) -> None:
    export_onnx(
        module, torch.rand(2, 3, 4, 8), path, inputs=["images"], outputs=["maps"],
        dynamic={0: "batch", 3: "width"}, metadata={},
    )  # fmt: skip


def test_a_real_network_keeps_its_values_at_every_size(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    module, path = Windowed(), tmp_path / "net.onnx"
    parity = export_onnx(
        module, torch.rand(2, 3, 3, 32, 64) * 255, path, inputs=["frames"], outputs=["heatmap", "offset"],
        dynamic=DYNAMIC, metadata=METADATA,
    )  # fmt: skip
    assert capfd.readouterr() == ("", "")
    assert parity.relative_error < 2e-5
    assert set(parity.shapes) == {(1, 3, 3, 96, 64), (2, 3, 3, 32, 128), (3, 3, 3, 64, 192)}
    assert read_metadata(path) == METADATA
    assert not module.training
    assert list(tmp_path.iterdir()) == [path]

    frames = torch.rand(5, 3, 3, 96, 32) * 255
    session = onnxruntime.InferenceSession(str(path))
    assert [output.name for output in session.get_outputs()] == ["heatmap", "offset"]
    heatmap, offset = session.run(None, {"frames": frames.numpy()})
    with torch.no_grad():
        expected = module(frames)
    np.testing.assert_allclose(heatmap, expected[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(offset, expected[1], rtol=1e-3, atol=1e-3)


def test_a_network_that_fixes_a_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="static shape of 8 for dimension"):
        _export(Fixed(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_wrong_export_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="differs from torch by"):
        _export(nn.AdaptiveAvgPool2d((2, 3)), path)  # its windows are written for the example's size
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_sizes_may_be_free_multiples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = UNet(4, width=4, depth=1, convs=1, up="transposed")
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), unet).eval()

    def export(path: Path, width: str) -> None:
        export_onnx(
            module, torch.rand(2, 3, 8, 12), path, inputs=["x"], outputs=["y"],
            dynamic={0: "batch", 2: "4*rows", 3: width}, metadata={},
        )  # fmt: skip

    with pytest.raises(UserError, match=r"cannot be exported with free batch, 4\*rows, width"):
        export(tmp_path / "any.onnx", "width")
    export(tmp_path / "net.onnx", "4*columns")
    images = np.random.default_rng(0).random((1, 3, 4, 20), np.float32)
    (found,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": images})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(torch.from_numpy(images)), atol=1e-5)


class Marks(nn.Module):
    """A mask whose places depend on the example's size once it is exported."""

    def forward(self, images: Tensor) -> Tensor:
        return (functional.adaptive_avg_pool2d(images, (2, 3)) > 0.5).to(torch.uint8)


def test_a_wrong_mask_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"integers differs from torch at \d+\.\d+% of the places"):
        _export(Marks(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_masks_may_differ_at_ties(exported: Exported) -> None:
    assert set(exported.parity.shapes) == {(1, 3, 81, 35), (2, 3, 27, 70), (3, 3, 54, 105)}
    assert exported.parity.differing == 0
    assert exported.parity.relative_error < 1e-5


def test_what_is_too_large_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "LARGEST", 2_000_000)
    with pytest.raises(UserError, match=r"net\.onnx: not written, the network takes 4 MB; expected less than 2 MB"):
        _export(nn.Linear(1000, 1000), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_what_becomes_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "LARGEST", 100)  # nothing without weights is so small
    with pytest.raises(UserError, match="not written, the network takes 0 MB"):
        _export(nn.ReLU(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"\xff\xff not a model"])
def test_metadata_of_something_else_is_a_user_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.onnx"):
        read_metadata(path)
