from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from common.errors import UserError
from projects.pose.nets.vgg import Vgg19Front


def written(path: Path, kind: str = "E", *, norm: bool = False) -> dict[str, Tensor]:
    """A state dict with the names and shapes of torchvision's file, up to the third convolution behind ours."""
    torch.manual_seed(0)
    layers = make_layers(cfgs[kind][:16], batch_norm=norm)
    with torch.no_grad():
        for values in layers.parameters():
            values.normal_(std=0.05)
    state = {f"features.{name}": values for name, values in layers.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(3)}, path)
    return state


def test_it_has_the_ten_first_convolutions_and_the_two_of_the_papers() -> None:
    shapes = [tuple(module.weight.shape[:2]) for module in Vgg19Front().modules() if isinstance(module, nn.Conv2d)]
    deep = [(256, 128), *[(256, 256)] * 3, (512, 256), (512, 512)]
    assert shapes == [(64, 3), (64, 64), (128, 64), (128, 128), *deep, (256, 512), (128, 256)]


def test_weights_of_torchvision_come_from_a_local_file(tmp_path: Path) -> None:
    state = written(tmp_path / "vgg19.pth")
    front = Vgg19Front(3, weights=str(tmp_path / "vgg19.pth"))
    x = picture = torch.rand(1, 3, 16, 24)
    for number in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21):
        if number in (5, 10, 19):
            x = nn.functional.max_pool2d(x, 2)
        x = nn.functional.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1)
        x = x.relu()
    torch.testing.assert_close(front.features(picture), x)


def test_weights_with_batch_norm_come_with_its_statistics(tmp_path: Path) -> None:
    state = written(tmp_path / "vgg19_bn.pth", norm=True)
    state["features.31.running_mean"].fill_(7.0)
    # as in torchvision's file, which is older than the counters
    old = {name: values for name, values in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "vgg19_bn.pth")
    front = Vgg19Front(3, norm=True, weights=str(tmp_path / "vgg19_bn.pth"))
    norm = front.features[31]
    assert isinstance(norm, nn.BatchNorm2d)
    assert (norm.running_mean == 7).all()
    torch.testing.assert_close(front.features[30].weight, state["features.30.weight"])


@pytest.mark.parametrize(("kind", "norm"), [("D", False), ("E", True)], ids=["vgg16", "vgg19_bn"])
def test_weights_of_another_network_are_refused(kind: str, norm: bool, tmp_path: Path) -> None:
    written(tmp_path / "other.pth", kind, norm=norm)
    with pytest.raises(UserError, match=r"other.pth: not a state dict of torchvision's vgg19: .*Missing key"):
        Vgg19Front(3, weights=str(tmp_path / "other.pth"))


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"features.0.weight": "text"}, tmp_path / "text.pth")
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pth")  # a pickled class, which is not loaded
    for name in ("bad", "list", "text", "module"):
        with pytest.raises(UserError, match=rf"{name}.pth: not a state dict of torchvision's vgg19_bn"):
            Vgg19Front(3, norm=True, weights=str(tmp_path / f"{name}.pth"))
    with pytest.raises(UserError, match=r"no file 'absent.pth'; give the path of a local file"):
        Vgg19Front(3, weights="absent.pth")


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="in_channels: found 4, expected 3"):
        Vgg19Front(4)
    with pytest.raises(UserError, match="channels: found 0, expected 1 or more"):
        Vgg19Front(3, channels=(16, 0))
    with pytest.raises(UserError, match=r"activation: found 'tanh', expected one of relu, .*prelu"):
        Vgg19Front(3, activation="tanh")
