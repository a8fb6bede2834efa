import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.metrics.mean_loss import MeanLoss
from projects.pose.losses import Kind, StageLoss, kind_of, strengths

KINDS: tuple[Kind, ...] = ("paf", "heat")


def random_stage(seed: int, *, batch: int = 3, channels: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, target with many zeros, and the cells that count: some, none in one of the samples."""
    random = np.random.default_rng(seed)
    shape = (batch, channels, 5, 4)
    target = random.normal(size=shape) * (random.random(shape) < 0.3)
    target[:, 1::2] *= random.random(target[:, 1::2].shape) < 0.5
    counted = random.random((batch, 1, 5, 4)) < 0.7
    counted[0] = False
    arrays = random.normal(size=shape).astype(np.float32), target.astype(np.float32), counted
    prediction, true, cells = (torch.from_numpy(array) for array in arrays)
    return prediction, true, cells


def independent(p: np.ndarray, t: np.ndarray, counted: np.ndarray, *, kind: Kind, foreground: float) -> float:
    """Cell by cell."""
    total = 0.0
    for sample, row, column in np.argwhere(counted[:, 0]):
        true, said = t[sample, :, row, column].astype(float), p[sample, :, row, column].astype(float)
        if kind == "paf":
            filled = [math.hypot(*true[k // 2 * 2 : k // 2 * 2 + 2]) > 0.01 for k in range(len(true))]
        else:
            joints = [abs(value) > 0.01 for value in true[:-1]]
            filled = [*joints, any(joints)]
        total += sum((1 + foreground * f) * (a - b) ** 2 for f, a, b in zip(filled, said, true, strict=True))
    return total / max(counted.sum(), 1)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), foreground=st.sampled_from([0.0, 1.0, 7.5]))
def test_equals_the_sum_cell_by_cell(kind: Kind, seed: int, foreground: float) -> None:
    p, t, counted = random_stage(seed)
    found = StageLoss(foreground)(p, t, counted, kind=kind)
    expected = independent(p.numpy(), t.numpy(), counted.numpy(), kind=kind, foreground=foreground)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_literal_values() -> None:
    """Two cells. Of a limb (3, 0) where (0, 1) was said, and nothing where (0, .5) was said."""
    target = torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]])
    prediction = torch.tensor([[[[0.0, 0.0]], [[1.0, 0.5]]]])
    everywhere = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    assert StageLoss(0.0)(prediction, target, everywhere, kind="paf").item() == (9 + 1 + 0.25) / 2
    assert StageLoss(2.0)(prediction, target, everywhere, kind="paf").item() == (3 * (9 + 1) + 0.25) / 2
    heat = StageLoss(2.0)(prediction, target, everywhere, kind="heat").item()
    assert heat == (3 * 9 + 3 * 1 + 0.25) / 2, "the second channel is the background, and weighs more where a joint is"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_what_is_not_counted_changes_neither_value_nor_gradient(kind: Kind, garbage: float) -> None:
    p, t, counted = random_stage(1)

    def value_and_gradient(prediction: torch.Tensor, target: torch.Tensor) -> tuple[float, torch.Tensor]:
        leaf = prediction.clone().requires_grad_()
        loss = StageLoss()(leaf, target, counted, kind=kind)
        torch.autograd.backward(loss)
        assert leaf.grad is not None
        return loss.item(), leaf.grad

    clean, gradient = value_and_gradient(p, t)
    spoilt, same = value_and_gradient(*(torch.where(counted, maps, garbage) for maps in (p, t)))
    assert spoilt == clean and torch.equal(same, gradient)
    assert gradient.isfinite().all() and gradient[counted.expand_as(p)].any()
    assert not gradient[~counted.expand_as(p)].any()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_counted_costs_nothing(kind: Kind) -> None:
    p, t, counted = random_stage(1)
    p.requires_grad_()
    loss = StageLoss()(p, t, torch.zeros_like(counted), kind=kind)
    torch.autograd.backward(loss)
    assert loss.item() == 0 and p.grad is not None and not p.grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(kind: Kind, dtype: torch.dtype) -> None:
    """300 x 300 cells of error 30: their squares overflow float16 and are lost in bfloat16."""
    p = torch.full((1, 4, 300, 300), 30.0, dtype=dtype, requires_grad=True)
    t, counted = torch.zeros(1, 4, 300, 300), torch.ones(1, 1, 300, 300, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = StageLoss()(p, t, counted, kind=kind)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(4 * 900)
    torch.autograd.backward(loss)
    assert p.grad is not None and p.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_split_does_not_depend_on_its_batches(kind: Kind) -> None:
    p, t, counted = random_stage(3, batch=7)
    mean, loss = MeanLoss(), StageLoss()
    for part in (slice(0, 2), slice(2, 3), slice(3, 7)):
        mean.update(loss.parts(p[part], t[part], counted[part], kind=kind))
    assert mean.compute().item() == pytest.approx(loss(p, t, counted, kind=kind).item(), rel=1e-6)


def test_a_limb_is_as_strong_as_its_vector_is_long_and_the_background_is_no_part() -> None:
    maps = torch.tensor([3.0, -4.0, 0.0, 0.0, -2.0, 0.0])[None, :, None, None]
    assert strengths(maps, "paf").flatten().tolist() == [5, 0, 2]
    assert strengths(maps.half(), "heat").flatten().tolist() == [3, 4, 0, 0, 2]


def test_the_name_of_a_stage_says_what_it_draws() -> None:
    assert [kind_of(stage) for stage in ("paf/1", "heat/1", "paf/12")] == ["paf", "heat", "paf"]


def test_stages_are_weighted_by_their_kind() -> None:
    stages = {"paf/1": torch.tensor(1.0), "paf/2": torch.tensor(3.0), "heat/1": torch.tensor(4.0)}
    assert float(StageLoss().total(stages)) == 8
    assert float(StageLoss(paf=2.0, heat=0.5).total(stages)) == 10


@pytest.mark.parametrize("name", ["foreground", "paf", "heat"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_weights_out_of_their_range(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"loss\.{name}"):
        StageLoss(**{name: value})
