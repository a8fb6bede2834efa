"""What a network is shown besides a picture is undone exactly, cell by cell, before its answers are averaged."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from projects.pose.skeleton import COCO
from projects.pose.tta import TestTime, averaged_maps

Net = Callable[[Tensor], tuple[Tensor, Tensor]]
STRIDE = 8


def pictures(*size_hw: int, count: int = 2) -> Tensor:
    return 255 * torch.rand(count, 3, *size_hw, generator=torch.Generator().manual_seed(sum(size_hw)))


def shown(net: Net, images: Tensor, *, flip: bool = False, scales: tuple[float, ...] = (1.0,)) -> tuple[Tensor, Tensor]:
    return averaged_maps(net, images, skeleton=COCO, flip=flip, scales=scales, divisor=STRIDE)


def other(name: str) -> str:
    """The mirror image of a joint, by its name."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def mirrored(heat: Tensor, paf: Tensor) -> tuple[Tensor, Tensor]:
    """What a perfect network says of the mirrored picture, limb by limb."""
    pairs = [(COCO.joints[a], COCO.joints[b]) for a, b in COCO.limb_joints.tolist()]
    new_heat, new_paf = torch.zeros_like(heat), torch.zeros_like(paf)
    for row in range(heat.shape[-1]):
        new_heat[..., row] = heat[..., -1 - row]
        new_paf[..., row] = paf[..., -1 - row]
    heats = [COCO.joints.index(other(joint)) for joint in COCO.joints]
    new_heat[:, : len(heats)] = new_heat[:, heats].clone()
    limbs = [pairs.index((other(a), other(b))) for a, b in pairs]
    new_paf = new_paf.unflatten(1, (-1, 2))[:, limbs]
    return new_heat, torch.stack([-new_paf[:, :, 0], new_paf[:, :, 1]], dim=2).flatten(1, 2)


class Recalled:
    """Answers with known maps: of the picture as it is, and others of its mirror image."""

    def __init__(self, images: Tensor, as_it_is: tuple[Tensor, Tensor], turned: tuple[Tensor, Tensor]) -> None:
        self.images, self.as_it_is, self.turned = images, as_it_is, turned

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if torch.equal(images, self.images):
            return self.as_it_is
        assert torch.equal(images, self.images.flip(-1))
        return self.turned


def random_maps(*, rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(2, channels, rows, columns, generator=generator)
        for channels in (COCO.heat_channels, COCO.paf_channels)
    )


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 4), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_perfect_networks_answer_to_the_mirror_is_its_answer(rows: int, columns: int, seed: int) -> None:
    images, maps = pictures(STRIDE * rows, STRIDE * columns), random_maps(rows=rows, columns=columns, seed=seed)
    heat, paf = shown(Recalled(images, maps, mirrored(*maps)), images, flip=True)
    assert torch.equal(heat, maps[0]) and torch.equal(paf, maps[1])


def test_the_answers_are_averaged_with_equal_weight() -> None:
    images = pictures(16, 24)
    first, second = random_maps(rows=2, columns=3, seed=1), random_maps(rows=2, columns=3, seed=2)
    found = shown(Recalled(images, first, mirrored(*second)), images, flip=True)
    for maps, a, b in zip(found, first, second, strict=True):
        torch.testing.assert_close(maps, (a + b) / 2, atol=1e-6, rtol=0)
    alone = shown(Recalled(images, first, second), images)
    assert torch.equal(alone[0], first[0]) and torch.equal(alone[1], first[1])


def equivariant(images: Tensor) -> tuple[Tensor, Tensor]:
    """The same brightness for all joints; fields along its gradient, for all limbs alike."""
    grey = functional.avg_pool2d(images.mean(dim=1, keepdim=True), STRIDE)
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return grey.expand(-1, COCO.heat_channels, -1, -1), torch.cat([across, down], 1).repeat(1, len(COCO.limbs), 1, 1)


def test_a_flip_changes_nothing_for_a_network_that_knows_no_sides() -> None:
    images = pictures(32, 40)
    for found, expected in zip(shown(equivariant, images, flip=True), equivariant(images), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


def ramp(height: int, width: int) -> Tensor:
    """A picture that says where it is: x in red, y in green."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([x, y, x + 2 * y])[None]


@pytest.mark.parametrize("scales", [(1.0, 0.5), (1.0, 2.0), (1.0, 0.7, 1.3), (0.5, 1.0), (2.0,)])
def test_scaled_maps_lie_where_they_belong(scales: tuple[float, ...]) -> None:
    images, sizes = ramp(160, 192), []

    def net(scaled: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(tuple(scaled.shape[-2:]))
        cells = functional.avg_pool2d(scaled, STRIDE)
        return cells[:, :1].expand(-1, COCO.heat_channels, -1, -1), cells[:, 1:2].expand(-1, COCO.paf_channels, -1, -1)

    heat, paf = shown(net, images, scales=scales)
    assert all(height % STRIDE == width % STRIDE == 0 for height, width in sizes)
    assert [round(width / 192 - scale, 1) for (_, width), scale in zip(sizes, scales, strict=True)] == [0] * len(scales)
    rows, columns = (side // STRIDE for side in sizes[0])
    assert heat.shape[-2:] == paf.shape[-2:] == (rows, columns)
    x, y = (np.arange(columns) + 0.5) * 192 / columns - 0.5, (np.arange(rows) + 0.5) * 160 / rows - 0.5
    inner = (slice(3, rows - 3), slice(3, columns - 3))  # at the border there is nothing to interpolate from
    np.testing.assert_allclose(heat[0, 0][inner], np.broadcast_to(x, (rows, columns))[inner], atol=0.2)
    np.testing.assert_allclose(paf[0, 5][inner], np.broadcast_to(y[:, None], (rows, columns))[inner], atol=0.2)


def test_each_scale_is_also_mirrored() -> None:
    widths = []

    def net(images: Tensor) -> tuple[Tensor, Tensor]:
        widths.append(images.shape[-1])
        return equivariant(images)

    shown(net, pictures(32, 40), flip=True, scales=(1.0, 0.5, 0.01))
    assert widths == [40, 40, 24, 24, 8, 8]


def test_maps_are_float32_whatever_the_networks_precision() -> None:
    images = pictures(32, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = shown(lambda scaled: tuple(maps.bfloat16() for maps in equivariant(scaled)), images, scales=(1.0, 0.5))
    assert [maps.dtype for maps in found] == [torch.float32] * 2


def test_sizes_that_the_network_cannot_take_are_refused() -> None:
    with pytest.raises(UserError, match="size: found 32 x 42; expected multiples of 8"):
        shown(equivariant, pictures(32, 42), flip=True)


@pytest.mark.parametrize("scales", [(), (0.5, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), (1.0, 99.0)])
def test_scales_out_of_range_are_named(scales: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"test_time\.scales: found \["):
        TestTime(scales=scales)


def test_by_default_a_picture_is_shown_as_it_is() -> None:
    assert TestTime() == TestTime(flip=False, scales=(1.0,))
