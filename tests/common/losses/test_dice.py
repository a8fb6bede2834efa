import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import DiceLoss

from common.losses.dice import DiceOver, dice_parts

EVERYWHERE = torch.ones(1, 1, 32, 32, dtype=torch.bool)


def dice(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    over: DiceOver = "sample",
    smoothing: float = 0.05,
) -> torch.Tensor:
    parts = dice_parts(logits, target, valid, over=over, smoothing=smoothing)
    return parts.sums.sum() / parts.counts.sum().clamp(min=1)


def value_and_gradient(loss: torch.Tensor, logits: torch.Tensor) -> tuple[float, float]:
    """The loss and its slope where all logits move together."""
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient.sum().item()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), smoothing=st.floats(0, 1))
def test_equals_smp_where_there_is_something_to_find(seed: int, smoothing: float) -> None:
    random = np.random.default_rng(seed)
    logits, target = 3 * random.normal(size=(3, 1, 6, 7)), random.random((3, 1, 6, 7)) < random.uniform(0.1, 0.9)
    target[:, 0, 0, 0] = True
    pair = torch.from_numpy(logits), torch.from_numpy(target).double()
    valid = torch.ones(3, 1, 6, 7, dtype=torch.bool)
    pooled = DiceLoss("binary", smooth=smoothing * 3 * 42 / 2)(*pair)  # which smp adds to halves of both sides
    assert dice(*pair, valid, over="batch", smoothing=smoothing).item() == pytest.approx(pooled.item(), rel=1e-5)
    alone = [DiceLoss("binary", smooth=smoothing * 42 / 2)(pair[0][[row]], pair[1][[row]]).item() for row in range(3)]
    assert dice(*pair, valid, smoothing=smoothing).item() == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("over", ["sample", "batch"])
def test_cloud_predicted_on_an_empty_tile_costs_and_is_pulled_down(over: DiceOver) -> None:
    """With p = 1/2 on all n pixels: (n/2) / (n/2 + n/20), and a slope of (n/20) / (n/2 + n/20)^2 * n/4."""
    logits, empty = torch.zeros(1, 1, 32, 32, requires_grad=True), torch.zeros(1, 1, 32, 32)
    ours = value_and_gradient(dice(logits, empty, EVERYWHERE, over=over), logits)
    assert ours == pytest.approx((0.5 / 0.55, 0.05 / 0.55**2 / 4), rel=1e-5)
    assert value_and_gradient(DiceLoss("binary", smooth=0.05 * 32**2 / 2)(logits, empty), logits) == (0, 0)
    assert value_and_gradient(DiceLoss("binary")(logits, empty), logits) == (0, 0)
    unsmoothed = value_and_gradient(dice(logits, empty, EVERYWHERE, over=over, smoothing=0.0), logits)
    assert unsmoothed == pytest.approx((1, 0), abs=1e-6), "why smoothing is not 0 by default"


def test_a_full_tile_pulls_up() -> None:
    logits, full = torch.zeros(1, 1, 32, 32, requires_grad=True), torch.ones(1, 1, 32, 32)
    loss, slope = value_and_gradient(dice(logits, full, EVERYWHERE), logits)
    assert loss == pytest.approx(0.5 / 1.55, rel=1e-5) and slope < -0.1


@pytest.mark.parametrize("over", ["sample", "batch"])
@pytest.mark.parametrize("share", [0, 1 / 1024, 0.5, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_a_perfect_prediction_costs_nothing(over: DiceOver, share: float, smoothing: float) -> None:
    target = (torch.arange(1024) < share * 1024).float().reshape(1, 1, 32, 32)
    logits = 60 * target - 30
    assert dice(logits, target, EVERYWHERE, over=over, smoothing=smoothing).item() == pytest.approx(0, abs=1e-9)
    assert dice(-logits, target, EVERYWHERE, over=over, smoothing=smoothing).item() > 0.9, "a wrong one costs"


def test_the_size_of_a_tile_does_not_show() -> None:
    losses = [
        dice(torch.zeros(1, side, side), torch.zeros(1, side, side), torch.ones(1, side, side, dtype=torch.bool))
        for side in (8, 512)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)


def test_samples_or_their_pixels_weigh_the_same() -> None:
    """A tile of 4 pixels with one of two found, one of 2 pixels all found, and one without a valid pixel."""
    logits = torch.tensor([[9.0, -9, -9, -9], [9, 9, 9, 9], [9, 9, 9, 9]]) * 9
    target = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    valid = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    assert dice(logits, target, valid, smoothing=0.0).item() == pytest.approx((1 / 3 + 0) / 2)
    assert dice(logits, target, valid, over="batch", smoothing=0.0).item() == pytest.approx(1 / 7)
    assert dice(logits, target, valid, over="batch", smoothing=0.5).item() == pytest.approx(1 / 10)
