import pytest
import torch

from common.errors import UserError
from projects.pose.nets.fronts import BackboneFront, Front, PatchFront
from projects.pose.nets.vgg import Vgg19Front

SMALL = {"encoder_depth": 4, "decoder_channels": [16, 16, 8, 8]}


def mobile(**settings: object) -> Front:
    return BackboneFront(3, encoder="tu-mobilenetv3_small_050", **({"channels": 12, "options": SMALL} | settings))


@pytest.mark.parametrize(
    ("front", "channels", "divisor"),
    [
        (mobile(), 12, 16),
        (mobile(options={"decoder_channels": [16, 16, 8, 8, 8]}), 12, 32),
        (mobile(arch="FPN", options={}), 12, 32),  # ends at stride 4
        (PatchFront(3, width=10, depth=1), 10, 16),
        (PatchFront(3, width=10, depth=0), 10, 8),
        (Vgg19Front(3, channels=(16, 8)), 8, 8),
        (Vgg19Front(3, channels=(16, 8), norm=True, activation="prelu"), 8, 8),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Front) else str(value),
)
def test_features_have_the_stated_size_and_every_free_weight_learns(front: Front, channels: int, divisor: int) -> None:
    assert (front.out_channels, front.stride, front.divisor) == (channels, 8, divisor)
    for height, width in ((2 * divisor, 3 * divisor), (3 * divisor, 2 * divisor)):
        features = front(torch.rand(2, 3, height, width))
        assert features.shape == (2, channels, height // 8, width // 8)
    features.square().sum().backward()
    assert all(weight.grad is not None for weight in front.parameters() if weight.requires_grad)


def test_another_stride_is_possible() -> None:
    assert mobile(stride=16)(torch.rand(1, 3, 32, 64)).shape == (1, 12, 2, 4)


def test_patches_do_not_overlap() -> None:
    torch.manual_seed(0)
    patches = PatchFront(3).eval().patches[0]
    picture = torch.zeros(1, 3, 16, 16)
    touched = picture.clone()
    touched[..., 4:8, 8:12] = 1
    changed = (patches(touched) != patches(picture)).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0}, "channels: found 0, expected 1 or more"),
        ({"stride": 0}, "stride: found 0, expected 1 or more"),
        ({"stride": 12}, "stride: found 12, but Unet with tu-mobilenetv3_small_050 ends at 8 pixels"),
        ({"activation": "tanh"}, "activation: found 'tanh'"),
    ],
)
def test_mistakes_of_a_backbone_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mobile(**settings)


def test_mistakes_of_patches_are_named() -> None:
    with pytest.raises(UserError, match="stem: found 0, expected 1 or more"):
        PatchFront(3, stem=0)
    with pytest.raises(UserError, match="depth = -1; expected 0 or more"):
        PatchFront(3, depth=-1)
