"""Joints move with the pixels, a mirror exchanges the sides, and each picture is changed by its seed alone."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.heatmaps import pixels_to_cells
from projects.pose.augment import PoseAugment
from projects.pose.skeleton import COCO, Skeleton
from projects.pose.targets import TargetOptions, joint_heatmaps, limb_fields

OFF = PoseAugment(**dict.fromkeys((field.name for field in dataclasses.fields(PoseAugment)), 0.0))
MIRROR = dataclasses.replace(OFF, flip=1.0)
GEOMETRY = dataclasses.replace(OFF, flip=0.5, scale=0.5, rotate=40.0, translate=0.15)
MADE_UP = Skeleton(
    name="made up", keypoints=("left_hand", "head", "right_hand"), sigmas=(0.1, 0.1, 0.1),
    limbs=(("head", "left_hand"), ("head", "right_hand")),
)  # fmt: skip
"""Its joints are head, right hand, left hand."""

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def batch(count: int = 6, *, people: int = 3, size_hw: tuple[int, int] = (32, 48), seed: int = 0) -> Batch:
    """Random pictures and people, some joints outside, all at quarters of a pixel, so that mirrors are exact."""
    generator = torch.Generator().manual_seed(seed)
    image = 255 * torch.rand(count, 3, *size_hw, generator=generator)
    ignored = 255.0 * (torch.rand(count, 1, *size_hw, generator=generator) < 0.3)
    shape = (count, people, len(COCO.joints))
    visibility = torch.randint(3, shape, generator=generator).to(torch.uint8)
    points = torch.randint(-40, 240, (*shape, 2), generator=generator) / 4
    seeds = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)
    return image, ignored, points * (visibility > 0)[..., None], visibility, seeds


def same(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(new, old) for new, old in zip(found, expected, strict=True))


def test_all_strengths_zero_change_nothing() -> None:
    *inputs, seeds = batch()
    assert same(OFF(*inputs, seeds, skeleton=COCO), tuple(inputs))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 20), width=st.integers(1, 21), people=st.integers(0, 3))
def test_a_mirror_twice_is_the_identity_exactly(seed: int, height: int, width: int, people: int) -> None:
    *inputs, seeds = batch(4, people=people, size_hw=(height, width), seed=seed)
    flip = dataclasses.replace(OFF, flip=0.5)
    for augment in (flip, MIRROR):
        once = augment(*inputs, seeds, skeleton=COCO)
        assert same(augment(*once, seeds, skeleton=COCO), tuple(inputs))


def test_a_mirror_exchanges_the_hands() -> None:
    image = torch.arange(12.0).view(1, 1, 2, 6).expand(1, 3, 2, 6)
    points = torch.tensor([[[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]])  # head, right hand; the left is not labelled
    visibility = torch.tensor([[[2, 1, 0]]], dtype=torch.uint8)
    mirrored, ignored, moved, seen = MIRROR(
        image, 255.0 * (image[:, :1] > 9), points, visibility, torch.tensor([7]), skeleton=MADE_UP
    )
    assert mirrored[0, 0].tolist() == [[5, 4, 3, 2, 1, 0], [11, 10, 9, 8, 7, 6]]
    assert ignored[0, 0].tolist() == [[0] * 6, [255, 255, 0, 0, 0, 0]]
    assert moved.tolist() == [[[[3, 0], [0, 0], [5, 1]]]]
    assert seen.tolist() == [[[2, 0, 1]]]


@pytest.mark.parametrize("skeleton", [COCO, MADE_UP], ids=lambda skeleton: skeleton.name)
def test_the_mirror_of_rendered_targets_is_rendered_from_the_mirror(skeleton: Skeleton) -> None:
    image, ignored, points, visibility, seeds = batch(2, size_hw=(64, 96))
    points, visibility = points[:, :, : len(skeleton.joints)], visibility[:, :, : len(skeleton.joints)]
    _, _, moved, seen = MIRROR(image, ignored, points, visibility, seeds, skeleton=skeleton)
    limbs = torch.from_numpy(skeleton.limb_joints)
    rendered = []
    for xy, labels in ((points, visibility), (moved, seen)):
        cells = pixels_to_cells(xy, 8)
        heat = joint_heatmaps(cells, labels > 0, size_hw=(8, 12), sigma=1.0)
        rendered.append((heat, limb_fields(cells, labels > 0, limbs=limbs, size_hw=(8, 12), options=TargetOptions())))
    (heat, paf), (heat_after, paf_after) = rendered
    sign = torch.from_numpy(skeleton.mirrored_paf_sign)[:, None, None]
    torch.testing.assert_close(heat_after, heat[:, skeleton.mirrored_heat].flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(paf_after, sign * paf[:, skeleton.mirrored_paf].flip(-1), atol=1e-5, rtol=0)
    assert paf.abs().amax(dim=(0, 2, 3)).min() > 0.1  # something is drawn everywhere


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_joints_and_what_is_ignored_move_with_the_pixels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    point = torch.tensor([48.0, 32.0]) + 24 * (torch.rand(4, 2, generator=generator) - 0.5)
    rows, columns = torch.arange(64.0)[:, None], torch.arange(96.0)
    squares = (columns - point[:, 0, None, None]).square() + (rows - point[:, 1, None, None]).square()
    spots = 255 * torch.exp(-squares / 8)[:, None]
    points = point[:, None, None].repeat(1, 1, len(COCO.joints), 1)
    seen = torch.full(points.shape[:3], 2, dtype=torch.uint8)
    image, ignored, moved, _ = GEOMETRY(
        spots.repeat(1, 3, 1, 1), spots, points, seen, torch.arange(seed, seed + 4), skeleton=COCO
    )
    places = moved[:, 0, 0]
    inside = ((places > 11) & (places < torch.tensor([84.0, 52.0]))).all(dim=1)  # else part of the spot is cut off
    for maps in (image[:, 1], ignored[:, 0]):
        weights = maps / maps.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        found = torch.stack([(weights * columns).sum(dim=(1, 2)), (weights * rows).sum(dim=(1, 2))], dim=1)
        assert (found - places)[inside].abs().amax() < 0.15 if inside.any() else True
    assert torch.allclose(moved, moved[:, :1, :1].expand_as(moved))


def test_figures_keep_their_angles_and_the_zoom_its_range() -> None:
    image, ignored, _, _, _ = batch(40, people=1)
    points = torch.zeros(40, 1, len(COCO.joints), 2)
    points[:, 0, :3] = torch.tensor([[20.0, 14.0], [26.0, 15.0], [22.0, 20.0]])
    visibility = (points > 0).all(dim=-1).to(torch.uint8)
    augment = dataclasses.replace(GEOMETRY, flip=0.0)
    _, _, moved, _ = augment(image, ignored, points, visibility, torch.arange(40), skeleton=COCO)
    after, before = moved[:, 0, :3], points[:, 0, :3]
    zoom = torch.cdist(after, after)[:, [0, 0, 1], [1, 2, 2]] / torch.cdist(before, before)[:, [0, 0, 1], [1, 2, 2]]
    assert torch.allclose(zoom, zoom[:, :1].expand_as(zoom), rtol=1e-3)
    assert 1 / 1.5 <= zoom.min() < 0.75 and 1.35 < zoom.max() <= 1.5
    turn = torch.rad2deg(torch.atan2(*(after[:, 1] - after[:, 0]).flip(-1).T) - np.arctan2(1, 6))
    assert -40.01 <= turn.min() < -30 and 30 < turn.max() <= 40.01


def test_joints_that_leave_the_picture_stay_labelled_where_they_are() -> None:
    image, ignored, points, visibility, seeds = batch()
    _, _, moved, seen = dataclasses.replace(OFF, translate=0.9)(
        image, ignored, points, visibility, seeds, skeleton=COCO
    )
    assert torch.equal(seen, visibility)
    assert not moved[visibility == 0].any()
    shift = (moved - points)[visibility > 0].view(-1, 2)
    by_picture = (moved - points).flatten(1, 2)[torch.arange(6), (visibility > 0).flatten(1).int().argmax(dim=1)]
    assert torch.allclose(shift, by_picture.repeat_interleave((visibility > 0).flatten(1).sum(dim=1), 0), atol=1e-3)
    assert (moved[visibility > 0] > 48).any() and (moved[visibility > 0] < -10).any()


def test_what_is_uncovered_is_black_and_not_ignored() -> None:
    image, ignored = torch.full((8, 3, 24, 32), 200.0), torch.full((8, 1, 24, 32), 255.0)
    nobody = torch.zeros(8, 0, 18, 2), torch.zeros(8, 0, 18, dtype=torch.uint8)
    moved, covered, points, _ = dataclasses.replace(OFF, translate=0.5)(
        image, ignored, *nobody, torch.arange(8), skeleton=COCO
    )
    assert points.shape == (8, 0, 18, 2)
    assert torch.allclose(moved[:, :1] / 200, covered / 255, atol=1e-4)
    assert (covered == 0).flatten(1).any(dim=1).all() and covered.max() == pytest.approx(255, abs=1e-2)


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(PoseAugment)])
def test_each_part_alone_changes_pixels_within_their_range_and_leaves_its_input(part: str) -> None:
    *inputs, seeds = batch()
    before = [tensor.clone() for tensor in inputs]
    augment = dataclasses.replace(OFF, **{part: getattr(PoseAugment(), part)})
    image, ignored, moved, _ = augment(*inputs, seeds, skeleton=COCO)
    assert same(tuple(inputs), tuple(before))
    assert (image - inputs[0]).abs().max() > 1
    assert image.min() >= -1e-3 and image.max() <= 255 + 1e-3
    geometric = part in ("flip", "scale", "rotate", "translate")
    assert torch.equal(moved, inputs[2]) != geometric and torch.equal(ignored, inputs[1]) != geometric


def test_a_picture_does_not_depend_on_its_batch() -> None:
    *inputs, seeds = batch()
    augment = PoseAugment(noise=20.0)
    whole = augment(*inputs, seeds, skeleton=COCO)
    for index in range(len(seeds)):
        one = slice(index, index + 1)
        alone = augment(*(tensor[one] for tensor in inputs), seeds[one], skeleton=COCO)
        for new, old in zip(alone, whole, strict=True):
            assert torch.allclose(new.float(), old[one].float(), atol=1e-3)
    assert not torch.equal(augment(*inputs, seeds + 1, skeleton=COCO)[0], whole[0])


def test_autocast_changes_nothing() -> None:
    *inputs, seeds = batch(2, size_hw=(200, 320))
    expected = PoseAugment()(*inputs, seeds, skeleton=COCO)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(PoseAugment()(*inputs, seeds, skeleton=COCO), expected)


def test_a_strength_out_of_range_is_named() -> None:
    with pytest.raises(UserError, match=r"augmentation rotate = 200\.0: give 0 \(off\) to 180"):
        PoseAugment(rotate=200.0)
