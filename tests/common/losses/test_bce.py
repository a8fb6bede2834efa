import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.losses.bce import balancing_pos_weight, bce_parts


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), pos_weight=st.floats(0.01, 100), share=st.floats(0, 1))
def test_equals_the_formula(seed: int, pos_weight: float, share: float) -> None:
    random = np.random.default_rng(seed)
    logits, target = 3 * random.normal(size=(3, 4, 5)), random.random((3, 4, 5))
    valid = random.random((3, 4, 5)) < share
    p = 1 / (1 + np.exp(-logits))
    cost = -pos_weight * target * np.log(p) - (1 - target) * np.log(1 - p)
    arrays = map(torch.from_numpy, (logits, target, valid))
    parts = bce_parts(*arrays, pos_weight=torch.tensor(pos_weight))
    assert parts.sums.tolist() == pytest.approx((cost * valid).sum(axis=(1, 2)), rel=1e-4, abs=1e-5)
    assert parts.counts.tolist() == valid.sum(axis=(1, 2)).tolist()


@pytest.mark.parametrize(
    ("label_mean", "weight"), [(0.5, 1), (0.2, 4), (0.8, 0.25), (0, 100), (1e-9, 100), (1, 0.01), (math.nan, 1)]
)
def test_the_balancing_weight_has_bounds(label_mean: float, weight: float) -> None:
    assert balancing_pos_weight(float(label_mean)) == pytest.approx(weight, rel=1e-12)


def test_with_the_balancing_weight_both_classes_weigh_the_same() -> None:
    target = (torch.arange(100) < 7).float()[None]
    everywhere = torch.ones(1, 100, dtype=torch.bool)
    logits = torch.zeros(1, 100, requires_grad=True)
    weight = torch.tensor(balancing_pos_weight(target.mean().item()))
    bce_parts(logits, target, everywhere, pos_weight=weight).sums.sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, :7].sum().item() == pytest.approx(-logits.grad[:, 7:].sum().item(), rel=1e-5)
