import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.losses import Kind
from projects.pose.scores.stage_scores import StageScores

KINDS: tuple[Kind, ...] = ("paf", "heat")
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def random_batch(seed: int, samples: int = 5) -> Batch:
    random = np.random.default_rng(seed)
    shape = (samples, 4, 3, 6)
    target = random.uniform(-1, 1, shape) * (random.random(shape) < 0.5)
    prediction, counted = random.uniform(-1, 1, shape), random.random((samples, 1, 3, 6)) < 0.8
    return torch.from_numpy(prediction).float(), torch.from_numpy(target).float(), torch.from_numpy(counted)


def scores_of(kind: Kind, *batches: Batch) -> dict[str, float]:
    metric = StageScores(kind)
    for batch in batches:
        metric.update(*batch)
    return {name: value.item() for name, value in metric.compute().items()}


def independent(kind: Kind, batch: Batch) -> dict[str, float]:
    p, t, counted = (part.numpy().astype(float) for part in batch)
    cells = counted[:, 0] > 0
    said, true = (np.moveaxis(maps, 1, -1)[cells] for maps in (p, t))  # (cells, channels)
    mae = np.abs(said - true).mean()
    if kind == "paf":
        said, true = (np.linalg.norm(maps.reshape(len(maps), -1, 2), axis=2) for maps in (said, true))
    else:
        said, true = np.abs(said[:, :-1]), np.abs(true[:, :-1])
    island = true > 0.01
    return {
        "mae": mae,
        "recall": (said[true >= 0.5] >= 0.5).mean(),
        "island_recall": 1 - np.maximum(true - said, 0)[island].sum() / true[island].sum(),
        "activity": said[island].sum() / true[island].sum(),
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_equals_numpy_in_any_batches(kind: Kind, seed: int) -> None:
    whole = random_batch(seed)
    expected = independent(kind, whole)
    assert scores_of(kind, whole) == pytest.approx(expected, rel=1e-6)
    parts = [tuple(values[part] for values in whole) for part in (slice(0, 1), slice(1, 5))]
    assert scores_of(kind, *parts) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]


def test_literal_values() -> None:
    """A joint of .8, .4 and .005, of which .5, .4 and 1 was said; the background is all wrong."""
    target = torch.tensor([[0.8, 0.4, 0.005], [0.0, 0.0, 0.0]])[None, :, None]
    prediction = torch.tensor([[0.5, -0.4, 1.0], [1.0, 1.0, 1.0]])[None, :, None]
    found = scores_of("heat", (prediction, target, torch.ones(1, 1, 1, 3, dtype=torch.bool)))
    assert found["mae"] == pytest.approx((0.3 + 0.8 + 0.995 + 3) / 6)
    assert found["recall"] == 1
    assert found["island_recall"] == pytest.approx(1 - 0.3 / 1.2)
    assert found["activity"] == pytest.approx(0.9 / 1.2)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_are_dead_and_the_target_itself_is_perfect(kind: Kind) -> None:
    _, target, counted = random_batch(1)
    dead, perfect = (
        scores_of(kind, (torch.zeros_like(target), target, counted)),
        scores_of(kind, (target,) * 2 + (counted,)),
    )
    assert (dead["recall"], dead["island_recall"], dead["activity"]) == (0, pytest.approx(0), 0)
    assert perfect == {"mae": 0, "recall": 1, "island_recall": 1, "activity": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_counted_changes_nothing(kind: Kind) -> None:
    p, t, counted = random_batch(2)
    spoilt = torch.where(counted, p, math.nan), torch.where(counted, t, math.nan), counted
    assert scores_of(kind, spoilt) == scores_of(kind, (p, t, counted))
    nothing = (p, t, torch.zeros_like(counted))
    assert scores_of(kind, nothing) == pytest.approx(
        dict.fromkeys(scores_of(kind, (p, t, counted)), math.nan), nan_ok=True
    )


def test_half_precision_is_summed_in_full() -> None:
    """5000 cells: in float16 a sum of ones ends at 2048."""
    maps, counted = torch.ones(1, 2, 50, 100).half(), torch.ones(1, 1, 50, 100, dtype=torch.bool)
    found = scores_of("paf", (0 * maps, maps, counted))
    assert found["mae"] == 1 and found["activity"] == 0
    assert scores_of("paf", (maps / 2, maps, counted))["activity"] == pytest.approx(0.5)


def scores_of_rank(rank: int, rendezvous: Path) -> list[dict[str, float]]:
    """On one of two processes: one sample and four, then none and all."""
    address, patience = f"file://{rendezvous}", timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    whole, results = random_batch(3), []
    for parts in ((slice(0, 1),), (slice(1, 5),)), ((), (slice(0, 5),)):
        batches = [tuple(values[part] for values in whole) for part in parts[rank]]
        results.append(scores_of("paf", *batches))  # type: ignore[arg-type]
    torch.distributed.destroy_process_group()
    return results


def test_two_processes_with_uneven_and_empty_shards(tmp_path: Path) -> None:
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as processes:
        ranks = list(processes.map(scores_of_rank, range(2), [tmp_path / "rendezvous"] * 2))
    expected = scores_of("paf", random_batch(3))
    assert ranks == [[pytest.approx(expected, rel=1e-12)] * 2] * 2
