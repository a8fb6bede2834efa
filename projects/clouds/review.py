"""Scenes with what the network says of them, judged one by one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from common.data.blocks import NOT_COUNTED
from common.metrics.segmentation import BinarySegmentation
from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.module import CloudModule
from projects.clouds.panels import Answer, Sample, sample_of
from projects.clouds.scenes import CLOUD


class Review(NamedTuple):
    """One scene.

    Attributes:
        sample: what a panel shows of it.
        iou: of its cloud, 0..1: 1 where there is none and none is predicted, NaN where no pixel counts.
        boundary_f: F-score of the cloud's boundary, 0..1, NaN where there is none.
    """

    sample: Sample
    iou: float
    boundary_f: float


def review(module: CloudModule, data: CloudData, split: str, *, most: int) -> Iterator[Review]:
    """Runs the network on scenes spread evenly over a split and judges them one by one.

    Args:
        module: is put in inference mode.
        data: after `setup`.
        split: "val" or "test".
        most: number of scenes; all where the split holds fewer.
    """
    module.eval()
    dataset: WholeScenes = data.datasets[split]  # type: ignore[assignment]
    for scene in np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist():
        with torch.inference_mode():
            probability, target = module.predict_map(dataset, scene), dataset.target(scene)
        counted = (target != NOT_COUNTED) & np.isfinite(probability)
        maps = (probability >= module.threshold, target == CLOUD, counted)
        scores = BinarySegmentation(module.hparams["boundary_px"])(*map(torch.from_numpy, maps))
        iou, boundary_f = float(scores["scene_iou"]), float(scores["scene_boundary_f"])
        answer = Answer(scene, probability, target, iou)
        yield Review(sample_of(dataset, answer, threshold=module.threshold), iou, boundary_f)
