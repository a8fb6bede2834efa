"""A pose network that finds coloured spots, as it is exported: what it should say of a picture is known."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.data.standardize import Standardizer
from projects.pose.decode.decoder import Decoder
from projects.pose.nets.interface import PoseOutput
from projects.pose.skeleton import Skeleton

HANDS = Skeleton(
    name="hands", keypoints=("left_hand", "head", "right_hand"), sigmas=(0.1, 0.1, 0.1),
    limbs=(("head", "right_hand"), ("head", "left_hand")),
)  # fmt: skip
"""Its joints are head, right hand, left hand."""


class SpotNet(nn.Module):
    """Red is a head, green a right hand to its left in the picture, blue a left hand to its right."""

    stride, divisor = 8, 16

    def forward(self, x: Tensor) -> PoseOutput:
        joints = functional.avg_pool2d(x, self.stride)
        heat = torch.cat([joints, 1 - joints.amax(dim=1, keepdim=True)], dim=1)
        one, none = torch.ones_like(joints[:, :1]), torch.zeros_like(joints[:, :1])
        paf = torch.cat([-one, none, one, none], dim=1)
        return PoseOutput((paf * 0, paf), (heat * 0, heat))


class SpotModule(nn.Module):
    """Has what `PoseModule` has and `export_pose` needs."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.skeleton, self.decoder = SpotNet(), HANDS, Decoder(threshold=0.2, min_joints=2)
        self.size_hw, self.stride = (96, 128), self.net.stride
        self.standardizer = Standardizer.from_statistics([60.0, 70.0, 80.0], [30.0, 40.0, 50.0])

    def forward(self, images: Tensor) -> PoseOutput:
        x = self.standardizer(images) * self.standardizer.std[:, None, None] + self.standardizer.mean[:, None, None]
        output: PoseOutput = self.net(x / 255)
        return output


def changed(source: Path, path: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """A copy of an exported network with other metadata."""
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    change(metadata)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def replaced(key: str, value: object) -> Callable[[dict[str, str]], None]:
    """Puts a JSON value into metadata, or text as it is; None takes the key away."""

    def change(metadata: dict[str, str]) -> None:
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value if isinstance(value, str) else json.dumps(value)

    return change
