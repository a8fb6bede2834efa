"""ONNX files agree with torch at other sizes, carry their metadata and do not exist when they are wrong."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.export import compare, export_onnx, other_shapes, read_metadata

DYNAMIC = {0: "batch", 3: "height", 4: "width"}
METADATA = {"offsets": "[-1, 0, 1]", "mean": "[110.0, 120.0, 130.0]", "note": "ü"}


class Windowed(nn.Module):
    """Frames (B, T, 3, H, W) in 0..255 -> two maps, as a windowed network does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = smp.Unet(encoder_name="resnet18", encoder_weights=None, in_channels=9, classes=3)
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

    with pytest.raises(UserError, match="fails at an input of"):
        compare(module, path, [(1, 4, 3, 32, 32)], (torch.tensor(0.0), torch.tensor(255.0)))

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


def test_other_shapes_change_every_dynamic_axis() -> None:
    shapes = other_shapes((2, 9, 3, 32, 64), DYNAMIC)
    assert len(set(shapes)) == 3
    assert all(shape[1:3] == (9, 3) for shape in shapes)
    assert {shape[0] for shape in shapes} == {1, 2, 3}
    assert {shape[3] for shape in shapes} == {32, 64, 96}
    assert {shape[4] for shape in shapes} == {64, 128, 192}


@pytest.mark.parametrize("content", [None, b"\xff\xff not a model"])
def test_metadata_of_something_else_is_a_user_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.onnx"):
        read_metadata(path)
