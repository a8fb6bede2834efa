import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from common.metrics.points import SinglePointDetection


class Batch(NamedTuple):
    points: torch.Tensor
    scores: torch.Tensor
    target: torch.Tensor
    visible: torch.Tensor
    scale: torch.Tensor

    def part(self, start: int, stop: int | None) -> "Batch":
        return Batch(*(values[start:stop] for values in self))


def random_batch(seed: int, frames: int) -> Batch:
    """Detections about as far as tau (in the input, 1 px is 1.6 reference px); few different scores, so some tie."""
    random = np.random.default_rng(seed)
    target = random.uniform(0, 320, (frames, 2)).astype(np.float32)
    points = target + random.normal(scale=2.5, size=(frames, 2)).astype(np.float32)
    scores = random.integers(0, 8, frames).astype(np.float32) / 8
    scale = random.uniform(1, 6, (frames, 1)).astype(np.float32) * np.ones((1, 2), np.float32)
    return Batch(*map(torch.from_numpy, (points, scores, target, random.random(frames) < 0.7, scale)))


def metric_of(*batches: Batch, tau: float = 4.0, threshold: float = 0.5) -> SinglePointDetection:
    metric = SinglePointDetection(tau, threshold)
    for points, scores, target, visible, scale in batches:
        metric.update(points, scores, target, visible, scale_xy=scale, width=320)
    return metric


def values_of(metric: SinglePointDetection) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def independent(batch: Batch, *, tau: float, threshold: float) -> dict[str, float]:
    """One frame after the other, in float64; AP by scikit-learn, whose recall counts right detections only."""
    counts = dict.fromkeys(("tp", "fp1", "fp2", "tn", "fn"), 0)
    original, reference, right = [], [], []
    for point, score, target, visible, scale in zip(*(values.double().numpy() for values in batch), strict=True):
        d = math.dist(point * scale, target * scale)
        near = d * 512 / (320 * scale[0]) <= tau
        right.append(bool(visible) and near)
        if score < threshold:
            counts["fn" if visible else "tn"] += 1
        elif not visible:
            counts["fp2"] += 1
        else:
            counts["tp" if near else "fp1"] += 1
            original.append(d)
            reference.append(d * 512 / (320 * scale[0]))
    tp, fp1, fp2, tn, fn = counts.values()
    precision, recall = tp / max(tp + fp1 + fp2, 1), tp / max(tp + fn, 1)
    found_share = sum(right) / max(int(batch.visible.sum()), 1)
    return {
        **{name: float(count) for name, count in counts.items()},
        "accuracy": (tp + tn) / len(right),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if tp else 0.0,
        "ap": found_share * average_precision_score(right, batch.scores.numpy()) if any(right) else 0.0,
        "rmse_px": float(np.sqrt(np.mean(np.square(reference)))) if reference else math.nan,
        "median_px": float(np.median(reference)) if reference else math.nan,
        "rmse_original_px": float(np.sqrt(np.mean(np.square(original)))) if original else math.nan,
        "median_original_px": float(np.median(original)) if original else math.nan,
    }


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 40),
    tau=st.floats(0.5, 9),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.875, 1.0]),
)
def test_equals_an_independent_computation(seed: int, frames: int, tau: float, threshold: float) -> None:
    batch = random_batch(seed, frames)
    found = values_of(metric_of(batch, tau=tau, threshold=threshold))
    assert found == pytest.approx(independent(batch, tau=tau, threshold=threshold), rel=1e-4, nan_ok=True)


def test_literal_frames() -> None:
    """A hit 3 reference px away, a far one, a ghost, an empty frame, a miss; 640 wide input of a 1280 wide video."""
    metric = SinglePointDetection()
    metric.update(
        torch.tensor([[103.75, 50.0], [100.0, 200.0], [5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]),
        torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1]),
        torch.tensor([[100.0, 50.0], [100.0, 100.0], [0.0, 0.0], [0.0, 0.0], [50.0, 50.0]]),
        torch.tensor([True, True, False, False, True]),
        scale_xy=torch.full((5, 2), 2.0),
        width=640,
    )
    found = values_of(metric)
    assert [found[name] for name in ("tp", "fp1", "fp2", "tn", "fn")] == [1, 1, 1, 1, 1]
    assert found["accuracy"] == pytest.approx(0.4)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(0.5), "the far detection is not in the denominator"
    assert found["ap"] == pytest.approx(1 / 3), "here it is: one of three balls, found first"
    assert found["median_original_px"] == pytest.approx((7.5 + 200) / 2)
    assert found["rmse_px"] == pytest.approx(math.sqrt((3**2 + 80**2) / 2))


def test_without_frames() -> None:
    metric = SinglePointDetection(threshold=0.3)
    with pytest.warns(UserWarning, match="before the ``update``"):
        found = values_of(metric)
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"accuracy", "rmse_px", "median_px", "rmse_original_px", "median_original_px"}
    assert not any(value for name, value in found.items() if name not in undefined)
    assert metric.best_threshold() == pytest.approx(0.3)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 30))
def test_the_best_threshold_is_the_best_of_all(seed: int, frames: int) -> None:
    batch = random_batch(seed, frames)
    metric = metric_of(batch)
    metric.threshold = metric.best_threshold()
    candidates = [*set(batch.scores.tolist()), 1.1]
    best = max(independent(batch, tau=4, threshold=candidate)["accuracy"] for candidate in candidates)
    assert values_of(metric)["accuracy"] == pytest.approx(best)


def test_where_finding_nothing_is_best_the_threshold_is_above_all_scores() -> None:
    batch = random_batch(0, 12)._replace(visible=torch.zeros(12, dtype=torch.bool))
    metric = metric_of(batch)
    metric.threshold = metric.best_threshold()
    assert values_of(metric)["accuracy"] == 1 and metric.threshold < 1


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_batches_and_merged_ranks_give_the_values_of_the_whole(cut: int) -> None:
    whole = random_batch(3, 20)
    expected = values_of(metric_of(whole))
    first, second = whole.part(0, cut), whole.part(cut, None)
    assert values_of(metric_of(first, second)) == pytest.approx(expected)
    merged = metric_of(second)
    merged.merge_state(metric_of(first))
    assert values_of(merged) == pytest.approx(expected)


def values_of_rank(rank: int, rendezvous: Path) -> list[dict[str, float]]:
    """On one of two processes: 3 frames and 17 frames (in two batches), then none and 20."""
    address, patience = f"file://{rendezvous}", timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    whole, results = random_batch(3, 20), []
    for shards in ([whole.part(0, 3)], [whole.part(3, 9), whole.part(9, None)]), ([], [whole]):
        metric = metric_of(*shards[rank])
        best = metric.best_threshold()
        results.append({**values_of(metric), "best": best, "own frames": float(sum(map(len, metric.scores)))})
    torch.distributed.destroy_process_group()
    return results


def test_two_processes_with_uneven_and_empty_shards(tmp_path: Path) -> None:
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as processes:
        ranks = list(processes.map(values_of_rank, range(2), [tmp_path / "rendezvous"] * 2))
    single = metric_of(random_batch(3, 20))
    expected = {**values_of(single), "best": single.best_threshold()}
    assert ranks[0] == [pytest.approx({**expected, "own frames": own}) for own in (3, 0)]
    assert ranks[1] == [pytest.approx({**expected, "own frames": own}) for own in (17, 20)]
