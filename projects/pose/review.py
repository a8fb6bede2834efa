"""Pictures with what the network and the mean pose say of them, judged person by person."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from projects.pose.coco.annotations import PoseImage
from projects.pose.data import PoseData
from projects.pose.datasets import PoseSamples
from projects.pose.module import PoseModule
from projects.pose.panels import Sample, sample_of
from projects.pose.people import People, in_frame, in_image
from projects.pose.scores.evaluate import MOST_RESULTS
from projects.pose.scores.oks import oks
from projects.pose.skeleton import Skeleton


class Person(NamedTuple):
    """How well a labelled person is found.

    Attributes:
        size_px: square root of the person's area in pixels of the picture: COCO's medium is 32..96, large beyond.
        oks: object keypoint similarity to the detection that is this person's, 0..1; 0 where there is none.
        errors: of each keypoint, in the files' order: from the label to the detection, as a share of the longer side of
            the person's box; infinite where it is not found, NaN where it is not labelled.
    """

    size_px: float
    oks: float
    errors: Float[np.ndarray, " keypoints"]


@dataclass(frozen=True)
class Review:
    """One picture.

    Attributes:
        index: of the picture in its split.
        sample: what a panel shows of it; its OKS is the mean over `people`.
        people: everybody labelled, as the network finds them.
        mean_pose: the same people in the same order, as the baseline does.
    """

    index: int
    sample: Sample
    people: list[Person]
    mean_pose: list[Person]


class JointCounts(NamedTuple):
    """Of each keypoint, over some people.

    Attributes:
        labelled: how many there are.
        right: found within a share of the longer side of the person's box.
        elsewhere: found farther away.
        missed: not found.
        median: error of those that are found, as a share of that side; NaN where none is.
    """

    labelled: Int64[np.ndarray, " keypoints"]
    right: Int64[np.ndarray, " keypoints"]
    elsewhere: Int64[np.ndarray, " keypoints"]
    missed: Int64[np.ndarray, " keypoints"]
    median: Float[np.ndarray, " keypoints"]


def review(module: PoseModule, data: PoseData, split: str, *, most: int) -> Iterator[Review]:
    """Runs the network on pictures spread evenly over a split and judges them one by one.

    Args:
        module: is put in inference mode.
        data: after `setup`.
        split: "train", "val" or "test"; training pictures come without their random changes.
        most: number of pictures; all where the split holds fewer.
    """
    module.eval()
    dataset: PoseSamples = data.datasets[split]  # type: ignore[assignment]
    indices = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist()
    for start in range(0, len(indices), data.batch_size):
        batch = some_pictures(module, data, split, indices[start : start + data.batch_size])
        yield from _judged(module, _answers(module, batch), dataset)


def some_pictures(module: PoseModule, data: PoseData, split: str, indices: Sequence[int]) -> dict[str, Tensor]:
    """Pictures of a split as a batch on the module's device, as a step gets it."""
    batch = data.datasets[split].batch(0, indices)
    return data.on_after_batch_transfer({name: value.to(module.device) for name, value in batch.items()}, 0)


def judge(found: People, image: PoseImage, *, skeleton: Skeleton) -> list[Person]:
    """How well each person of a picture is found.

    As in `pck`, the 20 best detections are given to the people one to one, so that the sum of their similarities is
    largest.

    Args:
        found: best first, in pixels of the picture.
        image: the picture.
        skeleton: of all of them.
    """
    order = skeleton.joint_of_keypoint
    truth, labelled = image.points_xy[:, order], image.visibility[:, order] > 0
    guess, seen = (values[:MOST_RESULTS, order] for values in (found.points_xy, found.scores > 0))
    likeness = oks(guess, truth, area_b=image.areas, sigmas=skeleton.sigmas, visible_b=labelled)
    sides = np.maximum(image.boxes[:, 2:].max(axis=1), 1e-6, dtype=np.float64)
    similar, errors = np.zeros(len(truth)), np.where(labelled, np.inf, np.nan)
    for one, person in zip(*linear_sum_assignment(likeness, maximize=True), strict=True):
        similar[person] = likeness[one, person]
        distances = np.linalg.norm(guess[one] - truth[person], axis=1) / sides[person]
        errors[person] = np.where(labelled[person] & seen[one], distances, errors[person])
    columns = (np.sqrt(image.areas).tolist(), similar.tolist(), errors)
    return [Person(*values) for values in zip(*columns, strict=True)]


def count_joints(people: Sequence[Person], skeleton: Skeleton, *, alpha: float = 0.1) -> JointCounts:
    """How each keypoint is found.

    Args:
        people: any number.
        skeleton: theirs.
        alpha: largest error of what is right; with 0.1 the sum of `right` over that of `labelled` is `pck`.
    """
    errors = np.array([person.errors for person in people]).reshape(len(people), len(skeleton.keypoints))
    found, missed = np.isfinite(errors), np.isinf(errors)
    right = errors <= alpha
    columns = [errors[found[:, keypoint], keypoint] for keypoint in range(errors.shape[1])]
    return JointCounts(
        labelled=(found | missed).sum(axis=0),
        right=right.sum(axis=0),
        elsewhere=(found & ~right).sum(axis=0),
        missed=missed.sum(axis=0),
        median=np.array([np.median(column) if len(column) else np.nan for column in columns]),
    )


@torch.inference_mode()
def _answers(module: PoseModule, batch: dict[str, Tensor]) -> dict[str, Any]:
    """What `sample_of` asks for, but for the truth and the OKS."""
    heat, paf = module.maps(batch["image"])
    maps = zip(heat.cpu().numpy(), paf.cpu().numpy(), strict=True)
    people = [in_frame(module.decoder(*each, skeleton=module.skeleton), module.stride) for each in maps]
    target_heat, target_paf, _ = module.targets(batch)
    targets = {"target_heat": target_heat, "target_paf": target_paf}
    return {"index": batch["index"], "image": batch["image"], "people": people, "heat": heat, "paf": paf, **targets}


def _judged(module: PoseModule, answers: dict[str, Any], dataset: PoseSamples) -> Iterator[Review]:
    """Of each picture of a batch."""
    indices, skeleton = answers["index"].tolist(), module.skeleton
    images = [(dataset.source.images[index], dataset.source.letterbox(index)) for index in indices]
    people, mean_pose = (
        [judge(in_image(one, box), image, skeleton=skeleton) for one, (image, box) in zip(said, images, strict=True)]
        for said in (answers["people"], [module.mean_pose()] * len(indices))
    )
    answers["truth"] = [(box.to_frame(image.points_xy), image.visibility) for image, box in images]
    answers["oks"] = [np.mean([person.oks for person in some]) if some else np.nan for some in people]
    for row, index in enumerate(indices):
        yield Review(index, sample_of(answers, row, dataset, skeleton=skeleton), people[row], mean_pose[row])
