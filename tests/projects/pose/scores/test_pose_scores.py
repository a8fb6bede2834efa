import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from projects.pose.scores.evaluate import SCORES, keypoint_scores
from projects.pose.scores.pck import pck
from projects.pose.scores.pose_scores import PoseScores
from projects.pose.skeleton import COCO
from tests.projects.pose.scenes import random_results, random_truth

TRUTH = random_truth(26, images=6)
RESULTS = random_results(TRUTH, 27)
LARGE = 1 << 40  # an id that no float32 tells from the next


def of_images(*ids: int) -> list[dict[str, Any]]:
    return [result for result in RESULTS if result["image_id"] in ids]


def metric_of(*batches: list[int], truth: dict[str, Any] = TRUTH) -> PoseScores:
    metric = PoseScores(COCO)
    metric.ground_truth = truth
    for ids in batches:
        metric.update(of_images(*ids), ids)
    return metric


def values_of(metric: PoseScores) -> dict[str, float]:
    found = metric.compute()
    assert all(value.dtype == torch.float32 and value.shape == () for value in found.values())
    return {name: value.item() for name, value in found.items()}


def expected_of(ids: list[int]) -> Any:
    found = keypoint_scores(TRUTH, of_images(*ids), skeleton=COCO, image_ids=ids)
    found["pck"] = pck(TRUTH, of_images(*ids), skeleton=COCO, image_ids=ids)
    return pytest.approx(found, rel=1e-6, nan_ok=True)


def test_equals_the_functions_on_the_pictures_that_were_given() -> None:
    whole = [1, 2, 3, 4, 5, 6]
    assert list(values_of(metric_of(whole))) == [*SCORES, "pck"]
    assert values_of(metric_of(whole)) == expected_of(whole)
    assert values_of(metric_of([5], [], [2, 3], [1, 6, 4])) == expected_of(whole)
    part = values_of(metric_of([2, 6]))
    assert part == expected_of([2, 6]) and part != expected_of(whole)


def test_a_picture_counts_once() -> None:
    whole = metric_of([1, 2, 3], [3, 2, 1], [4, 4, 5, 6])
    assert values_of(whole) == expected_of([1, 2, 3, 4, 5, 6])


def test_reset_and_several_times() -> None:
    metric = metric_of([1, 2])
    for _ in range(2):
        assert values_of(metric) == expected_of([1, 2])
    metric.update(of_images(3), [3])
    assert values_of(metric) == expected_of([1, 2, 3])
    metric.reset()
    metric.update(of_images(4, 5), [4, 5])
    assert values_of(metric) == expected_of([4, 5])
    metric.ground_truth = {**TRUTH, "annotations": []}
    assert all(map(math.isnan, values_of(metric).values()))


def test_merged_states() -> None:
    merged = metric_of([5], [1, 2])
    merged.merge_state(metric_of([3], [4, 6]))
    assert values_of(merged) == expected_of([1, 2, 3, 4, 5, 6])


def test_without_pictures_or_truth() -> None:
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(map(math.isnan, values_of(metric_of()).values()))
    assert set(values_of(metric_of_nothing_found()).values()) == {0.0}
    blind = PoseScores(COCO)
    blind.update([], [1])
    with pytest.raises(ValueError, match="set `ground_truth` before `compute`"):
        blind.compute()
    with pytest.raises(ValueError, match=r"results for pictures \[2\], which are not given"):
        blind.update(of_images(2), [1])


def metric_of_nothing_found() -> PoseScores:
    metric = metric_of()
    metric.update([], [1, 2, 3, 4, 5, 6])
    return metric


def test_large_ids_are_told_apart() -> None:
    truth = {
        **TRUTH,
        "images": [image | {"id": LARGE + image["id"]} for image in TRUTH["images"]],
        "annotations": [one | {"image_id": LARGE + one["image_id"]} for one in TRUTH["annotations"]],
    }
    metric = PoseScores(COCO)
    metric.ground_truth = truth
    metric.update(
        [one | {"image_id": LARGE + one["image_id"]} for one in RESULTS], [LARGE + number for number in range(1, 7)]
    )
    assert values_of(metric) == expected_of([1, 2, 3, 4, 5, 6])


def values_of_rank(rank: int, rendezvous: Path) -> list[dict[str, float]]:
    """On one of two processes: uneven with a picture on both; none on one; nothing found on one; nothing anywhere."""
    address, patience = f"file://{rendezvous}", timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    found = []
    for shards in ([[1, 2], [3]], [[3, 4, 5, 6]]), ([], [[1], [2, 3, 4]]), ([[1]], [[], [2]]):
        metric = metric_of(*shards[rank])
        found.append(values_of(metric))
        assert values_of(metric) == pytest.approx(found[-1], nan_ok=True)
        own = set(torch.cat(metric.image_ids).tolist()) if metric.image_ids else set()
        assert own == {number for shard in shards[rank] for number in shard}
    found.append(values_of(metric_of()))
    torch.distributed.destroy_process_group()
    return found


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric PoseScores was called before")
def test_two_processes_with_uneven_and_empty_shards(tmp_path: Path) -> None:
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as processes:
        ranks = list(processes.map(values_of_rank, range(2), [tmp_path / "rendezvous"] * 2))
    for rank in ranks:
        assert rank[:3] == [expected_of([1, 2, 3, 4, 5, 6]), expected_of([1, 2, 3, 4]), expected_of([1, 2])]
        assert all(map(math.isnan, rank[3].values()))
