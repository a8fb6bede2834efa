import dataclasses

import pytest
import torch

from common.errors import UserError
from projects.clouds.augment import Haze

BANDS = ("B4", "B3", "B2", "B8", "B10")
UNIT = torch.tensor([0.1, 0.12, 0.14, 0.2, 0.04])  # 0.12 on average
ALWAYS = Haze(probability=1.0, strength=0.5, exponent=1.0)


def pictures(batch: int = 64, *, size_hw: tuple[int, int] = (48, 72)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 5, *size_hw, generator=generator), torch.randint(2**62, (batch,), generator=generator)


def veil(haze: Haze, size_hw: tuple[int, int] = (48, 72)) -> torch.Tensor:
    images, seeds = pictures(size_hw=size_hw)
    return haze(torch.zeros_like(images), seeds, bands=BANDS, unit=UNIT)


def test_haze_adds_light_up_to_its_strength_and_takes_none() -> None:
    added = veil(ALWAYS)
    thickest = added[:, 2].amax(dim=(1, 2))
    assert added.min() == 0 and 0.045 < thickest.max() <= 0.5 * 0.12 + 1e-6
    assert thickest.min() < 0.01  # thin haze too
    images, seeds = pictures()
    assert torch.allclose(ALWAYS(images, seeds, bands=BANDS, unit=UNIT), images + added, atol=1e-6)


def test_haze_is_bluish_by_the_wavelength_and_unseen_by_the_cirrus_band() -> None:
    added = veil(ALWAYS)
    share = added.sum(dim=(0, 2, 3)) / added[:, 2].sum()
    assert torch.allclose(share, torch.tensor([490 / 665, 490 / 560, 1, 490 / 842, 0]), atol=1e-4)
    assert dataclasses.replace(ALWAYS, exponent=2.0).weights(["B8"]).item() == pytest.approx((490 / 842) ** 2)
    assert dataclasses.replace(ALWAYS, exponent=0.0).weights(BANDS).tolist() == [1, 1, 1, 1, 0]


def test_haze_is_smooth_and_differs_between_places() -> None:
    blue = veil(ALWAYS, (96, 96))[:, 2]
    blue = blue / blue.amax(dim=(1, 2), keepdim=True)
    assert blue.diff(dim=1).abs().max() < 0.08 and blue.diff(dim=2).abs().max() < 0.08
    assert (blue.amin(dim=(1, 2)) < 0.4).all()


def test_the_unit_of_the_data_is_the_caller_s() -> None:
    images, seeds = pictures(4)
    small = ALWAYS(images, seeds, bands=BANDS, unit=UNIT)
    large = ALWAYS(images * 10_000, seeds, bands=BANDS, unit=UNIT * 10_000)
    assert torch.allclose(large, small * 10_000, rtol=1e-4)


def test_a_share_of_the_images_gets_haze_each_by_its_seed_alone() -> None:
    images, seeds = pictures(200, size_hw=(8, 8))
    haze = dataclasses.replace(ALWAYS, probability=0.3)
    before = images.clone()
    whole = haze(images, seeds, bands=BANDS, unit=UNIT)
    assert torch.equal(images, before)
    hazy = (whole != images).flatten(1).any(dim=1)
    assert 40 <= hazy.sum() <= 80
    for index in (0, 1, 2, 3, 4, 5, 6, 7):
        one = slice(index, index + 1)
        assert torch.equal(haze(images[one], seeds[one], bands=BANDS, unit=UNIT), whole[one])


@pytest.mark.parametrize("part", ["probability", "strength"])
def test_zero_is_off_and_asks_no_name(part: str) -> None:
    images, seeds = pictures(4)
    off = dataclasses.replace(ALWAYS, **{part: 0.0})
    assert off(images, seeds, bands=["a", "b", "c", "d", "e"], unit=UNIT) is images


def test_missing_stays_missing_and_precision_stays() -> None:
    images, seeds = pictures(4)
    images[:, 0, 3, 4] = torch.nan
    hazy = ALWAYS(images, seeds, bands=BANDS, unit=UNIT)
    assert torch.equal(hazy.isnan(), images.isnan())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ALWAYS(images, seeds, bands=BANDS, unit=UNIT)
    assert torch.equal(cast.nan_to_num(), hazy.nan_to_num())
    half = ALWAYS(images.half(), seeds, bands=BANDS, unit=UNIT)
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), hazy, atol=2e-3, equal_nan=True)


def test_one_pixel_and_no_image() -> None:
    images, seeds = pictures(3, size_hw=(1, 1))
    assert ALWAYS(images, seeds, bands=BANDS, unit=UNIT).isfinite().all()
    assert len(ALWAYS(images[:0], seeds[:0], bands=BANDS, unit=UNIT)) == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"band red, thermal is not known; .*B2.*switch haze off"):
        ALWAYS.weights(["red", "B2", "thermal"])
    for name, value in (("probability", 1.5), ("strength", -1.0), ("exponent", float("nan"))):
        with pytest.raises(UserError, match=f"haze {name} = "):
            Haze(**{name: value})
