"""A review says of each scene what the scores of a test say of it alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.module import CloudModule
from projects.clouds.nets import CloudNet
from projects.clouds.review import review


def _opened(root: Path) -> tuple[CloudModule, CloudData, WholeScenes]:
    torch.manual_seed(0)
    module = CloudModule(net=lambda bands: CloudNet(bands, arch="UNet"), optimizer=torch.optim.AdamW, tile_hw=(64, 64))
    data = CloudData(root=str(root), tile_hw=(64, 64), batch_size=2)
    data.setup("test")
    return module, data, data.datasets["test"]  # type: ignore[return-value]


def test_it_says_what_the_network_says(cloud_scenes: Path) -> None:
    module, data, scenes = _opened(cloud_scenes)
    seen = list(review(module, data, "test", most=10))
    assert [each.sample.name for each in seen] == [scenes.source_of(index)[0] for index in range(len(scenes))]
    assert not module.training
    for index, (sample, iou, _) in enumerate(seen):
        with torch.inference_mode():
            cloud = module.predict_map(scenes, index) >= module.threshold
        target = scenes.target(index)
        true, counted = target == 1, target != 255
        either = ((cloud | true) & counted).sum()
        assert iou == pytest.approx((cloud & true & counted).sum() / either if either else 1)
        assert sample.iou == iou
        assert sample.labelled == pytest.approx(true.sum() / counted.sum())
        assert sample.predicted == pytest.approx((cloud & counted).sum() / counted.sum())
        assert sample.size_hw == (101, 138)


def test_it_spreads_over_the_split(cloud_scenes: Path) -> None:
    module, data, scenes = _opened(cloud_scenes)
    assert [each.sample.name for each in review(module, data, "test", most=1)] == [scenes.source_of(0)[0]]


def test_scenes_are_seen_as_they_are(cloud_scenes: Path) -> None:
    module, data, _ = _opened(cloud_scenes)
    (seen,) = review(module, data, "val", most=1)
    validated: WholeScenes = data.datasets["val"]  # type: ignore[assignment]
    np.testing.assert_array_equal(seen.sample.whole.scene, validated.rgb(0))
    part = seen.sample.worst_box
    window = validated.rgb(0)[part.top : part.bottom, part.left : part.right]
    np.testing.assert_array_equal(seen.sample.worst.scene, window)
