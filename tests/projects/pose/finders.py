"""A stand-in for the network, and what it looks at: a square of light is a person."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.film import even_film
from projects.pose.people import People
from projects.pose.skeleton import COCO

SQUARE = 16


class BrightSquare(nn.Module):
    """Says that a person's nose is at the centre of what is bright, its sides beside; nobody where all is dark."""

    def __init__(self, size_hw: tuple[int, int] = (64, 128)) -> None:
        super().__init__()
        self.size_hw, self.skeleton = size_hw, COCO
        self.batches: list[int] = []

    def people(self, images: Tensor) -> list[People]:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, *self.size_hw)
        assert not self.training
        self.batches.append(len(images))
        return [self._one(image.mean(dim=0).numpy()) for image in images]

    def _one(self, grey: np.ndarray) -> People:
        light = np.where(grey > 100, grey, 0)
        some = int(light.any())
        y, x = np.mgrid[: light.shape[0], : light.shape[1]]
        centre = [(x * light).sum() / max(light.sum(), 1), (y * light).sum() / max(light.sum(), 1)]
        joints = np.full((some, 18, 2), centre, np.float32)
        joints[..., 0] += [5 * (("left" in name) - ("right" in name)) for name in COCO.joints]
        return People(joints, np.full((some, 18), 0.5, np.float32), np.full(some, 0.75, np.float32))


def square(centre_xy: tuple[float, float] | None, size_hw: tuple[int, int] = (96, 192)) -> np.ndarray:
    """A dark picture with a square around a point whose coordinates end in .5."""
    image = np.zeros((*size_hw, 3), np.uint8)
    if centre_xy is not None:
        left, top = (int(value + 0.5) - SQUARE // 2 for value in centre_xy)
        image[top : top + SQUARE, left : left + SQUARE] = 255
    return image


def place(number: int) -> tuple[float, float] | None:
    """Where the square is in a frame; in every fifth it is absent."""
    return None if number % 5 == 4 else (15.5 + 8 * (number % 20), 31.5 + 8 * (number % 3))


def write_film(path: Path, frames: int, size_hw: tuple[int, int] = (96, 192)) -> Path:
    """A video in which the square is at `place`."""
    with even_film(path, size_hw, 25.0) as append:
        for number in range(frames):
            append(square(place(number), size_hw))
    return path


def centres(results: list[dict[str, object]]) -> dict[int, np.ndarray]:
    """The nose of the person of each picture."""
    return {int(str(result["image_id"])): np.asarray(result["keypoints"], float)[:2] for result in results}
