from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.export.graph import export_onnx
from common.nets.padded import Fill, Padded


class Seen(nn.Module):
    """Keeps what it is given and returns it."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x


@settings(deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), divisor=st.integers(1, 17), least=st.integers(1, 50),
    fill=st.sampled_from(["reflect", "replicate"]),
)  # fmt: skip
def test_the_network_sees_the_picture_continued_as_numpy_does(
    height: int, width: int, divisor: int, least: int, fill: Fill
) -> None:
    seen = Seen()
    picture = torch.rand(2, 3, height, width)
    assert torch.equal(Padded(seen, divisor, least=least, fill=fill)(picture), picture)
    lengths = seen.x.shape[-2:]
    for length, size in zip(lengths, (height, width), strict=True):
        assert length % divisor == 0 and length >= max(size, least) > length - divisor
    missing = [(0, length - size) for length, size in zip(lengths, (height, width), strict=True)]
    mode = {"reflect": "reflect", "replicate": "edge"}[fill]
    np.testing.assert_array_equal(seen.x.numpy(), np.pad(picture.numpy(), [(0, 0), (0, 0), *missing], mode=mode))


def test_a_picture_that_fits_is_not_copied() -> None:
    seen, picture = Seen(), torch.rand(1, 1, 8, 16)
    Padded(seen, 8)(picture)
    assert seen.x is picture


def test_gradients_reach_the_picture() -> None:
    picture = torch.rand(1, 1, 3, 5, requires_grad=True)
    Padded(nn.Conv2d(1, 1, 3, padding=1), 4)(picture).sum().backward()
    assert picture.grad is not None and (picture.grad != 0).all()


class Coarse(nn.Module):
    """Needs multiples of 8, as an encoder with three stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.up = nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(8), nn.Upsample(scale_factor=8)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.conv(x)
        return fine + self.up(self.pool(fine))


@pytest.mark.parametrize(("fill", "least"), [("reflect", 1), ("replicate", 40)])
def test_it_is_exported_with_free_sizes(fill: Fill, least: int, tmp_path: Path) -> None:
    net, path = Padded(Coarse(), 8, least=least, fill=fill), tmp_path / "net.onnx"
    export_onnx(
        net, torch.rand(2, 2, 13, 21), path, inputs=["x"], outputs=["y"],
        dynamic={0: "batch", 2: "height", 3: "width"}, metadata={},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path))
    for shape in ((1, 2, 37, 53), (3, 2, 1, 1), (2, 2, 64, 40), (1, 2, 1, 50)):
        x = torch.rand(shape)
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], net(x).numpy(), atol=1e-6)
