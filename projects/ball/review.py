"""Frames with what the network says of them, judged one by one."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.metrics.points import frame_errors
from projects.ball.data import BallData, BallWindowDataset
from projects.ball.decode import Located, locate
from projects.ball.module import BallModule
from projects.ball.panels import Sample
from projects.ball.targets import BallTargets


class Review(NamedTuple):
    """One frame.

    Attributes:
        sample: what a panel shows of it.
        error_px: distance from label to prediction in pixels of a 512-wide frame, as the scores measure it; 0 where
            the ball is rightly called absent, infinite where it is missed or where there is none.
    """

    sample: Sample
    error_px: float


def review(module: BallModule, data: BallData, split: str, *, most: int) -> Iterator[Review]:
    """Runs the network on windows spread evenly over a split and judges their target frames.

    Args:
        module: is put in inference mode.
        data: after `setup`.
        split: "train", "val" or "test"; training frames come without their random changes.
        most: number of windows; all where the split holds fewer.
    """
    module.eval()
    dataset: BallWindowDataset = data.datasets[split]  # type: ignore[assignment]
    indices = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist()
    for start in range(0, len(indices), data.batch_size):
        batch = dataset.batch(0, indices[start : start + data.batch_size])
        batch = data.on_after_batch_transfer({name: value.to(module.device) for name, value in batch.items()}, 0)
        with torch.inference_mode():
            output, targets = module(batch["frames"]), module.targets(batch)
            outputs = {"output": output, "targets": targets, "located": locate(output, stride=module.stride)}
        errors = errors_px(outputs["located"], targets, batch, threshold=module.threshold)
        for row, error in enumerate(errors.tolist()):
            yield Review(sample_of(outputs, batch, row, dataset, threshold=module.threshold), error)


def errors_px(
    located: Located, targets: BallTargets, batch: Mapping[str, Tensor], *, threshold: float
) -> Float[Tensor, " batch"]:
    """The error of each frame, see `Review.error_px`."""
    width = batch["frames"].shape[-1]
    frames = frame_errors(*located, targets.points_xy, targets.visible, scale_xy=batch["scale_xy"], width=width)
    found = located.scores >= threshold
    distances = frames.distances * 512 / frames.widths
    return torch.where(found & targets.visible, distances, torch.where(found == targets.visible, 0.0, torch.inf))


def sample_of(
    outputs: Mapping[str, Any], batch: Mapping[str, Tensor], row: int, dataset: BallWindowDataset, *, threshold: float
) -> Sample:
    """What a panel shows of one row of a batch.

    Args:
        outputs: `output`, `targets` and `located` of the batch.
        batch: on any device, after `on_after_batch_transfer`.
        row: of the batch.
        dataset: that the batch is from; names the frame.
        threshold: smallest score of a found ball.
    """
    targets, located = outputs["targets"], outputs["located"]
    score = float(located.scores[row])
    frame = batch["frames"][row, int(batch["anchor"][row])].permute(1, 2, 0)
    return Sample(
        frame=frame.clamp(0, 255).round().byte().cpu().numpy(),
        target=targets.heatmap[row, 0].float().cpu().numpy(),
        predicted=outputs["output"].heatmap[row, 0].float().sigmoid().cpu().numpy(),
        true_xy=_point(targets.points_xy[row]) if targets.visible[row] else None,
        predicted_xy=_point(located.points_xy[row]) if score >= threshold else None,
        score=score,
        caption="{} frame {}".format(*dataset.source_of(int(batch["index"][row]))),
    )


def _point(xy: Tensor) -> tuple[float, float]:
    x, y = xy.tolist()
    return x, y
