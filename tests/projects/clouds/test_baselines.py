import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from projects.clouds.baselines import BrightnessThreshold

Tiles = list[tuple[torch.Tensor, torch.Tensor]]


def random_tiles(seed: int, *, scale: float = 1.0) -> Tiles:
    """Three batches, cloud brighter by and large, with 9% of the labels not counted."""
    random = np.random.default_rng(seed)
    labels = random.choice(np.array([0, 1, 254, 255], dtype=np.uint8), p=[0.6, 0.3, 0.05, 0.05], size=(3, 2, 8, 9))
    images = random.lognormal(-2, 0.7, (3, 2, 4, 8, 9)) * np.where(labels == 1, 2.5, 1)[:, :, None]
    return [
        (torch.from_numpy(i), torch.from_numpy(m)) for i, m in zip((scale * images).astype("f4"), labels, strict=True)
    ]


def overlap(brightness: np.ndarray, cloud: np.ndarray, threshold: float) -> tuple[int, int]:
    """Intersection and union of the cloud with what is at least as bright as a threshold."""
    said = brightness >= threshold
    return int((said & cloud).sum()), int((said | cloud).sum())


def best_threshold(brightness: np.ndarray, cloud: np.ndarray) -> float:
    return float(max(brightness, key=lambda value: np.divide(*overlap(brightness, cloud, value))))


def counted(baseline: BrightnessThreshold, tiles: Tiles) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the pixels that count, and whether they are cloud."""
    kept = [(baseline.brightness(images)[labels < 2], labels[labels < 2] == 1) for images, labels in tiles]
    brightness, cloud = (torch.cat(values).numpy() for values in zip(*kept, strict=True))
    return brightness, cloud


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1.0, 100.0, 10_000.0]))
def test_is_as_good_as_the_best_of_all_thresholds(seed: int, scale: float) -> None:
    baseline, tiles = BrightnessThreshold(["B2", "B3", "B4", "B8"]), random_tiles(seed, scale=scale)
    baseline.fit(tiles)
    brightness, cloud = counted(baseline, tiles)
    best = best_threshold(brightness, cloud)
    both, either = overlap(brightness, cloud, best)
    in_its_bin = ((brightness >= best / 2 ** (1 / 256)) & (brightness < best)).sum()
    assert both / either >= np.divide(*overlap(brightness, cloud, baseline.threshold)) >= both / (either + in_its_bin)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), low=st.integers(-13, 10))
def test_is_the_very_best_of_values_in_bins_of_their_own(seed: int, low: int) -> None:
    random = np.random.default_rng(seed)
    values = (2.0 ** (low + random.permutation(400)[:60] / 100)).astype(np.float32)
    labels = torch.from_numpy((random.random(60) < random.random()).astype(np.uint8)).reshape(1, 6, 10)
    labels[0, 0, :2] = torch.tensor([0, 1])
    images = torch.from_numpy(values).reshape(1, 1, 6, 10)
    baseline = BrightnessThreshold(["B8"])
    baseline.fit([(images, labels)])
    cloud = labels.numpy().ravel() == 1
    best = np.divide(*overlap(values, cloud, best_threshold(values, cloud)))
    said = baseline(images).numpy().ravel()
    assert jaccard_score(cloud, said) == pytest.approx(best, rel=1e-12)
    assert (said == (values >= baseline.threshold)).all()


def test_order_and_batches_do_not_show_and_a_new_fit_forgets() -> None:
    first, second = BrightnessThreshold(["B2", "B8"]), BrightnessThreshold(["B2", "B8"])
    tiles = [(images[:, :2], labels) for images, labels in random_tiles(1)]
    first.fit(tiles)
    second.fit([(5 * images, labels) for images, labels in tiles])
    assert second.threshold != first.threshold
    second.fit([(images[[row]], labels[[row]]) for images, labels in reversed(tiles) for row in (1, 0)])
    assert torch.equal(first.cloud, second.cloud) and torch.equal(first.clear, second.clear)
    assert (first.cloud + first.clear).sum() == sum((labels < 2).sum() for _, labels in tiles)


def test_brightness_is_that_of_the_visible_bands() -> None:
    images = torch.tensor([1.0, 2, 3, 30])[None, :, None, None]
    assert BrightnessThreshold(["B4", "B3", "B2", "B8"]).brightness(images).item() == 2
    assert BrightnessThreshold(["B8", "B11", "B3", "B12"]).brightness(images).item() == 3
    assert BrightnessThreshold(["B8", "B11", "B9", "B12"]).brightness(images).item() == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.int32])
def test_any_type_and_missing_values(dtype: torch.dtype) -> None:
    images = torch.tensor([10, 12, 90, 99], dtype=dtype)[None, None, None]
    labels = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8)
    baseline = BrightnessThreshold(["B3"])
    baseline.fit([(images, labels), (torch.tensor([[[[math.nan, math.inf]]]]), torch.tensor([[[1, 1]]]).byte())])
    assert baseline.cloud.sum() == 3 and 12 < baseline.threshold <= 90
    assert baseline(images).tolist() == [[[False, False, True, True]]]
    assert baseline(torch.tensor([[[[math.nan, math.inf, -math.inf]]]])).tolist() == [[[False, True, False]]]


def test_the_lower_end_of_a_bin_is_in_it() -> None:
    images, labels = torch.tensor([[[[0.25, 0.499, 0.5]]]]), torch.tensor([[[0, 0, 1]]], dtype=torch.uint8)
    baseline = BrightnessThreshold(["B3"])
    baseline.fit([(images, labels)])
    assert baseline.threshold == 0.5 and baseline(images).tolist() == [[[False, False, True]]]


def test_where_nothing_or_everything_is_cloud() -> None:
    images, none = torch.tensor([[[[-1.0, 0.0, 0.5]]]]), torch.zeros(1, 1, 3, dtype=torch.uint8)
    baseline = BrightnessThreshold(["B3"])
    assert not baseline(images).any(), "nothing was seen"
    baseline.fit([(images, none)])
    assert baseline.threshold == math.inf and not baseline(images).any()
    baseline.fit([(images, none + 1)])
    assert baseline.threshold == -math.inf and baseline(images).all()


def test_it_is_in_the_checkpoint_and_keeps_its_precision() -> None:
    fitted, restored = BrightnessThreshold(["B3"]), BrightnessThreshold(["B3"])
    fitted.fit([(images[:, :1], labels) for images, labels in random_tiles(2)])
    restored.load_state_dict(fitted.state_dict())
    assert restored.bfloat16().threshold == fitted.threshold
