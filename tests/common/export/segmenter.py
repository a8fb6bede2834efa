"""A small segmentation network as it is trained and exported, with random weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.export.graph import export_onnx
from common.export.parity import Parity, Tolerance

THRESHOLD = 0.4
BANDS = ["B4", "B3", "B8"]
METADATA = {
    "bands": BANDS,
    "band_names": ["B2", "B3", "B4", "B8"],
    "tile": [32, 48],
    "overlap": [8, 12],
    "blend": "hann",
    "threshold": THRESHOLD,
    "nodata": 255,
    "classes": ["clear", "cloud"],
    "note": "ü",
}


class Segmenter(nn.Module):
    """Raw bands (B, 3, H, W), NaN where missing -> mask and probability (B, H, W), for any H and W."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(torch.tensor([0.2, 0.3, 0.4])), nn.Buffer(torch.tensor([0.1, 0.2, 0.2]))
        self.fine = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.join = nn.Sequential(nn.Conv2d(24, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def probability(self, scene: Tensor) -> Tensor:
        x = (scene - self.mean[:, None, None]) / self.std[:, None, None]
        x = torch.where(torch.isfinite(x), x, 0)
        height, width = x.shape[-2:]
        fine = self.fine(functional.pad(x, (0, -width % 2, 0, -height % 2)))
        up = functional.interpolate(self.coarse(functional.max_pool2d(fine, 2)), scale_factor=2.0, mode="bilinear")
        logits = self.head(self.join(torch.cat([fine, up], dim=1)))[..., :height, :width]
        return torch.sigmoid(logits[:, 1] - logits[:, 0])

    def forward(self, scene: Tensor) -> tuple[Tensor, Tensor]:
        probability = self.probability(scene)
        return (probability >= THRESHOLD).to(torch.uint8), probability

    def ties(self, scene: Tensor) -> dict[str, Tensor]:
        return {"mask": (self.probability(scene) - THRESHOLD).abs() < 1e-4}


@dataclass(frozen=True)
class Exported:
    module: Segmenter
    path: Path
    parity: Parity


def blobs(*shape: int, seed: int = 0) -> np.ndarray:
    """Reflectance (..., H, W) with bright patches, in 0..1."""
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    flat = noise.reshape(-1, 1, *shape[-2:])
    smooth = functional.avg_pool2d(flat, 9, stride=1, padding=4, count_include_pad=False).reshape(shape)
    return (0.3 + 4 * (smooth - 0.5) + 0.1 * noise).clamp(0.01, 1).numpy()


def export_segmenter(path: Path) -> Exported:
    """Answers are spread around the threshold."""
    torch.manual_seed(0)
    module, scenes = Segmenter().eval(), torch.from_numpy(blobs(2, 3, 27, 35))
    with torch.no_grad():
        module.head.weight *= 3 / torch.logit(module.probability(scenes)).std()
        module.head.bias[1] -= torch.logit(module.probability(scenes)).median()
    scenes[0, 1, 3:7, 5:20] = torch.nan
    parity = export_onnx(
        module,
        scenes,
        path,
        inputs=["scene"],
        outputs=["mask", "probability"],
        dynamic={0: "batch", 2: "height", 3: "width"},
        metadata={key: json.dumps(value) for key, value in METADATA.items()},
        tolerance=Tolerance(ties=module.ties),
    )
    return Exported(module, path, parity)
