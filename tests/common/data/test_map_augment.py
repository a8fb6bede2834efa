import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from common.data.map_augment import MapAugment
from common.errors import UserError

OFF = MapAugment(**dict.fromkeys((field.name for field in dataclasses.fields(MapAugment)), 0.0))
ALL = MapAugment(flip=0.5, turn=0.75, scale=0.5, brightness=0.3, gain=0.2)
Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def maps(batch: int = 6, *, bands: int = 4, size_hw: tuple[int, int] = (16, 16), seed: int = 0) -> Maps:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, bands, *size_hw, generator=generator)
    labels = torch.tensor([0, 1, 255], dtype=torch.uint8)[torch.randint(3, (batch, *size_hw), generator=generator)]
    return images, labels, torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)


def symmetries(image: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(image[..., ::step], turns, (-2, -1)) for step in (1, -1) for turns in range(4)]


def test_all_strengths_zero_change_nothing() -> None:
    images, labels, seeds = maps()
    changed = OFF(images, labels, seeds)
    assert torch.equal(changed[0], images) and torch.equal(changed[1], labels)


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(MapAugment)])
def test_each_part_alone_changes_images_and_leaves_its_input(part: str) -> None:
    images, labels, seeds = maps()
    before = images.clone(), labels.clone()
    changed, moved = dataclasses.replace(OFF, **{part: getattr(ALL, part)})(images, labels, seeds)
    assert torch.equal(images, before[0]) and torch.equal(labels, before[1])
    assert not torch.equal(changed, images)
    assert torch.equal(moved, labels) == (part in ("brightness", "gain"))


def test_flips_and_turns_are_the_eight_symmetries_of_the_square_alike_for_image_and_labels() -> None:
    images, labels, seeds = maps(160, bands=2, size_hw=(5, 5))
    changed, moved = dataclasses.replace(OFF, flip=0.5, turn=0.75)(images, labels, seeds)
    found = []
    for old, new, old_label, new_label in zip(images, changed, labels, moved, strict=True):
        which = [np.array_equal(view, new.numpy()) for view in symmetries(old.numpy())].index(True)
        assert np.array_equal(symmetries(old_label.numpy())[which], new_label.numpy())
        found.append(which)
    counts = np.bincount(found, minlength=8)
    assert counts.min() >= 8 and counts.max() <= 36  # 20 each expected: p < 0.01 in all for a fair draw


def test_quarter_turns_come_alike_and_flips_in_both_directions() -> None:
    images, labels, seeds = maps(160, bands=1, size_hw=(5, 5))
    for part, views in (({"turn": 0.75}, [0, 1, 2, 3]), ({"flip": 0.5}, [0, 2, 4, 6])):
        changed, _ = dataclasses.replace(OFF, **part)(images, labels, seeds)
        pairs = zip(images, changed, strict=True)
        found = [[np.array_equal(view, new) for view in symmetries(old.numpy())].index(True) for old, new in pairs]
        counts = np.bincount(found, minlength=8)
        assert counts.sum() == counts[views].sum() and counts[views].min() >= 24  # 40 each expected


@settings(deadline=None)
@given(seed=st.integers(-(2**63), 2**63 - 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_flips_twice_and_turns_four_times_are_the_identity(seed: int, height: int, width: int) -> None:
    images, labels, _ = maps(1, size_hw=(height, width))
    seeds = torch.tensor([seed])
    for part, times in (({"flip": 0.5}, 2), ({"turn": 1.0}, 4)):
        changed, moved = images, labels
        for _ in range(times):
            changed, moved = dataclasses.replace(OFF, **part)(changed, moved, seeds)
        assert torch.equal(changed, images) and torch.equal(moved, labels)


def test_what_is_not_square_is_turned_by_half_or_not_at_all() -> None:
    images, labels, seeds = maps(40, size_hw=(4, 7))
    changed, moved = dataclasses.replace(OFF, turn=0.5)(images, labels, seeds)
    stays = (changed == images).flatten(1).all(dim=1)
    assert 8 < stays.sum() < 32
    for new, old in ((changed, images), (moved, labels)):
        assert torch.equal(new[~stays], old[~stays].flip(-1, -2))


def zoom_of(seeds: torch.Tensor, augment: MapAugment) -> np.ndarray:
    """Measured, not asked: how a ramp grows flatter."""
    ramp = torch.arange(101.0).expand(len(seeds), 1, 101, 101)
    changed, _ = augment(ramp, torch.zeros(len(seeds), 101, 101, dtype=torch.uint8), seeds)
    return (2 / (changed[:, 0, 50, 51] - changed[:, 0, 50, 49])).numpy()


def test_zoom_is_that_of_scipy_about_the_centre() -> None:
    images, labels, seeds = maps(8, bands=2, size_hw=(20, 33))
    augment = dataclasses.replace(OFF, scale=1.0)
    changed, moved = augment(images, labels, seeds)
    zooms = zoom_of(seeds, augment)
    assert zooms.min() < 0.8 and zooms.max() > 1.25 and zooms.min() >= 0.5 and zooms.max() <= 2
    rows, columns = np.mgrid[:20, :33].astype(float)
    for image, label, new, new_label, zoom in zip(images, labels, changed, moved, zooms, strict=True):
        at = [(rows - 9.5) / zoom + 9.5, (columns - 16) / zoom + 16]
        for band, new_band in zip(image.numpy(), new.numpy(), strict=True):
            np.testing.assert_allclose(new_band, map_coordinates(band, at, order=1, mode="reflect"), atol=1e-4)
        nearest = np.rint(at).astype(int)
        inside = (nearest >= 0).all(axis=0) & (nearest[0] < 20) & (nearest[1] < 33)
        sure = (np.abs(np.abs(np.stack(at) - nearest) - 0.5) > 1e-3).all(axis=0)
        expected = np.where(inside, label.numpy()[nearest[0].clip(0, 19), nearest[1].clip(0, 32)], 255)
        np.testing.assert_array_equal(new_label.numpy()[sure], expected[sure])
        assert sure.mean() > 0.9 and (inside.mean() < 1) == (zoom < 0.95)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**62), height=st.integers(1, 24), width=st.integers(1, 24),
    values=st.lists(st.integers(0, 255), min_size=1, max_size=4),
)  # fmt: skip
def test_no_label_is_invented(seed: int, height: int, width: int, values: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor(values, dtype=torch.uint8)
    labels = classes[torch.randint(len(values), (3, height, width), generator=generator)]
    images = labels[:, None].float() / 255
    changed, moved = dataclasses.replace(ALL, scale=4.0)(images, labels, torch.arange(seed, seed + 3))
    assert changed.shape == images.shape and moved.shape == labels.shape and moved.dtype == torch.uint8
    for old, new in zip(labels, moved, strict=True):
        assert set(new.unique().tolist()) <= {*old.unique().tolist(), 255}


def test_what_is_zoomed_from_a_missing_pixel_is_missing_and_not_counted() -> None:
    images, _, seeds = maps(8)
    labels = torch.ones(8, 16, 16, dtype=torch.uint8)
    images[:, 1, 5, 5] = torch.nan
    changed, moved = ALL(images, labels, seeds)
    missing = changed.isnan().any(dim=1)
    assert missing.flatten(1).any(dim=1).all() and missing.float().mean() < 0.15
    assert (moved[missing] == 255).all()


def test_brightness_is_one_factor_and_gain_one_per_band_both_within_their_range() -> None:
    images, labels, seeds = maps(64, bands=3)
    common, _ = dataclasses.replace(OFF, brightness=0.25)(images, labels, seeds)
    own, _ = dataclasses.replace(OFF, gain=0.25)(images, labels, seeds)
    for changed in (common, own):
        factor = (changed / images).flatten(2)
        assert torch.allclose(factor, factor[..., :1].expand_as(factor), rtol=1e-5)
        assert 0.8 <= factor.min() < 0.82 and 1.22 < factor.max() <= 1.25
    per_band = (common / images).flatten(2)[..., 0], (own / images).flatten(2)[..., 0]
    assert torch.allclose(per_band[0], per_band[0][:, :1].expand_as(per_band[0]), rtol=1e-5)
    assert np.abs(np.corrcoef(per_band[1].numpy().T)[0, 1]) < 0.4


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, labels, seeds = maps()
    whole = ALL(images, labels, seeds)
    for index in range(len(seeds)):
        one = slice(index, index + 1)
        alone = ALL(images[one], labels[one], seeds[one])
        assert torch.equal(alone[0], whole[0][one]) and torch.equal(alone[1], whole[1][one])
    assert not torch.equal(ALL(images, labels, seeds + 1)[0], whole[0])


def test_nor_on_its_layout_in_memory() -> None:
    images, labels, seeds = maps()
    changed = ALL(images.to(memory_format=torch.channels_last), labels, seeds)
    for new, old in zip(changed, ALL(images, labels, seeds), strict=True):
        assert torch.allclose(new.float(), old.float(), atol=1e-6)


def test_geometry_is_float32_whatever_the_precision() -> None:
    images, labels, seeds = maps(2, size_hw=(700, 700))  # beyond what half precision can number
    expected = ALL(images, labels, seeds)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = ALL(images, labels, seeds)
    assert torch.equal(cast[0], expected[0]) and torch.equal(cast[1], expected[1])
    half, moved = ALL(images.half(), labels, seeds)
    assert half.dtype == torch.float16 and torch.equal(moved, expected[1])
    assert torch.allclose(half.float(), expected[0], atol=2e-3)


def test_an_empty_batch_stays_empty() -> None:
    images, labels, seeds = maps(1)
    changed, moved = ALL(images[:0], labels[:0], seeds[:0])
    assert changed.shape == (0, 4, 16, 16) and moved.shape == (0, 16, 16)


@pytest.mark.parametrize(("name", "value"), [("flip", 1.5), ("scale", -0.1), ("gain", float("nan")), ("scale", 5.0)])
def test_a_strength_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"augmentation {name} = "):
        MapAugment(**{name: value})
