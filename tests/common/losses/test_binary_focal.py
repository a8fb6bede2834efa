import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from common.losses.bce import bce_parts
from common.losses.binary_focal import binary_focal_parts


def example(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * random.normal(size=(2, 6, 7)))
    return logits, torch.from_numpy(random.random((2, 6, 7))), torch.from_numpy(random.random((2, 6, 7)) < 0.8)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), gamma=st.floats(0, 5))
def test_equals_torchvision_on_hard_labels(seed: int, gamma: float) -> None:
    logits, target, valid = example(seed)
    target = target.round()
    parts = binary_focal_parts(logits, target, valid, gamma=gamma)
    expected = (sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma) * valid).sum(dim=(1, 2))
    assert parts.sums.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert parts.counts.tolist() == valid.sum(dim=(1, 2)).tolist()


def test_without_focus_it_is_the_cross_entropy_of_soft_labels_too() -> None:
    arrays = example(1)
    expected = bce_parts(*arrays, pos_weight=torch.tensor(1.0))
    assert binary_focal_parts(*arrays, gamma=0.0).sums.tolist() == pytest.approx(expected.sums.tolist(), rel=1e-5)


def test_what_is_wrong_with_certainty_is_pulled_back_at_full_strength() -> None:
    logits = torch.tensor([[-1e4, 1e4, -1e4, 1e4]], requires_grad=True)
    binary_focal_parts(logits, torch.tensor([[1.0, 0, 0, 1]]), torch.ones(1, 4, dtype=torch.bool)).sums.sum().backward()
    assert logits.grad is not None and logits.grad.tolist() == [[-1, 1, 0, 0]]
