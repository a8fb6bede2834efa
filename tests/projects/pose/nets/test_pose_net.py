from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser

from common.errors import UserError
from common.trusted import only_from
from projects.pose.nets.fronts import PatchFront
from projects.pose.nets.pose_net import PoseNet
from projects.pose.nets.stages import Cascade, TwoBranch
from projects.pose.nets.vgg import Vgg19Front

LIGHT = {
    "class_path": "projects.pose.nets.pose_net.PoseNet",
    "init_args": {
        "front": {"class_path": "projects.pose.nets.fronts.PatchFront", "init_args": {"width": 8, "max_width": 8}},
        "stages": {
            "class_path": "projects.pose.nets.stages.Cascade",
            "init_args": {"paf_stages": 2, "blocks": 1, "widths": [4, 4], "hidden": [6, 6], "norm": True},
        },
    },
}


class Made:
    """Takes a network as a module does."""

    def __init__(self, *, net: Callable[[int, int], PoseNet]) -> None:
        self.net = net


def from_config(net: dict[str, Any]) -> Callable[[int, int], PoseNet]:
    with only_from():
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(Made, "model")
        made: Made = parser.instantiate(parser.parse_object({"model": {"net": net}})).model
    return made.net


def small(**settings: Any) -> PoseNet:
    front = partial(PatchFront, stem=4, width=6, max_width=8, depth=1)
    return PoseNet(6, 4, front=front, stages=partial(Cascade, blocks=1, widths=(4, 4), hidden=(6, 6), **settings))


def test_a_config_makes_networks_that_share_nothing() -> None:
    make = from_config(LIGHT)
    first, second = make(38, 19), make(38, 19)
    assert not {id(value) for value in first.state_dict(keep_vars=True).values()} & {
        id(value) for value in second.state_dict(keep_vars=True).values()
    }
    assert not set(first.modules()) & set(second.modules())
    assert (first.stride, first.divisor) == (8, 32)
    output = first(torch.rand(2, 3, 64, 96))
    assert first.stage_names == tuple(output.stages) == ("paf/1", "paf/2", "heat/1", "heat/2")
    assert {name: tuple(maps.shape) for name, maps in output.stages.items()} == {
        "paf/1": (2, 38, 8, 12), "paf/2": (2, 38, 8, 12), "heat/1": (2, 19, 8, 12), "heat/2": (2, 19, 8, 12),
    }  # fmt: skip


def test_a_mistake_in_a_config_is_named() -> None:
    stages = {"class_path": "projects.pose.nets.stages.TwoBranch", "init_args": {"blocks": 3}}
    with pytest.raises(UserError, match="'blocks' is not accepted"):
        from_config(LIGHT | {"init_args": {**LIGHT["init_args"], "stages": stages}})


def test_every_weight_learns_from_the_sum_of_all_stages() -> None:
    net = small()
    sum(maps.square().sum() for maps in net(torch.rand(2, 3, 32, 48)).stages.values()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="pictures of 32 x 40: expected multiples of 16"):
        small()(torch.rand(1, 3, 32, 40))


def count(channels: tuple[int, int], front: Any, stages: Any) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in PoseNet(*channels, front=front, stages=stages).parameters())


def test_the_network_of_2017_has_as_many_weights_as_others_count() -> None:
    """52,311,446: of the six stages for COCO, as rebuilt by several who load the authors' weights."""
    assert count((38, 19), Vgg19Front, TwoBranch) == 52_311_446


def test_the_network_of_2019_fills_the_file_that_its_authors_published() -> None:
    """BODY_25's has 104,715,850 bytes, names of layers included; its conv4_2 has a PReLU, where ours is VGG's ReLU."""
    size = 4 * (count((52, 26), partial(Vgg19Front, activation="prelu"), Cascade) + 512)
    assert 0.999 < size / 104_715_850 < 1
