"""What a pose network must beat: nobody anywhere, and an average person everywhere."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from projects.pose.people import People, nobody

MOST = 20
"""People per picture: as many as COCO's evaluation looks at."""


class MeanPose(nn.Module):
    """The mean pose of the training people at each cell of a grid, without a look at the picture.

    A cell is as large as the mean person. Cells are ranked by the share of training people whose centre lies in them,
    which is the score of the person there.

    Buffers: `pose` (joints, 2), the mean joints relative to the centre of a person, in pixels of the frame; `cell_xy`,
    its mean width and height; `counts` (rows, columns), of training people; all float32. Unfitted it finds nobody.

    Args:
        joints: of the skeleton.
        size_hw: (height, width) of the frame.
    """

    pose: Tensor
    cell_xy: Tensor
    centres: Tensor

    def __init__(self, joints: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.size_hw = size_hw
        self.register_buffer("pose", torch.zeros(joints, 2))
        self.register_buffer("cell_xy", torch.zeros(2))
        self.register_buffer("centres", torch.zeros(MOST, 3))  # x, y and share of people

    def fit(self, people: Iterable[tuple[Float[np.ndarray, "joints 2"], UInt8[np.ndarray, " joints"]]]) -> None:
        """Takes the means over people: joints in pixels of the frame, and which of them are labelled (> 0)."""
        boxes, shapes, seen = [], [], []
        for points_xy, visibility in people:
            labelled = points_xy[visibility > 0]
            low, high = labelled.min(axis=0), labelled.max(axis=0)
            if (high > low).all():  # a single joint has no size
                boxes.append((*(low + high) / 2, *(high - low)))
                shapes.append((points_xy - (low + high) / 2) / (high - low))
                seen.append(visibility > 0)
        if not boxes:
            return
        box, weight = np.array(boxes), np.array(seen)[..., None]
        size = box[:, 2:].mean(axis=0)
        shape = (np.array(shapes) * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
        self.pose.copy_(torch.from_numpy(shape * size))
        self.cell_xy.copy_(torch.from_numpy(size))
        self.centres.copy_(torch.from_numpy(self._ranked(box[:, :2], size)))

    def __call__(self) -> People:
        """The same people for every picture, in pixels of the frame."""
        centres = self.centres[self.centres[:, 2] > 0].cpu().numpy()
        if not len(centres):
            return nobody(len(self.pose))
        points = (centres[:, None, :2] + self.pose.cpu().numpy()).astype(np.float32)
        score = centres[:, 2].astype(np.float32)
        return People(points, np.repeat(score[:, None], points.shape[1], axis=1), score)

    def _ranked(self, centres_xy: np.ndarray, size_xy: np.ndarray) -> Float[np.ndarray, "most 3"]:
        """Centres of the cells with most people, and their share of all."""
        counts = np.maximum(np.round(np.array(self.size_hw[::-1]) / size_xy), 1).astype(int)
        step = np.array(self.size_hw[::-1]) / counts
        places = np.clip(((centres_xy + 0.5) / step).astype(int), 0, counts - 1)
        share = np.bincount(places[:, 1] * counts[0] + places[:, 0], minlength=counts.prod()) / len(places)
        best = np.argsort(-share, kind="stable")[:MOST]
        found = np.zeros((MOST, 3))
        found[: len(best), 0] = (best % counts[0] + 0.5) * step[0] - 0.5
        found[: len(best), 1] = (best // counts[0] + 0.5) * step[1] - 0.5
        found[: len(best), 2] = share[best]
        return found
