import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.losses.parts import LossParts, sum_samples
from common.metrics.mean_loss import MeanLoss


def parts_of(values: np.ndarray, counts: np.ndarray) -> LossParts:
    return LossParts(torch.from_numpy(values), torch.from_numpy(counts))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), samples=st.integers(1, 50), batch=st.integers(1, 9), ranks=st.integers(1, 3))
def test_batches_and_ranks_do_not_show(seed: int, samples: int, batch: int, ranks: int) -> None:
    random = np.random.default_rng(seed)
    values = random.lognormal(0, 9, samples)
    counts = random.integers(0, 19, samples).astype(np.float64)
    metrics = [MeanLoss() for _ in range(ranks)]
    for rank, metric in enumerate(metrics):
        own = slice(rank, None, ranks)
        for start in range(0, len(values[own]), batch):
            metric.update(parts_of(values[own][start : start + batch], counts[own][start : start + batch]))
    for metric in metrics[1:]:
        metrics[0].merge_state(metric)
    expected = values.sum() / max(counts.sum(), 1)
    assert metrics[0].compute().item() == pytest.approx(expected, rel=1e-12, abs=0)


def test_a_small_batch_weighs_as_much_as_its_samples() -> None:
    metric = MeanLoss()
    metric.update(parts_of(np.array([1.0, 2.0, 3.0]), np.ones(3)))
    metric.update(parts_of(np.array([10.0]), np.ones(1)))
    assert metric.compute().item() == 4.0
    metric.reset()
    metric.update(parts_of(np.zeros(2), np.zeros(2)))
    assert metric.compute().item() == 0.0  # as in training, nothing labelled costs nothing


def test_nothing_broken_is_hidden() -> None:
    metric = MeanLoss()
    metric.update(parts_of(np.array([1.0, np.nan]), np.ones(2)))
    metric.update(parts_of(np.array([1.0]), np.ones(1)))
    assert metric.compute().isnan()


def test_sums_of_samples_are_wide() -> None:
    values = torch.full((2, 3, 1000, 1000), 0.1)
    sums = sum_samples(values)
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx([3e6 * float(torch.tensor(0.1))] * 2, rel=1e-12)
    assert sum_samples(torch.tensor([True, False])).tolist() == [1, 0]


def test_a_rank_without_samples_agrees_on_the_type() -> None:
    used, unused = MeanLoss(), MeanLoss()
    used.update(parts_of(np.array([1.0]), np.ones(1)))
    assert used.sums.dtype == unused.sums.dtype == torch.float64  # gathered with another width, they would be garbage
