from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from common.errors import UserError
from common.nets.activations import exchange_activation, main_activation
from common.nets.backbone import Backbone
from common.nets.head import Head

ARCHITECTURES = ["Unet", "UnetPlusPlus", "FPN", "DeepLabV3Plus", "Linknet", "MAnet", "PAN", "Segformer", "UPerNet"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_stated_stride_and_channels_are_those_of_the_output(arch: str) -> None:
    backbone = Backbone(5, arch=arch, encoder="mobilenet_v2", stride=4).eval()
    features = backbone(torch.rand(2, 5, 128, 160))
    assert features.shape == (2, backbone.out_channels, 128 // backbone.stride, 160 // backbone.stride)


def test_surplus_decoder_blocks_are_left_out_and_the_rest_computes_the_same() -> None:
    torch.manual_seed(0)
    full = Backbone(3, arch="Unet", encoder="resnet18", stride=1).eval()
    short = Backbone(3, arch="Unet", encoder="resnet18", stride=4).eval()
    short.load_state_dict(full.state_dict(), strict=False)
    inner: list[torch.Tensor] = []
    full.net.decoder.blocks[2].register_forward_hook(lambda module, args, output: inner.append(output))
    x = torch.rand(1, 3, 64, 64)
    full(x)
    torch.testing.assert_close(short(x), inner[0])


def test_decoder_takes_the_activation_of_its_encoder() -> None:
    backbone = Backbone(3, arch="UnetPlusPlus", encoder="tu-efficientnet_b0", activation="match")
    kinds = {type(module) for module in backbone.net.decoder.modules()}
    assert nn.SiLU in kinds
    assert nn.ReLU not in kinds
    assert main_activation(backbone.net.encoder) == "silu"


def test_activation_can_be_named() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.ReLU()))
    exchange_activation(net, "gelu")
    assert main_activation(net) == "gelu"
    with pytest.raises(UserError, match="found 'tanh', expected one of relu"):
        exchange_activation(nn.Sequential(nn.ReLU()), "tanh")


def test_timm_weights_come_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model("resnet10t", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone(9, arch="Unet", encoder="tu-resnet10t", weights=str(tmp_path / "weights.pth"))
    expected = source.state_dict()["layer1.0.conv1.weight"]
    torch.testing.assert_close(backbone.net.encoder.model.state_dict()["layer1.0.conv1.weight"], expected)
    first = backbone.net.encoder.model.conv1[0].weight
    assert first.shape[1] == 9
    torch.testing.assert_close(first[:, :3] * 3, source.conv1[0].weight)  # repeated, and scaled to the same sum


def test_smp_weights_come_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(2)
    source = smp.Unet("resnet18", encoder_weights=None).encoder
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone(9, arch="Unet", encoder="resnet18", weights=str(tmp_path / "weights.pth"))
    torch.testing.assert_close(backbone.net.encoder.conv1.weight[:, 3:6] * 3, source.conv1.weight)
    torch.testing.assert_close(backbone.net.encoder.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"found 'Onet', expected an smp architecture: .*Unet"):
        Backbone(3, arch="Onet", encoder="resnet18")
    with pytest.raises(UserError, match="resnet81"):
        Backbone(3, arch="Unet", encoder="resnet81")
    with pytest.raises(UserError, match=r"no file 'absent.pth'"):
        Backbone(3, arch="Unet", encoder="resnet18", weights="absent.pth")
    with pytest.raises(UserError, match=r"bad.pth: not a state dict"):
        Backbone(3, arch="Unet", encoder="resnet18", weights=str(tmp_path / "bad.pth"))


def test_head_starts_at_its_prior() -> None:
    torch.manual_seed(0)
    head = Head(16, 1, hidden=8, act="silu", stride=2, prior=0.01)
    output = head(torch.rand(2, 16, 32, 32)).sigmoid()
    assert output.shape == (2, 1, 16, 16)
    assert output.mean().item() == pytest.approx(0.01, rel=0.3)


def test_weights_without_effect_are_frozen_and_all_others_learn() -> None:
    options = {"encoder_depth": 3, "decoder_channels": [32, 16, 8]}
    backbone = Backbone(3, arch="Unet", encoder="tu-mobilenetv3_small_050", stride=2, options=options)
    backbone(torch.rand(2, 3, 64, 64)).sum().backward()
    frozen = [weight for weight in backbone.parameters() if not weight.requires_grad]
    assert frozen
    assert all(weight.grad is None for weight in frozen)
    assert all(weight.grad is not None for weight in backbone.parameters() if weight.requires_grad)
