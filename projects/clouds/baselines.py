"""What finds cloud without learning more than one number."""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Num, UInt8
from torch import Tensor, nn

VISIBLE = ("B2", "B3", "B4")
"""Blue, green and red of Sentinel-2."""

STEPS = 256
"""Bins of brightness per doubling."""

DOUBLINGS = (-40, 40)
"""Exponents of 2 between which brightness is told apart, whatever its unit."""


class BrightnessThreshold(nn.Module):
    """What is brighter than a threshold is cloud; the threshold is that with the best IoU on training pixels.

    Brightness is the mean of the visible bands, or of all where none is visible. Its two histograms, of cloud and of
    clear pixels, are what is fitted and kept in the checkpoint. Their bins are 0.27% wide from 2^-40 to 2^40, the
    same for all data: nothing depends on what a first batch holds, on the order of the batches or on the unit, and
    histograms may be added. Darker and brighter pixels share the two outermost bins.

    Args:
        bands: names of the channels, in order.
    """

    cloud: Tensor
    clear: Tensor

    def __init__(self, bands: Sequence[str]) -> None:
        super().__init__()
        visible = [channel for channel, band in enumerate(bands) if band in VISIBLE]
        self.channels = visible or list(range(len(bands)))
        for name in ("cloud", "clear"):
            self.register_buffer(name, torch.zeros(len(_lower_ends()), dtype=torch.int64))

    def forward(self, images: Num[Tensor, "batch bands height width"]) -> Bool[Tensor, "batch height width"]:
        """Where it says cloud; never where brightness is NaN, and nowhere if no cloud was seen in `fit`."""
        return self.brightness(images) >= self.threshold

    def brightness(self, images: Num[Tensor, "batch bands height width"]) -> Float[Tensor, "batch height width"]:
        """In the unit of the images, float32."""
        return images[:, self.channels].float().mean(dim=1)

    @torch.no_grad()
    def fit(self, tiles: Iterable[tuple[Num[Tensor, "_ bands _ _"], UInt8[Tensor, "_ _ _"]]]) -> None:
        """Forgets what it saw before, and counts the pixels of these tiles.

        Args:
            tiles: batches of images (batch, bands, height, width), NaN where missing, and labels (batch, height,
                width): 0 clear, 1 cloud, others do not count.
        """
        self.cloud.zero_()
        self.clear.zero_()
        for images, labels in tiles:
            brightness = self.brightness(images.to(self.cloud.device))
            bins = torch.bucketize(brightness, _lower_ends().to(brightness.device), right=True) - 1
            known = labels.to(brightness.device).where(~brightness.isnan(), 255)
            self.clear += torch.bincount(bins[known == 0], minlength=len(self.clear))
            self.cloud += torch.bincount(bins[known == 1], minlength=len(self.cloud))

    @property
    def threshold(self) -> float:
        """Smallest brightness of cloud: the best of all bins' lower ends, the highest among equals.

        -inf if it is best to say cloud everywhere, inf if no cloud was seen.
        """
        cloud, clear = self.cloud.cpu().double(), self.clear.cpu().double()
        if not cloud.any():
            return math.inf
        found, wrong = (counts.flip(0).cumsum(0) for counts in (cloud, clear))  # from the brightest bin down
        best = (found / (cloud.sum() + wrong)).argmax()
        return float(_lower_ends().flip(0)[best])


def _lower_ends() -> Float[Tensor, " bins"]:
    """Of all bins, from dark to bright."""
    low, high = DOUBLINGS
    ends = torch.exp2(torch.arange(low * STEPS, high * STEPS + 1, dtype=torch.float64) / STEPS).float()
    return torch.cat([torch.full((1,), -math.inf), ends])
