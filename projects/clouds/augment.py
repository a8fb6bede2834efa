"""Synthetic haze: the cloud's harmless cousin, which a network must learn to see through."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from common.data.augment import uniforms
from common.errors import UserError
from projects.clouds.bands import BANDS, WAVELENGTHS

_CENTRES_UM = dict(zip(BANDS, WAVELENGTHS.tolist(), strict=True))
_BLIND = "B10"  # water vapour hides from it whatever lies as low as haze
_STREAM = 3  # of the seeds' random numbers; MapAugment has 2
_CELLS = 5  # of the noise along each side; a picture then has about two patches of haze across
_LIMITS = {"probability": 1.0, "strength": 4.0, "exponent": 4.0}


@dataclass(frozen=True)
class Haze:
    """Adds a smooth veil of haze, bluish white, to some images; their labels stay as they are.

    The light that haze scatters adds to what the ground reflects, and falls with the wavelength to the power of
    `exponent` (Chavez 1988, "An improved dark-object subtraction technique for atmospheric scattering correction of
    multispectral data": 4 very clear air, 2 clear, 1 moderate, 0.7 hazy, 0.5 very hazy). That it also dims the ground
    is left out: a haze that hides it is a cloud.

    What is drawn for an image depends on its seed alone. 0 for `probability` or `strength` switches it off.

    Args:
        probability: share of the images that get haze.
        strength: of the strongest haze, at its thickest, in the blue band; in standard deviations of the training
            pixels, averaged over the bands.
        exponent: how blue it is: 4 as of very clear air, 1 of moderate haze, 0 is white.

    Raises:
        UserError: if a value is outside its range.
    """

    probability: float = 0.3
    strength: float = 0.5
    exponent: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, limit = getattr(self, field.name), _LIMITS[field.name]
            if not 0 <= value <= limit:
                raise UserError(f"haze {field.name} = {value}: give 0 to {limit:g}")

    def __call__(
        self,
        images: Float[Tensor, "batch channels height width"],
        seeds: Int[Tensor, " batch"],
        *,
        bands: Sequence[str],
        unit: Float[Tensor, " channels"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Images with haze, never darker than before.

        Args:
            images: reflectance in any unit, not standardised; NaN stays NaN.
            seeds: one per image, different in every epoch.
            bands: names of the channels, Sentinel-2's: "B2", "B8A".
            unit: standard deviation of each band in the unit of `images`, as a standardiser has it. Its mean is one
                yardstick for all bands, whose haze differs by the wavelength alone.

        Raises:
            UserError: if the wavelength of a band is not known.
        """
        if not self.probability or not self.strength:
            return images
        spectrum = self.weights(bands).float().to(images.device) * unit.float().mean()
        draws = uniforms(seeds, 2 + _CELLS**2, stream=_STREAM)
        chosen = (draws[:, 0] < self.probability).nonzero()[:, 0]
        if not len(chosen):
            return images
        amount, noise = (self.strength * draws[chosen, 1]).float(), draws[chosen, 2:].float()
        noise = noise.view(-1, 1, _CELLS, _CELLS).to(images.device)
        field = functional.interpolate(noise, images.shape[-2:], mode="bicubic", align_corners=True).clamp_(0, 1)
        veil = field * (amount.to(images.device)[:, None] * spectrum)[:, :, None, None]
        return images.index_add(0, chosen.to(images.device), veil.to(images.dtype))

    def weights(self, bands: Sequence[str]) -> Float64[Tensor, " channels"]:
        """Light that haze adds to each band, 1 at the blue band B2."""
        unknown = [band for band in bands if band not in _CENTRES_UM]
        if unknown:
            raise UserError(
                f"haze: the wavelength of band {', '.join(unknown)} is not known; expected Sentinel-2's names, "
                f"{', '.join(_CENTRES_UM)}. Name the bands so, or switch haze off with probability 0"
            )
        ratios = [_CENTRES_UM["B2"] / _CENTRES_UM[band] for band in bands]
        seen = torch.tensor([band != _BLIND for band in bands])
        return torch.tensor(ratios, dtype=torch.float64) ** self.exponent * seen
