"""The pose network as an ONNX file that needs nothing else: a picture in, the maps of the last stages out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.export.graph import export_onnx
from common.export.parity import Parity
from common.run import commit

TASK = "pose"
"""In the metadata: whose runner reads the file."""


class Answer(NamedTuple):
    """What the file says of a batch, at the network's stride."""

    heatmaps: Float[Tensor, "batch maps rows columns"]
    """Of each joint, then of the background."""
    pafs: Float[Tensor, "batch fields rows columns"]
    """x and y of each limb."""


class PoseGraph(nn.Module):
    """What is exported: the last stages of a `PoseModule`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Answer:
        """Maps of pictures, RGB 0..255."""
        output = self.module(image)
        return Answer(output.heats[-1], output.pafs[-1])


def export_pose(module: Any, path: Path) -> Parity:
    """Writes a `PoseModule` as ONNX.

    Input `image` float32 (batch, 3, height, width), RGB 0..255, height and width multiples of `divisor`; outputs
    `heatmaps` (batch, joints + 1, rows, columns) and `pafs` (batch, 2 x limbs, rows, columns), both float32. The
    metadata say what `python -m common.export run` needs.

    Args:
        module: trained.
        path: file to write.
    """
    mean, std = module.standardizer.mean.cpu(), module.standardizer.std.cpu()
    side = module.net.divisor
    noise = torch.randn(2, 3, 2 * side, 3 * side, generator=torch.Generator().manual_seed(0))
    return export_onnx(
        PoseGraph(module),
        (mean[:, None, None] + std[:, None, None] * noise).clamp(0, 255),
        path,
        inputs=["image"],
        outputs=["heatmaps", "pafs"],
        dynamic={0: "batch", 2: f"{side}*rows", 3: f"{side}*columns"},
        metadata={key: json.dumps(value) for key, value in metadata_of(module).items()},
    )


def metadata_of(module: Any) -> dict[str, Any]:
    """Everything that the use of an exported `PoseModule` needs."""
    return {
        "task": TASK,
        "skeleton": module.skeleton.as_dict(),
        "size_hw": list(module.size_hw),
        "stride": module.stride,
        "divisor": module.net.divisor,
        "decoder": asdict(module.decoder),
        "mean": module.standardizer.mean.tolist(),
        "std": module.standardizer.std.tolist(),
        "standardisation": "inside the network",
        "commit": commit(),
    }
