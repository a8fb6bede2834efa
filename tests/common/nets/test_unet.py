import pytest
import torch
from torch import nn

from common.errors import UserError
from common.nets.unet import UNet


@pytest.mark.parametrize(
    ("options", "channels", "stride", "divisor"),
    [
        ({}, 8, 1, 16),
        ({"up": "transposed"}, 8, 1, 16),
        ({"stem": 2}, 8, 2, 32),
        ({"stem": 3, "depth": 2}, 8, 3, 12),
        ({"depth": 0}, 8, 1, 1),
        ({"max_width": 5, "depth": 3}, 5, 1, 8),
        ({"convs": 1, "activation": "gelu"}, 8, 1, 16),
    ],
)
def test_size_and_channels_are_the_stated_ones_and_every_weight_learns(
    options: dict[str, int], channels: int, stride: int, divisor: int
) -> None:
    net = UNet(5, width=8, **options)
    assert (net.out_channels, net.stride, net.divisor) == (channels, stride, divisor)
    features = net(torch.rand(2, 5, 2 * divisor, 3 * divisor))
    assert features.shape == (2, channels, 2 * divisor // stride, 3 * divisor // stride)
    features.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


def test_with_the_settings_of_the_paper_it_has_the_paper_s_layers() -> None:
    net = UNet(1, width=64, max_width=1024, up="transposed")
    convolutions = [tuple(module.weight.shape) for module in net.modules() if isinstance(module, nn.Conv2d)]
    down = [(64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512), (1024, 512)]
    up = [(1024, 1024), (512, 1024), (512, 512), (256, 512), (256, 256), (128, 256), (128, 128), (64, 128), (64, 64)]
    assert convolutions == [(*shape, 3, 3) for shape in down + up]
    doubling = [tuple(module.weight.shape) for module in net.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert doubling == [(1024, 512, 2, 2), (512, 256, 2, 2), (256, 128, 2, 2), (128, 64, 2, 2)]


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
def test_a_pixel_is_seen_through_every_level_but_no_further_than_they_reach(up: str) -> None:
    torch.manual_seed(0)
    net = UNet(1, width=4, depth=1, convs=1, up=up, activation="silu").eval()  # ReLU may let nothing through
    picture = torch.zeros(1, 1, 32, 32)
    touched = picture.clone()
    touched[0, 0, 16, 16] = 1
    changed = (net(touched) != net(picture)).any(dim=1)[0].nonzero()
    assert changed.min() >= 16 - 8 and changed.max() <= 16 + 8
    assert len(changed) > 9  # more than the first level alone, 3 x 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width = 0; expected 1 or more"),
        ({"depth": -1}, "depth = -1; expected 0 or more"),
        ({"stem": 0}, "stem = 0"),
        ({"convs": 0}, "convs = 0"),
        ({"up": "nearest"}, "up = 'nearest'; expected 'bilinear' or 'transposed'"),
        ({"activation": "tanh"}, "found 'tanh', expected one of relu"),
    ],
)
def test_mistakes_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UNet(3, **options)
