import pytest
import torch
from torch import nn

from projects.pose.nets.layers import Style, layer


@pytest.mark.parametrize("act", ["relu", "prelu"])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_twenty_layers_without_norm_keep_the_scale(act: str, kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 128, 24, 24)
    with torch.no_grad():
        for _ in range(20):
            x = layer(128, 128, kernel=kernel, act=act, norm=False)(x)
    assert 0.1 < x.square().mean().sqrt() < 3  # the border's zeros take a little each time


def test_the_last_maps_start_small_whatever_the_width() -> None:
    torch.manual_seed(0)
    for hidden in (16, 64, 512):
        output = Style("relu", norm=True, dropout=0.0).output(32, 64, hidden=hidden, background=False)
        maps = output(torch.randn(8, 32, 16, 16))
        assert 0.01 < maps.square().mean().sqrt() < 0.05


def test_the_background_starts_everywhere() -> None:
    torch.manual_seed(0)
    maps = Style("relu", norm=True, dropout=0.0).output(8, 4, hidden=16, background=True)(torch.randn(8, 8, 16, 16))
    assert maps[:, -1].mean().item() == pytest.approx(1, abs=0.1)
    assert maps[:, :-1].mean().item() == pytest.approx(0, abs=0.1)


def test_norm_and_dropout_are_only_where_asked_for() -> None:
    plain = Style("relu", norm=False, dropout=0.0)
    kinds = {type(module) for module in plain.output(4, 2, hidden=8, background=True).modules()}
    assert kinds == {nn.Sequential, nn.Conv2d, nn.ReLU}
    assert plain.layer(4, 4, kernel=3)[0].bias is not None
    both = Style("prelu", norm=True, dropout=0.5)
    order = [
        type(module)
        for module in both.output(4, 2, hidden=8, background=True).modules()
        if not isinstance(module, nn.Sequential)
    ]
    assert order == [nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.Dropout2d, nn.Conv2d]
    assert both.layer(4, 4, kernel=3)[0].bias is None
