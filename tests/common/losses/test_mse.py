import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from common.losses.mse import mse_parts


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 1))
def test_equals_the_brier_score(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    logits, target = 3 * random.normal(size=(2, 6, 7)), random.random((2, 6, 7)) < 0.5
    valid = random.random((2, 6, 7)) < share
    valid[:, 0, 0] = True
    parts = mse_parts(torch.from_numpy(logits), torch.from_numpy(target).float(), torch.from_numpy(valid))
    p = 1 / (1 + np.exp(-logits))
    expected = [brier_score_loss(target[row][valid[row]], p[row][valid[row]], labels=[False, True]) for row in (0, 1)]
    assert (parts.sums / parts.counts).tolist() == pytest.approx(expected, rel=1e-5)


def test_soft_labels_are_met_halfway() -> None:
    parts = mse_parts(torch.zeros(1, 2), torch.tensor([[0.5, 0.1]]), torch.ones(1, 2, dtype=torch.bool))
    assert parts.sums.item() == pytest.approx(0.16) and parts.counts.item() == 2
