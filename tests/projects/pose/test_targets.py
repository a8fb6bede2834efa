import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from projects.pose import targets
from projects.pose.skeleton import COCO
from projects.pose.targets import FAR, SAME, Shape, TargetOptions, joint_heatmaps, limb_fields, pose_targets

LIMBS = torch.from_numpy(COCO.limb_joints)
SIZE_HW = (11, 14)
OPTIONS = [TargetOptions(shape=shape, ends=ends, width=0.9) for shape in get_args(Shape) for ends in (0.0, 0.7)]


@dataclass(frozen=True)
class Scene:
    points: torch.Tensor
    labelled: torch.Tensor

    def heat(self) -> torch.Tensor:
        return joint_heatmaps(self.points, self.labelled, size_hw=SIZE_HW, sigma=1.3)

    def paf(self, options: TargetOptions) -> torch.Tensor:
        return limb_fields(self.points, self.labelled, limbs=LIMBS, size_hw=SIZE_HW, options=options)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Some pictures of some people: joints in one place, outside, on cell centres, not labelled (and then NaN)."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), len(COCO.joints))
    spread = draw(st.sampled_from([0.0, 1.0, 8.0, 40.0]))
    points = random.normal((6, 5), spread, (*shape, 2))
    points = np.where(random.random((*shape, 1)) < draw(st.sampled_from([0.0, 0.5, 1.0])), points.round(), points)
    if draw(st.booleans()):
        points[:, -1] = points[:, 0]  # two people, one on the other
    labelled = random.random(shape) < draw(st.sampled_from([0.0, 0.6, 1.0]))
    points = np.where(labelled[..., None], points, math.nan)
    return Scene(torch.from_numpy(points).float(), torch.from_numpy(labelled))


def weight(cell: np.ndarray, a: np.ndarray, b: np.ndarray, options: TargetOptions) -> tuple[float, bool]:
    """Of one cell for one limb, by projection onto its line; and whether the cell lies on a border."""
    length = float(np.linalg.norm(b - a))
    along = float(np.dot(cell - a, b - a)) / length
    foot = a + (b - a) / length * along
    across, beyond = float(np.linalg.norm(cell - foot)), max(-along, along - length, 0)
    inside = (
        math.exp(-((across / options.width) ** 2) / 2)
        if options.shape == "gaussian"
        else across <= options.width + SAME
    )
    end = math.exp(-((beyond / options.ends) ** 2) / 2) if options.ends else beyond <= SAME
    border = (options.shape == "hard" and abs(across - options.width - SAME) < 1e-4) or (
        not options.ends and abs(max(-along, along - length) - SAME) < 1e-4
    )
    return float(inside * end), border


def field_of(scene: Scene, sample: int, limb: int, options: TargetOptions) -> tuple[np.ndarray, np.ndarray]:
    """(2, height, width) by the definition, cell by cell, and where it is sure."""
    start, end = COCO.limb_joints[limb]
    field, sure = np.zeros((2, *SIZE_HW)), np.ones(SIZE_HW, bool)
    points = scene.points[sample].double().numpy()
    both = scene.labelled[sample, :, start] & scene.labelled[sample, :, end]
    limbs = [(p[start], p[end]) for p, there in zip(points, both.tolist(), strict=True) if there]
    limbs = [(a, b) for a, b in limbs if np.linalg.norm(b - a) >= SAME]
    for row, column in np.ndindex(*SIZE_HW):
        pairs = [weight(np.array([column, row]), a, b, options) for a, b in limbs]
        weights = np.array([w for w, _ in pairs])
        sure[row, column] = not any(border for _, border in pairs)
        if weights.sum() > 0:
            units = np.array([(b - a) / np.linalg.norm(b - a) for a, b in limbs])
            field[:, row, column] = (weights[:, None] ** 2 * units).sum(axis=0) / weights.sum()
    return field, sure


@settings(deadline=None, max_examples=40)
@given(scene=scenes())
def test_heatmaps_are_the_highest_gaussian_of_anybody(scene: Scene) -> None:
    heat = scene.heat().numpy()
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    expected = np.zeros(heat.shape)
    for (sample, _, joint), there in np.ndenumerate(scene.labelled.numpy()):
        if there:
            x, y = scene.points[sample, _, joint].double().numpy()
            bell = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / 1.3**2)
            expected[sample, joint] = np.maximum(expected[sample, joint], bell)
    expected[:, -1] = 1 - expected[:, :-1].max(axis=1)
    np.testing.assert_allclose(heat, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=15)
@given(scene=scenes(), limb=st.integers(0, len(LIMBS) - 1))
def test_fields_are_as_defined_cell_by_cell(options: TargetOptions, scene: Scene, limb: int) -> None:
    paf = scene.paf(options)[:, 2 * limb : 2 * limb + 2].numpy()
    for sample, found in enumerate(paf):
        expected, sure = field_of(scene, sample, limb, options)
        np.testing.assert_allclose(found * sure, expected * sure, rtol=0, atol=2e-5)


def test_literal_fields_of_two_people() -> None:
    """One limb to the right, along row 2 from column 1 to 4, and one downwards, along column 3 from row 0 to 5."""
    points = torch.tensor([[[[1.0, 2.0], [4.0, 2.0]], [[3.0, 0.0], [3.0, 5.0]]]])
    labelled, limbs = torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([[0, 1]])
    hard = TargetOptions(shape="hard", width=0.5)
    paf = limb_fields(points, labelled, limbs=limbs, size_hw=(7, 6), options=hard)
    x, y = torch.zeros(7, 6), torch.zeros(7, 6)
    x[2, 1:5], y[:6, 3] = 1, 1
    x[2, 3] = y[2, 3] = 0.5  # the mean of both
    torch.testing.assert_close(paf, torch.stack([x, y])[None], rtol=0, atol=1e-7)


def test_literal_weights_beside_and_beyond_a_limb() -> None:
    points, limbs = torch.tensor([[[[2.0, 3.0], [5.0, 3.0]]]]), torch.tensor([[0, 1]])
    options = TargetOptions(width=2.0, ends=0.5)
    paf = limb_fields(points, torch.ones(1, 1, 2, dtype=torch.bool), limbs=limbs, size_hw=(7, 8), options=options)
    bell = math.exp(-0.5)
    assert paf[0, 0, 3, 2:6].tolist() == pytest.approx([1, 1, 1, 1])
    assert paf[0, 0, 5, 4].item() == pytest.approx(bell), "one width beside"
    assert paf[0, 0, 3, 6].item() == pytest.approx(bell**4, rel=1e-5), "two deviations beyond the end"
    assert paf[0, 0, 1, 1].item() == pytest.approx(bell * bell**4, rel=1e-5), "both"
    assert not paf[0, 1].any()


def test_a_limb_shorter_than_a_cell_shows_only_with_ends() -> None:
    points = torch.tensor([[[[2.3, 3.0], [2.7, 3.0]]]])
    labelled, limbs = torch.ones(1, 1, 2, dtype=torch.bool), torch.tensor([[0, 1]])
    strongest = [
        limb_fields(points, labelled, limbs=limbs, size_hw=(7, 8), options=TargetOptions(ends=ends)).max().item()
        for ends in (0.0, 1.0)
    ]
    assert strongest[0] < 1e-9 and strongest[1] > 0.9


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=15)
@given(scene=scenes())
def test_the_mirror_of_targets_is_rendered_from_the_mirror(options: TargetOptions, scene: Scene) -> None:
    points = scene.points.clone()
    points[..., 0] = SIZE_HW[1] - 1 - points[..., 0]
    order = torch.from_numpy(COCO.mirrored_joints)
    mirrored = Scene(points[:, :, order], scene.labelled[:, :, order])
    heat = scene.heat()[:, COCO.mirrored_heat].flip(-1)
    torch.testing.assert_close(heat, mirrored.heat(), rtol=0, atol=1e-5)
    sign = torch.from_numpy(COCO.mirrored_paf_sign)[:, None, None]
    paf = scene.paf(options)[:, COCO.mirrored_paf].flip(-1) * sign
    apart = (paf - mirrored.paf(options)).abs() > 3e-5
    assert apart.sum() <= (0 if options.shape == "gaussian" and options.ends else 4), "a cell on a border may jump"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=15)
@given(scene=scenes(), seed=st.integers(0, 100), absent=st.integers(0, 3))
def test_order_of_people_and_rows_of_nobody_change_nothing(
    options: TargetOptions, scene: Scene, seed: int, absent: int
) -> None:
    batch, people, joints = scene.labelled.shape
    order = torch.randperm(people + absent, generator=torch.Generator().manual_seed(seed))
    points = torch.cat([scene.points, torch.full((batch, absent, joints, 2), math.inf)], dim=1)[:, order]
    labelled = torch.cat([scene.labelled, torch.zeros(batch, absent, joints, dtype=torch.bool)], dim=1)[:, order]
    shuffled = Scene(points, labelled)
    assert torch.equal(shuffled.heat(), scene.heat())
    torch.testing.assert_close(shuffled.paf(options), scene.paf(options), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.floats(width=32), min_size=8, max_size=8), scale=st.sampled_from([1e-3, 1e-6, 1.0]))
def test_all_coordinates_give_finite_fields_no_longer_than_1(
    options: TargetOptions, values: list[float], scale: float
) -> None:
    """Two people of two joints: NaN, infinities, 1e38, denormals, and both joints nearly in one place."""
    points = torch.tensor(values, dtype=torch.float32).reshape(1, 2, 2, 2)
    points = torch.cat([points, torch.tensor([3.0, 4.0]) + scale * points], dim=1)
    labelled, limbs = torch.ones(1, 4, 2, dtype=torch.bool), torch.tensor([[0, 1], [1, 0]])
    heat = joint_heatmaps(points, labelled, size_hw=SIZE_HW, sigma=0.5)
    assert ((heat >= 0) & (heat <= 1)).all()
    paf = limb_fields(points, labelled, limbs=limbs, size_hw=SIZE_HW, options=options)
    assert paf.isfinite().all()
    assert torch.hypot(paf[:, 0::2], paf[:, 1::2]).max() <= 1 + 1e-6


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_limb_without_length_is_not_drawn(options: TargetOptions) -> None:
    points = torch.full((1, 2, len(COCO.joints), 2), 5.0)
    labelled = torch.ones(1, 2, len(COCO.joints), dtype=torch.bool)
    scene = Scene(points, labelled)
    assert scene.paf(options).abs().max() < 1e-15
    points[0, 1] += 4 * torch.arange(len(COCO.joints))[:, None] % 7
    alone = Scene(points[:, 1:], labelled[:, 1:])
    torch.testing.assert_close(scene.paf(options), alone.paf(options), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_inner_part_of_a_limb_that_leaves_the_picture_is_drawn(options: TargetOptions) -> None:
    points, limbs = torch.tensor([[[[-50.0, 4.0], [90.0, 4.0]]]]), torch.tensor([[0, 1]])
    paf = limb_fields(points, torch.ones(1, 1, 2, dtype=torch.bool), limbs=limbs, size_hw=SIZE_HW, options=options)
    torch.testing.assert_close(paf[0, 0, 4], torch.ones(SIZE_HW[1]), rtol=0, atol=1e-5)
    beyond = limb_fields(
        points - 200, torch.ones(1, 1, 2, dtype=torch.bool), limbs=limbs, size_hw=SIZE_HW, options=options
    )
    assert beyond.abs().max() < 1e-15


def test_what_is_far_away_is_taken_to_be_at_the_edge_of_the_world() -> None:
    points, limbs = torch.tensor([[[[5.0, 4.0], [3e38, 4.0]]]]), torch.tensor([[0, 1]])
    labelled, options = torch.ones(1, 1, 2, dtype=torch.bool), TargetOptions(shape="hard")
    paf = limb_fields(points, labelled, limbs=limbs, size_hw=SIZE_HW, options=options)
    same = limb_fields(points.clamp(max=FAR), labelled, limbs=limbs, size_hw=SIZE_HW, options=options)
    assert torch.equal(paf, same)
    assert paf[0, 0, 4, 6:].tolist() == [1] * (SIZE_HW[1] - 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_are_float32_whatever_the_points_and_autocast(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    points = (8 * torch.rand(2, 3, len(COCO.joints), 2, generator=random)).to(torch.bfloat16)
    labelled = torch.ones(2, 3, len(COCO.joints), dtype=torch.bool)
    expected, scene = Scene(points.float(), labelled), Scene(points.to(dtype), labelled)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scene.heat(), expected.heat())
        for options in OPTIONS:
            assert torch.equal(scene.paf(options), expected.paf(options))


@pytest.mark.parametrize(("batch", "people"), [(0, 2), (2, 0), (1, 1)])
def test_nobody_at_all(batch: int, people: int) -> None:
    joints = len(COCO.joints)
    scene = Scene(
        torch.full((batch, people, joints, 2), math.nan), torch.zeros(batch, people, joints, dtype=torch.bool)
    )
    heat = scene.heat()
    assert heat.shape == (batch, joints + 1, *SIZE_HW)
    assert heat[:, :-1].flatten().sum() < 1e-12 and (heat[:, -1] == 1).all()
    for options in OPTIONS:
        paf = scene.paf(options)
        assert paf.shape == (batch, COCO.paf_channels, *SIZE_HW) and not paf.any()


def test_more_cells_than_are_rendered_at_once() -> None:
    """300 x 260 cells: each row of limbs is a chunk of its own."""
    points, limbs = (
        torch.tensor([[[[5.0, 250.0], [255.0, 250.0]]], [[[5.0, 9.0], [5.0, 290.0]]]]),
        torch.tensor([[0, 1]]),
    )
    labelled = torch.tensor([True, True]).expand(2, 1, 2)
    paf = limb_fields(points, labelled, limbs=limbs, size_hw=(300, 260), options=TargetOptions(shape="hard"))
    heat = joint_heatmaps(points, labelled, size_hw=(300, 260), sigma=1.0)
    assert paf[0, 0].sum().item() == 3 * 251 and paf[1, 1].sum().item() == 3 * 282
    assert not paf[0, 1].any() and not paf[1, 0].any()
    assert [heat[0, 0, 250, 5], heat[0, 1, 250, 255], heat[1, 0, 9, 5], heat[1, 1, 290, 5]] == [1, 1, 1, 1]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_how_much_is_rendered_at_once_changes_nothing(
    options: TargetOptions, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what an accelerator does, which looks at rows of nobody as well."""
    random = torch.Generator().manual_seed(0)
    shape = (5, 6, len(COCO.joints))
    labelled = torch.rand(shape, generator=random) < torch.tensor([0, 1, 0.5, 0.2, 0.9])[:, None, None]
    labelled[:, 4:] = False
    scene = Scene(12 * torch.rand(*shape, 2, generator=random), labelled)
    heat, paf = scene.heat(), scene.paf(options)
    monkeypatch.setattr(targets, "AT_ONCE", {"cpu": at_once})
    monkeypatch.setattr(targets, "_numbers", lambda present: [present.shape[1]] * len(present))
    assert torch.equal(scene.heat(), heat)
    torch.testing.assert_close(scene.paf(options), paf, rtol=0, atol=1e-6)


def test_targets_of_a_batch_are_at_the_stride_and_count_what_is_mostly_not_ignored() -> None:
    joints = len(COCO.joints)
    ignored = torch.zeros(2, 1, 40, 56)
    ignored[0, :, :8, :8] = 255
    ignored[0, :, 8:12, :8] = 255  # half of a cell
    ignored[0, :, 16:19, :8] = 255
    points = torch.zeros(2, 1, joints, 2)
    points[1, 0, 3] = torch.tensor([27.5, 11.5])  # the centre of the cell in column 3, row 1
    visibility = torch.zeros(2, 1, joints, dtype=torch.uint8)
    visibility[1, 0, 3] = 1
    batch = {"ignored": ignored, "points_xy": points, "visibility": visibility}
    found = pose_targets(batch, stride=8, limbs=LIMBS, options=TargetOptions(sigma=1.5))
    assert found.heat.shape == (2, joints + 1, 5, 7) and found.paf.shape == (2, COCO.paf_channels, 5, 7)
    assert (~found.counted).nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    assert found.heat[1, 3, 1, 3].item() == 1 and found.heat[1, -1, 1, 3].item() == 0
    assert found.heat[1, 3, 1, 4].item() == pytest.approx(math.exp(-0.5 / 1.5**2))
    assert (found.heat[0, :-1].sum(), found.heat[0, -1].min()) == (pytest.approx(0, abs=1e-12), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sigma", 0.0), ("sigma", math.nan), ("width", 1e-9), ("ends", -1.0), ("ends", math.inf)],
)
def test_options_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"targets\.{name}: found {value!r}"):
        TargetOptions(**{name: value})
