import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.augment import WindowAugment, uniforms
from common.errors import UserError

OFF = WindowAugment(**dict.fromkeys((field.name for field in dataclasses.fields(WindowAugment)), 0.0))
GEOMETRY = dataclasses.replace(OFF, flip=0.5, scale=0.3, rotate=30.0, translate=0.1)
PARTS = {field.name: getattr(WindowAugment(), field.name) for field in dataclasses.fields(WindowAugment)}
Window = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def windows(batch: int = 6, *, time: int = 3, size_hw: tuple[int, int] = (24, 32), seed: int = 0) -> Window:
    generator = torch.Generator().manual_seed(seed)
    frames = 255 * torch.rand(batch, time, 3, *size_hw, generator=generator)
    visible = torch.rand(batch, time, generator=generator) < 0.8
    points = torch.rand(batch, time, 2, generator=generator) * torch.tensor([size_hw[1] - 1.0, size_hw[0] - 1.0])
    seeds = torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)
    return frames, points * visible[..., None], visible, seeds


def spots(points: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    rows, columns = (torch.arange(length, dtype=torch.float32) for length in size_hw)
    x, y = points[..., 0, None, None], points[..., 1, None, None]
    bell = torch.exp(-((columns - x).square() + (rows[:, None] - y).square()) / (2 * 2.0**2))
    return 200 * bell[:, :, None].expand(-1, -1, 3, -1, -1)


def centroids(frames: torch.Tensor) -> torch.Tensor:
    grey = frames.mean(dim=2)
    mass = grey.sum(dim=(2, 3))
    rows, columns = (torch.arange(length, dtype=torch.float32) for length in grey.shape[2:])
    return (
        torch.stack([(grey.sum(dim=2) * columns).sum(dim=2), (grey.sum(dim=3) * rows).sum(dim=2)], dim=2)
        / mass[..., None]
    )


def test_what_a_seed_draws_never_changes() -> None:
    frames, points, visible, _ = windows(2)
    frames, moved, still_visible = WindowAugment()(frames, points, visible, torch.tensor([1, -2]))
    pixels = [[122.7148, 95.0336, 67.6661], [133.8770, 110.1184, 201.9377]]
    assert torch.allclose(frames[:, 1, :, 10, 12], torch.tensor(pixels), atol=1e-2)
    assert torch.allclose(moved[[0, 1], [0, 1]], torch.tensor([[22.0936, 8.1621], [28.6449, 5.5764]]), atol=1e-3)
    assert still_visible.tolist() == [[True, False, False], [False, True, True]]


def test_all_strengths_zero_change_nothing() -> None:
    frames, points, visible, seeds = windows()
    changed = OFF(frames, points, visible, seeds)
    assert all(torch.equal(new, old) for new, old in zip(changed, (frames, points, visible), strict=True))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_changes_pixels_within_their_range_and_leaves_its_input(part: str) -> None:
    frames, points, visible, seeds = windows()
    before = frames.clone()
    changed, _, _ = dataclasses.replace(OFF, **{part: PARTS[part]})(frames, points, visible, seeds)
    assert torch.equal(frames, before)
    assert (changed - frames).abs().max() > 1
    assert changed.min() >= -1e-3 and changed.max() <= 255 + 1e-3


def test_flip_twice_is_the_identity() -> None:
    frames, points, visible, seeds = windows(12)
    flip = dataclasses.replace(OFF, flip=0.5)
    once = flip(frames, points, visible, seeds)
    again = flip(*once, seeds)
    assert torch.allclose(again[0], frames, atol=0.05) and torch.allclose(again[1], points, atol=1e-3)
    assert torch.equal(again[2], visible)
    flipped = (once[0] - frames.flip(-1)).abs().amax(dim=(1, 2, 3, 4)) < 0.05
    assert 0 < flipped.sum() < 12
    assert torch.allclose(once[1][flipped, :, 0], (31 - points[flipped, :, 0]) * visible[flipped], atol=1e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_points_move_with_the_pixels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.tensor([48.0, 32.0]) + 16 * (torch.rand(2, 3, 2, generator=generator) - 0.5)
    seeds = torch.randint(2**62, (2,), generator=generator)
    visible = torch.ones(2, 3, dtype=torch.bool)
    frames, moved, still_visible = GEOMETRY(spots(points, (64, 96)), points, visible, seeds)
    inside = ((moved > 9) & (moved < torch.tensor([86.0, 54.0]))).all(dim=2)  # else part of the spot is cut off
    assert still_visible[inside].all()
    assert (centroids(frames)[inside] - moved[inside]).abs().max() < 0.1 if inside.any() else True


def test_geometry_keeps_angles_and_stays_within_its_zoom() -> None:
    frames, _, _, seeds = windows(16, size_hw=(64, 96))
    triangle = torch.tensor([[40.0, 28.0], [52.0, 30.0], [45.0, 38.0]]).expand(16, -1, -1)
    _, moved, visible = GEOMETRY(frames, triangle, torch.ones(16, 3, dtype=torch.bool), seeds)
    assert visible.all()
    zoom = torch.cdist(moved, moved)[:, [0, 0, 1], [1, 2, 2]] / torch.cdist(triangle, triangle)[:, [0, 0, 1], [1, 2, 2]]
    assert torch.allclose(zoom, zoom[:, :1].expand_as(zoom), rtol=1e-4)
    assert 1 / 1.3 <= zoom.min() < 0.95 and 1.05 < zoom.max() <= 1.3


def test_points_that_leave_the_picture_are_absent() -> None:
    frames, points, visible, seeds = windows(40)
    _, moved, still_visible = dataclasses.replace(GEOMETRY, translate=0.9)(frames, points, visible, seeds)
    assert 0 < still_visible.sum() < visible.sum()
    assert not (still_visible & ~visible).any()
    assert not moved[~still_visible].any()
    assert ((moved >= -0.5) & (moved <= torch.tensor([31.5, 23.5]))).all()


def test_what_is_uncovered_is_black() -> None:
    frames = torch.full((8, 1, 3, 24, 32), 200.0)
    points, visible = torch.zeros(8, 1, 2), torch.zeros(8, 1, dtype=torch.bool)
    moved, _, _ = dataclasses.replace(OFF, translate=0.5)(frames, points, visible, torch.arange(8))
    assert (moved == 0).any(dim=3).any() and moved.max() == pytest.approx(200, abs=1e-2)


def test_a_window_does_not_depend_on_its_batch() -> None:
    frames, points, visible, seeds = windows()
    augment = WindowAugment(noise=20.0)
    whole = augment(frames, points, visible, seeds)
    for index in range(len(seeds)):
        one = slice(index, index + 1)
        alone = augment(frames[one], points[one], visible[one], seeds[one])
        assert torch.allclose(alone[0], whole[0][one], atol=1e-3)
        assert torch.equal(alone[2], whole[2][one]) and torch.allclose(alone[1], whole[1][one], atol=1e-4)
    assert not torch.equal(augment(frames, points, visible, seeds + 1)[0], whole[0])


def test_all_frames_of_a_window_change_alike_but_for_the_noise() -> None:
    frames, points, visible, seeds = windows()
    frames, points, visible = (
        frames[:, :1].repeat(1, 3, 1, 1, 1),
        points[:, :1].repeat(1, 3, 1),
        visible[:, :1].repeat(1, 3),
    )
    alike, moved, still_visible = dataclasses.replace(WindowAugment(), noise=0.0)(frames, points, visible, seeds)
    for values in (alike, moved, still_visible.float()):
        assert torch.allclose(values, values[:, :1].expand_as(values), atol=1e-3)
    noisy, _, _ = dataclasses.replace(OFF, noise=20.0)(frames, points, visible, seeds)
    assert ((noisy - noisy[:, :1]).abs().amax(dim=(2, 3, 4))[:, 1:] > 1).all()


def test_autocast_changes_nothing() -> None:
    inputs = windows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = WindowAugment()(*inputs)
    assert all(torch.equal(new, old) for new, old in zip(cast, WindowAugment()(*inputs), strict=True))


def test_noise_has_its_standard_deviation() -> None:
    frames, points, visible, seeds = windows(16, size_hw=(48, 64))
    grey = torch.full_like(frames, 127.0)
    noisy, _, _ = dataclasses.replace(OFF, noise=20.0)(grey, points, visible, seeds)
    expected = 20 * uniforms(seeds, 14, stream=0)[:, 12].float()
    assert torch.allclose((noisy - 127)[:, :, 0].flatten(1).std(dim=1), expected, rtol=0.05)


def test_colour_is_one_map_for_all_pixels_that_keeps_grey_grey_without_gain() -> None:
    frames, points, visible, seeds = windows(4)
    colour = dataclasses.replace(OFF, brightness=0.1, contrast=0.3, saturation=0.5)
    grey = frames.mean(dim=2, keepdim=True).expand_as(frames).clamp(60, 190)
    changed, _, _ = colour(grey, points, visible, seeds)
    assert torch.allclose(changed[:, :, 0], changed[:, :, 2], atol=1e-3)
    draws = 2 * uniforms(seeds, 14, stream=0)[:, 5:].float().view(4, -1, 1, 1, 1, 1) - 1
    expected = 127.5 + (1 + 0.3 * draws[:, 1]) * (grey - 127.5) + 25.5 * draws[:, 2]
    assert torch.allclose(changed, expected, atol=1e-2)


def test_uniforms_use_the_whole_seed_and_differ_between_streams() -> None:
    seeds = torch.tensor([1, 1 + 2**32, -1, 1])
    rows = uniforms(seeds, 3, stream=0)
    assert torch.equal(rows[0], rows[3]) and len(set(rows[:, 0].tolist())) == 3
    assert not torch.isin(uniforms(seeds, 3, stream=1), rows).any()
    assert rows.min() >= 0 and rows.max() < 1
    assert uniforms(seeds[:0], 3, stream=0).shape == (0, 3)


@pytest.mark.parametrize(("name", "value"), [("flip", 1.5), ("noise", -1.0), ("blur", float("nan"))])
def test_a_strength_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"augmentation {name} = "):
        WindowAugment(**{name: value})
