import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from common.errors import UserError
from common.losses.criterion import TERMS, Criterion
from common.metrics.mean_loss import MeanLoss

ONE = torch.tensor(1.0)
KINDS = [
    *({**dict.fromkeys(TERMS, 0.0), name: 1.0} for name in TERMS),
    {**dict.fromkeys(TERMS, 1.0), "dice_over": "batch", "label_smoothing": 0.1},
]


def example(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * random.normal(size=(batch, 1, 6, 7)).astype(np.float32))
    target = torch.from_numpy(random.random((batch, 1, 6, 7)) < random.random((batch, 1, 1, 1))).float()
    return logits, target, torch.from_numpy(random.random((batch, 1, 6, 7)) < random.random((batch, 1, 1, 1)))


def gradient(criterion: Criterion, logits: torch.Tensor, *labels: torch.Tensor) -> tuple[float, torch.Tensor]:
    variable = logits.clone().requires_grad_()
    loss = criterion(variable, *labels, pos_weight=torch.tensor(3.0))["loss"]
    assert loss.dtype == torch.float32
    return loss.item(), torch.autograd.grad(loss, variable)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_not_valid_has_no_effect(kind: dict[str, Any], seed: int) -> None:
    criterion, (logits, target, valid) = Criterion(**kind), example(seed)
    loss, slope = gradient(criterion, logits, target, valid)
    for rubbish in (math.nan, math.inf, -1e30):
        dirty = (torch.where(valid, values, rubbish) for values in (logits, target))
        other_loss, other_slope = gradient(criterion, *dirty, valid)
        assert other_loss == loss and torch.equal(other_slope, slope)
    assert not slope[~valid].any() and slope[valid].all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_valid_might_as_well_be_cut_off(kind: dict[str, Any]) -> None:
    logits, target, valid = example(1)
    valid[:] = True
    valid[..., 4:] = False
    cut = [values[..., :4] for values in (logits, target, valid)]
    assert gradient(Criterion(**kind), logits, target, valid)[0] == pytest.approx(gradient(Criterion(**kind), *cut)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_a_valid_pixel_costs_nothing(kind: dict[str, Any]) -> None:
    logits, target, valid = example(2)
    loss, slope = gradient(Criterion(**kind), logits, target, torch.zeros_like(valid))
    assert loss == 0 and not slope.any() and slope.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("autocast", [False, True])
def test_any_logits_of_any_type(kind: dict[str, Any], dtype: torch.dtype, autocast: bool) -> None:
    sizes = torch.tensor([0, 1e-4, 1, 10, 17, 90, 1e3, 1e4])
    logits = torch.cat([-sizes, sizes]).to(dtype).repeat(4)
    target = (torch.arange(64) < 32).float().reshape(1, 1, 1, 64).to(dtype)
    logits = logits.reshape(target.shape)
    everywhere = torch.ones_like(target, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss, slope = gradient(Criterion(**kind), logits, target, everywhere)
    expected, wanted = gradient(Criterion(**kind), logits.double(), target.double(), everywhere)
    assert loss == pytest.approx(expected, rel=1e-6) and slope.dtype == dtype
    assert torch.allclose(slope.double(), wanted, rtol=1e-2, atol=1e-6) and slope.isfinite().all()


def test_half_logits_of_a_big_tile_are_summed_wide() -> None:
    logits = torch.randn(1, 1, 700, 700, generator=torch.Generator().manual_seed(0)).half()
    target, valid = (logits > 0.5).float(), torch.ones_like(logits, dtype=torch.bool)
    criterion = Criterion(mse=1.0, focal=1.0)
    p = logits.double().sigmoid()
    s, n = 0.05 * 490_000, 490_000
    terms = criterion(logits, target.half(), valid, pos_weight=ONE)
    assert terms["mse"].item() == pytest.approx((p - target).square().mean().item(), rel=1e-6)
    expected = 1 - (2 * (p * target).sum() + s) / (p.sum() + target.sum() + s)
    assert terms["dice"].item() == pytest.approx(expected.item(), rel=1e-6)
    cost = -(target * p.log() + (1 - target) * (1 - p).log())
    assert terms["bce"].item() == pytest.approx(cost.sum().item() / n, rel=1e-6)
    assert terms["focal"].item() == pytest.approx((cost * (p - target) ** 2).sum().item() / n, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 5), over=st.sampled_from(["sample", "batch"]))
def test_batches_of_an_evaluation_do_not_show(seed: int, cut: int, over: Any) -> None:
    criterion = Criterion(mse=0.5, focal=2.0, dice_over=over, label_smoothing=0.2)
    arrays = example(seed, batch=6)
    means = {name: MeanLoss() for name in criterion.terms}
    for part in (slice(0, cut), slice(cut, None)):
        parts = criterion.parts(*(values[part] for values in arrays), pos_weight=torch.tensor(3.0))
        for name, mean in means.items():
            mean.update(parts[name])
    found = criterion.weighted({name: mean.compute() for name, mean in means.items()})
    hard = Criterion(mse=0.5, focal=2.0, dice_over=over)
    expected = hard(*arrays, pos_weight=torch.tensor(3.0))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-5
    )


def test_label_smoothing_softens_all_terms_but_dice() -> None:
    logits, target, valid = torch.full((1, 1, 2, 2), -30.0), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2) > 0
    weights = dict.fromkeys(TERMS, 1.0)
    terms = Criterion(**weights, label_smoothing=0.1)(logits, target, valid, pos_weight=ONE)
    assert terms["bce"].item() == pytest.approx(3.0), "a tenth of -log(e^-30)"
    assert terms["mse"].item() == pytest.approx(0.01)
    assert terms["focal"].item() == pytest.approx(3.0)
    assert terms["dice"].item() == pytest.approx(0, abs=1e-9)


def test_terms_without_weight_are_left_out_and_the_others_added() -> None:
    arrays = example(3)
    terms = Criterion(bce=2.0, dice=0.5, focal=0.25)(*arrays, pos_weight=ONE)
    assert list(terms) == ["loss", "bce", "dice", "focal"]
    expected = 2 * terms["bce"] + 0.5 * terms["dice"] + 0.25 * terms["focal"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert list(Criterion(bce=0.0).parts(*arrays, pos_weight=ONE)) == ["dice"]


def test_the_weight_of_positive_pixels() -> None:
    assert Criterion(pos_weight=3.0).weight_of_positives(0.2) == 3
    assert Criterion(pos_weight="auto").weight_of_positives(0.2) == pytest.approx(4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bce": -1.0}, "criterion.bce: found -1.0, expected a number of at least 0"),
        ({"focal": math.nan}, "criterion.focal: found nan"),
        ({"mse": math.inf}, "criterion.mse: found inf"),
        ({"bce": 0.0, "dice": 0.0}, "bce, dice, mse, focal are all 0"),
        ({"dice_smoothing": -0.1}, "criterion.dice_smoothing: found -0.1"),
        ({"focal_gamma": -2.0}, "criterion.focal_gamma"),
        ({"label_smoothing": 0.5}, "criterion.label_smoothing: found 0.5, expected at least 0 and less than 0.5"),
        ({"label_smoothing": -0.1}, "criterion.label_smoothing"),
        ({"pos_weight": 0.0}, "criterion.pos_weight: found 0.0, expected auto or a number above 0"),
        ({"pos_weight": math.nan}, "criterion.pos_weight"),
    ],
)
def test_values_out_of_range_are_named(settings: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Criterion(**settings)  # type: ignore[arg-type] # numbers all


class Model:
    def __init__(self, criterion: Criterion = Criterion()) -> None:  # noqa: B008 - frozen
        self.criterion = criterion


def test_flags_of_a_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Model, "model")
    flags = ["--model.criterion.dice", "0.5", "--model.criterion.pos_weight", "auto", "--model.criterion.mse", "1"]
    model = parser.instantiate(parser.parse_args(flags)).model
    assert model.criterion == Criterion(dice=0.5, mse=1.0, pos_weight="auto")
    four = parser.instantiate(parser.parse_args(["--model.criterion.pos_weight", "4"])).model
    assert four.criterion == Criterion(pos_weight=4.0)
