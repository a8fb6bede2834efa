import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.losses.masked_l1 import MaskedL1Loss, masked_l1_loss, masked_l1_parts


@given(seed=st.integers(0, 1000), share=st.floats(0.05, 1))
def test_equals_the_mean_over_masked_entries(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    prediction, target = random.normal(size=(2, 2, 2, 3, 4)).astype(np.float32)
    mask = random.random((2, 1, 3, 4)) < share
    both = np.broadcast_to(mask, prediction.shape)
    expected = np.abs(prediction - target)[both].mean() if mask.any() else 0.0
    loss = MaskedL1Loss()(torch.from_numpy(prediction), torch.from_numpy(target), torch.from_numpy(mask))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_an_empty_mask_costs_nothing_and_has_a_graph() -> None:
    prediction = torch.ones(2, 3, requires_grad=True)
    loss = masked_l1_loss(prediction, torch.full((2, 3), math.nan), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert prediction.grad is not None and not prediction.grad.any()


def test_half_predictions_sum_in_float32() -> None:
    prediction = torch.full((1, 2, 200, 200), 6e4, dtype=torch.float16, requires_grad=True)
    loss = masked_l1_loss(prediction, -prediction.detach(), torch.ones(1, 1, 200, 200, dtype=torch.bool))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(12e4, rel=1e-3)
    assert prediction.grad is not None and prediction.grad.isfinite().all()


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_the_parts_of_samples_make_the_loss_of_their_batch(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    prediction, target = map(torch.from_numpy, random.normal(size=(2, 3, 2, 3, 4)).astype(np.float32))
    mask = torch.from_numpy(random.random((3, 1, 3, 4)) < share)
    parts = masked_l1_parts(prediction, target, mask)
    assert parts.counts.tolist() == (2 * mask.flatten(1).sum(1)).tolist()  # both channels
    loss = parts.sums.sum() / parts.counts.sum().clamp(min=1)
    assert loss.item() == pytest.approx(masked_l1_loss(prediction, target, mask).item(), rel=1e-5)
