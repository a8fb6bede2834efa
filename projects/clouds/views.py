"""A scene, its label, the network's answer and the errors as pictures; the window of a scene with the most errors."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from common.data.blocks import NOT_COUNTED
from common.data.tiles import Box
from common.figures import Colour, area_share, heat

FALSE_CLOUD: Colour = (230, 95, 0)
MISSED_CLOUD: Colour = (0, 105, 200)
NOT_KNOWN: Colour = (140, 140, 140)
WINDOW_PX = 192

_CLEAR, _CLOUD = (22, 32, 52), (255, 255, 255)
_STEP_PX = 16  # from one window that is looked at to the next


class View(NamedTuple):
    """A scene or a part of it in pictures, RGB uint8 of one size.

    Attributes:
        scene: as an eye would see it.
        label: cloud white, clear dark, not counted grey.
        probability: as heat, missing grey.
        errors: false cloud and missed cloud in their colours, not counted grey, over a pale scene where all is right.
    """

    scene: UInt8[np.ndarray, "height width 3"]
    label: UInt8[np.ndarray, "height width 3"]
    probability: UInt8[np.ndarray, "height width 3"]
    errors: UInt8[np.ndarray, "height width 3"]


def view(
    scene: UInt8[np.ndarray, "rows columns 3"],
    probability: Float[np.ndarray, "height width"],
    target: UInt8[np.ndarray, "height width"],
    *,
    threshold: float,
) -> View:
    """Pictures of a scene, each as large as the one given.

    Where that is smaller than the maps, each of its pixels gets the mean of what it covers.

    Args:
        scene: RGB, of any size.
        probability: of cloud, 0..1, NaN where missing.
        target: 0 clear, 1 cloud, 255 not counted.
        threshold: smallest probability of a cloud.
    """
    size_hw = scene.shape[:2]
    counted, missing, cloud = target != NOT_COUNTED, np.isnan(probability), probability >= threshold
    not_counted, absent = area_share(~counted, size_hw), area_share(missing, size_hw)
    mean = area_share(np.where(missing, np.float32(0), probability), size_hw) / np.maximum(1 - absent, 1e-6)
    pale = 255 - (255 - scene.mean(axis=2, keepdims=True).repeat(3, axis=2)) * 0.2
    layers = (
        (FALSE_CLOUD, area_share(counted & cloud & (target == 0), size_hw)),
        (MISSED_CLOUD, area_share(counted & ~cloud & (target == 1), size_hw)),
        (NOT_KNOWN, not_counted),
    )
    return View(
        scene,
        _paint(np.full(scene.shape, _CLEAR), (_CLOUD, area_share(target == 1, size_hw)), (NOT_KNOWN, not_counted)),
        _paint(heat(mean), (NOT_KNOWN, absent)),
        _paint(pale, *layers),
    )


def worst_window(
    probability: Float[np.ndarray, "height width"], target: UInt8[np.ndarray, "height width"], *, threshold: float
) -> Box:
    """The window of `WINDOW_PX` with the most wrong pixels, to 16 px; smaller where the scene is.

    Among windows with equally many, such as those of a scene without errors, it is the one of the least sure pixels.
    """
    strips = [np.s_[top : top + 64 * _STEP_PX] for top in range(0, len(target), 64 * _STEP_PX)]
    costs = np.concatenate([_costs(probability[rows], target[rows], threshold) for rows in strips])
    for axis in (0, 1):
        side = min(WINDOW_PX // _STEP_PX, costs.shape[axis])
        costs = np.lib.stride_tricks.sliding_window_view(costs, side, axis=axis).sum(axis=-1)
    place = np.unravel_index(costs.argmax(), costs.shape)
    ends = [max(size - WINDOW_PX, 0) for size in target.shape]
    top, left = (min(int(step) * _STEP_PX, end) for step, end in zip(place, ends, strict=True))
    return Box(top, min(top + WINDOW_PX, target.shape[0]), left, min(left + WINDOW_PX, target.shape[1]))


def _costs(
    probability: Float[np.ndarray, "height width"], target: UInt8[np.ndarray, "height width"], threshold: float
) -> Float[np.ndarray, "rows columns"]:
    """Wrong pixels of each square of `_STEP_PX`, and a little for those that are not sure."""
    wrong = (probability >= threshold) != (target == 1)
    away = abs(np.nan_to_num(probability) - target)
    costs = np.where(target != NOT_COUNTED, wrong + 1e-3 * away, 0)
    for axis in (0, 1):
        costs = np.add.reduceat(costs, np.arange(0, target.shape[axis], _STEP_PX), axis=axis)
    return costs


def _paint(
    ground: np.ndarray, *layers: tuple[Colour, Float[np.ndarray, "height width"]]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays colours over an image, each with its share of every pixel; the shares of a pixel sum to 1 at most."""
    shares = np.stack([share for _, share in layers], axis=-1)
    colours = np.array([colour for colour, _ in layers])
    image = ground * (1 - shares.sum(axis=-1, keepdims=True)) + shares @ colours
    return np.asarray(np.rint(image).clip(0, 255).astype(np.uint8))
