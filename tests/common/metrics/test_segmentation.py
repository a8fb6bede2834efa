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
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from common.metrics.boundary import boundary_counts, boundary_f
from common.metrics.segmentation import SCENE_SCORES, BinarySegmentation

Scene = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
ORACLES = {"iou": jaccard_score, "precision": precision_score, "recall": recall_score, "f1": f1_score}


def random_scenes(seed: int, scenes: int) -> list[Scene]:
    """Of several sizes; some without cloud, some without prediction, some without a valid pixel."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 12, (scenes, 2))
    shares = random.choice([0.0, 0.3, 0.9, 1.0], size=(scenes, 3), p=[0.2, 0.3, 0.3, 0.2])
    return [
        (
            torch.from_numpy(random.random(size) < a),
            torch.from_numpy(random.random(size) < b),
            valid_of(random, size, c),
        )
        for size, (a, b, c) in zip(sizes, shares, strict=True)
    ]


def valid_of(random: np.random.Generator, size: np.ndarray, share: float) -> torch.Tensor:
    return torch.from_numpy(random.random(size) < share)


def metric_of(scenes: list[Scene]) -> BinarySegmentation:
    metric = BinarySegmentation()
    for scene in scenes:
        metric.update(*scene)
    return metric


def values_of(metric: BinarySegmentation) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def valid_pixels(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Target and prediction."""
    chosen = [(target[valid], predicted[valid]) for predicted, target, valid in scenes]
    target, predicted = (torch.cat(values).numpy() for values in zip(*chosen, strict=True))
    return target, predicted


def oracle(scenes: list[Scene]) -> dict[str, float]:
    """By scikit-learn, NaN where undefined; it knows no NaN for f1."""
    target, predicted = valid_pixels(scenes)
    if not len(target):
        return dict.fromkeys((*ORACLES, "accuracy", "boundary_f"), math.nan)
    scores = {name: score(target, predicted, zero_division=0) for name, score in ORACLES.items()}
    undefined = {"precision": not predicted.any(), "recall": not target.any()}
    for name in ("iou", "f1"):
        undefined[name] = undefined["precision"] and undefined["recall"]
    scores |= {name: math.nan for name, missing in undefined.items() if missing}
    edges = torch.stack([boundary_counts(*scene) for scene in scenes]).sum(dim=0)
    return {**scores, "accuracy": accuracy_score(target, predicted), "boundary_f": boundary_f(edges).item()}


def independent(scenes: list[Scene]) -> dict[str, float]:
    single = [oracle([scene]) for scene in scenes]
    for scores, (_, _, valid) in zip(single, scenes, strict=True):
        if valid.any() and math.isnan(scores["iou"]):
            scores["iou"] = scores["f1"] = 1.0
    columns = {name: [scores[name] for scores in single if not math.isnan(scores[name])] for name in SCENE_SCORES}
    means = {f"scene_{name}": float(np.mean(values)) if values else math.nan for name, values in columns.items()}
    return {**oracle(scenes), **means}


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), scenes=st.integers(1, 6))
def test_equals_scikit_learn(seed: int, scenes: int) -> None:
    whole = random_scenes(seed, scenes)
    assert values_of(metric_of(whole)) == pytest.approx(independent(whole), rel=1e-9, abs=1e-9, nan_ok=True)


def scene_of(predicted: list[int], target: list[int], valid: list[int] | None = None) -> Scene:
    rows = [torch.tensor([row], dtype=torch.bool) for row in (predicted, target, valid or [1] * len(target))]
    return rows[0], rows[1], rows[2]


def test_literal_scenes() -> None:
    """Half of the cloud found in four pixels; a clear scene left clear; a false alarm; nothing known."""
    metric = metric_of(
        [
            scene_of([1, 0, 0, 0], [1, 1, 0, 0]),
            scene_of([0, 0], [0, 0]),
            scene_of([1, 0, 1], [0, 0, 1], [1, 1, 0]),
            scene_of([1, 1], [0, 1], [0, 0]),
        ]
    )
    found = values_of(metric)
    assert found["iou"] == pytest.approx(1 / 3) and found["f1"] == pytest.approx(1 / 2)
    assert found["precision"] == found["recall"] == 0.5
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["scene_iou"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["scene_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["scene_precision"] == pytest.approx((1 + 0) / 2), "nothing predicted in the second scene"
    assert found["scene_recall"] == pytest.approx(1 / 2), "nothing to find in the second and the third"
    assert math.isnan(found["boundary_f"]) and math.isnan(found["scene_boundary_f"]), "all pixels touch the border"


def test_only_clear_scenes_left_clear() -> None:
    found = values_of(metric_of([scene_of([0, 0], [0, 0])]))
    right = {name for name, value in found.items() if value == 1}
    assert right == {"accuracy", "scene_iou", "scene_f1"}
    assert all(math.isnan(value) for name, value in found.items() if name not in right)


def test_without_scenes() -> None:
    with pytest.warns(UserWarning, match="before the ``update``"):
        found = values_of(BinarySegmentation())
    assert all(math.isnan(value) for value in found.values())
    assert len(found) == 11


def test_a_call_adds_a_scene_and_says_its_own_scores() -> None:
    scenes = random_scenes(5, 4)
    metric = BinarySegmentation()
    for scene in scenes:
        own = {name: value.item() for name, value in metric(*scene).items()}
        assert own == pytest.approx(independent([scene]), nan_ok=True)
    assert values_of(metric) == pytest.approx(independent(scenes), nan_ok=True)


def test_billions_of_pixels_lose_none() -> None:
    metric = metric_of([scene_of([1, 0], [1, 0])])
    metric.pixels = metric.pixels + 4_000_000_000
    metric.update(*scene_of([1], [0]))
    assert metric.pixels.tolist() == [4_000_000_001, 4_000_000_001, 4_000_000_000, 4_000_000_001]
    assert values_of(metric)["accuracy"] == pytest.approx(8_000_000_002 / 16_000_000_003, rel=1e-15)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_merged_ranks_give_the_very_values_of_the_whole(cut: int) -> None:
    whole = random_scenes(3, 12)
    merged = metric_of(whole[cut:])
    merged.merge_state(metric_of(whole[:cut]))
    assert values_of(merged) == pytest.approx(values_of(metric_of(whole)), rel=0, abs=0, nan_ok=True)


def values_of_rank(rank: int, rendezvous: Path) -> list[dict[str, float]]:
    """On one of two processes: 3 scenes and 9, then none and 12."""
    address, patience = f"file://{rendezvous}", timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    whole, results = random_scenes(3, 12), []
    for shards in (whole[:3], whole[3:]), ([], whole):
        results.append(values_of(metric_of(shards[rank])))
    torch.distributed.destroy_process_group()
    return results


def test_two_processes_with_uneven_and_empty_shards(tmp_path: Path) -> None:
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as processes:
        ranks = list(processes.map(values_of_rank, range(2), [tmp_path / "rendezvous"] * 2))
    expected = values_of(metric_of(random_scenes(3, 12)))
    assert ranks == [[pytest.approx(expected, rel=0, abs=0, nan_ok=True)] * 2] * 2
