from typing import Any

import numpy as np
import pytest
import torch

from common.errors import UserError
from projects.clouds.nets import CloudNet

SMALL = "tu-mobilenetv3_small_050"
SMP = ["DeepLabV3", "DeepLabV3Plus", "FPN", "Linknet", "MAnet", "PAN", "PSPNet", "Segformer", "UPerNet", "Unet"]
NETS: list[dict[str, Any]] = [
    {"unet": {"width": 8, "stem": 2}},
    {"unet": {"width": 8, "depth": 3, "up": "transposed"}, "activation": "silu", "channels": 2},
    *({"arch": arch, "encoder": SMALL} for arch in (*SMP, "UnetPlusPlus")),
    {"arch": "DPT", "encoder": "tu-vit_tiny_patch16_224", "channels": 2},
]


@pytest.mark.parametrize("settings", NETS, ids=lambda settings: settings.get("arch", "UNet"))
def test_every_network_takes_any_number_of_bands_any_size_and_learns(settings: dict[str, Any]) -> None:
    net = CloudNet(13, **settings)
    logits = net(torch.rand(2, 13, 45, 70))
    assert logits.shape == (2, 1, 45, 70)
    logits.square().sum().backward()
    assert all((weight.grad is not None) == weight.requires_grad for weight in net.parameters())
    net.eval()
    with torch.no_grad():
        for size_hw in ((37, 53), (1, 1), (2 * net.divisor, net.divisor)):
            one = net(torch.rand(1, 13, *size_hw))
            assert one.shape == (1, 1, *size_hw) and one.isfinite().all()


def test_two_channels_are_a_softmax() -> None:
    torch.manual_seed(0)
    net = CloudNet(4, channels=2, unet={"width": 8}).eval()
    x = torch.rand(2, 4, 33, 50)
    both = 10 * net.net(x)
    assert both.shape[1] == 2 and both.std() > 0.1
    torch.testing.assert_close((10 * net(x)).sigmoid(), both.softmax(dim=1)[:, 1:])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("prior", [0.1, 0.5, 0.9])
def test_an_untrained_network_expects_the_prior(channels: Any, prior: float) -> None:
    torch.manual_seed(0)
    net = CloudNet(4, channels=channels, prior=prior, unet={"width": 8, "stem": 2})
    assert net(torch.randn(4, 4, 64, 64)).sigmoid().mean().item() == pytest.approx(prior, abs=0.05)


def test_an_image_that_needs_padding_gets_the_answer_of_the_padded_one() -> None:
    torch.manual_seed(0)
    net = CloudNet(3, unet={"width": 8, "depth": 2}).eval()
    picture = torch.rand(1, 3, 10, 7)
    padded = torch.from_numpy(np.pad(picture.numpy(), [(0, 0), (0, 0), (0, 2), (0, 1)], mode="reflect"))
    torch.testing.assert_close(net(picture), net(padded)[..., :10, :7])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "unet"}, r"found 'unet', expected an smp architecture: .*Unet"),
        ({"encoder": "resnet18"}, r"\"UNet\": found .*resnet18.*leave it out"),
        ({"weights": "a.pth"}, r"found .*a\.pth.*leave it out"),
        ({"unet": {"breadth": 3}}, r"unet of arch \"UNet\".*breadth"),
        ({"unet": {"width": 2.5}}, r"unet of arch \"UNet\".*2.5"),
        ({"unet": {"width": 0}}, "width = 0; expected 1 or more"),
        ({"arch": "Unet", "encoder": SMALL, "options": {"breadth": 3}}, "breadth"),
        ({"arch": "DPT"}, "network DPT with encoder 'resnet18'"),
        ({"prior": 1.0}, "prior: found 1.0, expected a share of cloud between 0 and 1"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CloudNet(4, **settings)
