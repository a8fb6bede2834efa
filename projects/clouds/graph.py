"""The clouds' network as an ONNX file that needs nothing else: reflectance in, mask out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from common.export.graph import export_onnx
from common.export.parity import Parity, Tolerance
from common.run import commit

NO_DATA = 255
"""In a mask: the scene has no value here."""

TIE = 1e-4
"""So close to the threshold, a probability may give either class."""


class Answer(NamedTuple):
    """What the file says of a batch."""

    mask: UInt8[Tensor, "batch height width"]
    """1 cloud, 0 clear."""
    probability: Float[Tensor, "batch height width"]
    """Of cloud, 0..1."""


class CloudGraph(nn.Module):
    """What is exported: a module's network with its threshold.

    Args:
        module: a `CloudModule`.
        probability: whether the probability is an output too.
    """

    def __init__(self, module: nn.Module, *, probability: bool = True) -> None:
        super().__init__()
        self.module, self.probability = module, probability
        self.threshold = float(module.threshold)  # type: ignore[arg-type] # a number

    def forward(self, scene: Float[Tensor, "batch bands height width"]) -> Answer | UInt8[Tensor, "batch height width"]:
        """Mask, and probability if wanted, of images as the files have them; NaN counts as average."""
        likely: Tensor = self.module.probability(scene)[:, 0]  # type: ignore[operator] # a CloudModule
        mask = (likely >= self.threshold).to(torch.uint8)
        return Answer(mask, likely) if self.probability else mask


def export_clouds(module: Any, path: Path, *, probability: bool, band_names: Sequence[str] | None = None) -> Parity:
    """Writes a `CloudModule` as ONNX.

    Input `scene` float32 (batch, bands, height, width), as the files have it, NaN allowed. Outputs `mask` uint8 and
    `probability` float32, both (batch, height, width). The metadata say what `python -m common.export run` needs.

    Args:
        module: trained.
        path: file to write.
        probability: without it the file says the mask only, and tiles cannot be blended.
        band_names: of the channels of files that do not name them, as in training.
    """
    mean, std = module.standardizer.mean.cpu(), module.standardizer.std.cpu()
    noise = torch.randn(2, len(mean), 45, 70, generator=torch.Generator().manual_seed(0))  # no multiples of anything
    names = ["mask", "probability"] if probability else ["mask"]
    return export_onnx(
        CloudGraph(module, probability=probability),
        mean[:, None, None] + std[:, None, None] * noise,
        path,
        inputs=["scene"],
        outputs=names,
        dynamic={0: "batch", 2: "height", 3: "width"},
        metadata={key: json.dumps(value) for key, value in metadata_of(module, band_names).items()},
        tolerance=Tolerance(
            ties=lambda scenes: {"mask": (module.probability(scenes)[:, 0] - module.threshold).abs() < TIE}
        ),
    )


def metadata_of(module: Any, band_names: Sequence[str] | None) -> dict[str, Any]:
    """Everything that the use of an exported `CloudModule` needs."""
    return {
        "bands": list(module.bands),
        "band_names": None if band_names is None else list(band_names),
        "mean": module.standardizer.mean.tolist(),
        "std": module.standardizer.std.tolist(),
        "standardisation": "inside the network",
        "tile": list(module.tile_hw),
        "overlap": list(module.overlap_hw),
        "blend": module.blend,
        "threshold": module.threshold,
        "classes": ["clear", "cloud"],
        "nodata": NO_DATA,
        "commit": commit(),
    }
