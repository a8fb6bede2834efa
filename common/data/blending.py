"""How overlapping tiles share a pixel: windows along the axes, and a target that moves towards each tile in turn.

The first tile that covers a pixel is copied; each later one moves the value by `ratio * (tile - value)`; `ratio` is its
weight over the sum of the weights up to and with it. In the end that is the weighted mean, with nothing to divide.
Where all tiles agree no step is taken, and values of any type come back bit for bit.

NumPy arrays and torch tensors alike; imports torch only when it gets a tensor.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from common.errors import UserError

Blend = Literal["crop", "mean", "hann", "gaussian"]

KEPT = 64
"""Ratios kept at most; a grid whose tiles overlap by up to a half has a dozen."""


class Span(NamedTuple):
    """One tile's part of an axis.

    Attributes:
        start: its first pixel in the scene.
        stop: behind its last pixel in the scene.
        met: behind the last pixel that earlier tiles cover too; `start` if there is none.
        own: first and behind the last of the pixels that are nearest to its middle; these parts share out the axis.
        weight: of its pixels in the scene, > 0.
        before: sum of the weights of the earlier tiles there.
        total: sum of the weights of all tiles there.
    """

    start: int
    stop: int
    met: int
    own: tuple[int, int]
    weight: np.ndarray
    before: np.ndarray
    total: np.ndarray


def window(tile: int, blend: Blend) -> np.ndarray:
    """Weights of a tile's pixels along one axis, float64 (tile,), all > 0.

    `hann` is sampled at the centres of pixels, so that its ends are not 0; `gaussian` has a sigma of tile / 8, MONAI's.
    """
    centres = (np.arange(tile) + 0.5) / tile
    if blend == "hann":
        return np.sin(np.pi * centres) ** 2
    if blend == "gaussian":
        return np.exp(-0.5 * (8 * (centres - 0.5)) ** 2)
    return np.ones(tile)


def spans(size: int, tile: int, starts: Sequence[int], blend: Blend) -> list[Span]:
    """The tiles along an axis of `size` pixels; `starts` ascend and leave no gap."""
    weights, total, before = window(tile, blend), np.zeros(size), np.zeros(size)
    for start in starts:
        total[start : start + tile] += weights[: size - start]
    borders = [0, *((left + tile + right) // 2 for left, right in pairwise(starts)), size]
    found, written = list[Span](), 0
    for number, start in enumerate(starts):
        stop = min(start + tile, size)
        weight, there = weights[: stop - start], slice(start, stop)
        own = borders[number], borders[number + 1]
        found.append(Span(start, stop, max(written, start), own, weight, before[there].copy(), total[there]))
        before[there] += weight
        written = stop
    return found


class Blender:
    """Writes the tiles of a grid, in its order, into an array of the scene or of a strip of it.

    Args:
        rows: the tiles along the vertical axis.
        columns: along the horizontal one.
        blend: how tiles share a pixel; `crop` gives it to the one whose middle is nearest.
        infinite: whether tiles may hold infinite values; if so, tensors are looked through for them.
    """

    def __init__(self, rows: Sequence[Span], columns: Sequence[Span], blend: Blend, *, infinite: bool = True) -> None:
        self._rows, self._columns, self._blend, self._infinite = rows, columns, blend, infinite
        self._row_kinds = _kinds([span.weight.tobytes() + span.before.tobytes() for span in rows])
        self._column_kinds = _kinds([b"".join(map(np.ndarray.tobytes, span[-3:])) for span in columns])
        self._ratios = dict[tuple[int, int], Any]()

    def write(self, target: Any, tile: Any, place: tuple[int, int], *, top: int = 0) -> None:
        """Blends one tile into `target`.

        Args:
            target: (..., rows, width), of the tile's type and on its device.
            tile: (..., h, w).
            place: row and column of the tile in the grid.
            top: row of the scene that is the target's first.
        """
        row, column = self._rows[place[0]], self._columns[place[1]]
        parts = partial(_parts, target, tile, top=top, corner=(row.start, column.start))
        if self._blend == "crop":
            put(*parts(*row.own, *column.own))
            return
        if row.start < row.met:
            move(*parts(row.start, row.met, column.start, column.stop), self._ratio(place, tile), self._infinite)
        if row.met == row.stop:
            return
        if column.start < column.met:
            ratio = self._ratio((-1, place[1]), tile)
            move(*parts(row.met, row.stop, column.start, column.met), ratio, self._infinite)
        put(*parts(row.met, row.stop, column.met, column.stop))

    def _ratio(self, place: tuple[int, int], tile: Any) -> Any:
        """The tile's share of what it meets: of rows (met, width), or, in row -1, of columns (met,)."""
        key = self._row_kinds[place[0]] if place[0] >= 0 else -1, self._column_kinds[place[1]]
        if key not in self._ratios:
            if len(self._ratios) == KEPT:
                self._ratios.clear()
            column = self._columns[place[1]]
            ratio = _share(column) if place[0] < 0 else _share_of_rows(self._rows[place[0]], column)
            self._ratios[key] = _as_like(ratio, tile)
        return self._ratios[key]


def _parts(
    target: Any, tile: Any, first: int, last: int, left: int, right: int, *, top: int, corner: tuple[int, int]
) -> tuple[Any, Any]:
    """The same pixels in both."""
    from_tile = tile[..., first - corner[0] : last - corner[0], left - corner[1] : right - corner[1]]
    return target[..., first - top : last - top, left:right], from_tile


def put(target: Any, tile: Any) -> None:
    """Copies."""
    if not _is_tensor(tile):
        target[...] = tile
    elif tile.is_floating_point() and tile.device.type == "cpu" and not tile.requires_grad:
        import torch  # noqa: PLC0415 - is there already

        torch.maximum(tile, tile, out=target)  # between parts of arrays `copy_` takes 1.5 times as long
    else:
        target.copy_(tile)


def move(target: Any, tile: Any, ratio: Any, infinite: bool = True) -> None:
    """Moves `target` towards `tile`, in place; integers and bools by whole steps, the nearest.

    Args:
        target: array or tensor of any shape.
        tile: of the same shape and type.
        ratio: in 0..1, broadcast to the shape; of the same type for floats, else float64.
        infinite: whether a tensor may hold infinite values. Two that agree have no difference, which takes care.
    """
    if _is_tensor(tile):
        _move_tensor(target, tile, ratio, infinite)
    elif tile.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            step = tile - target
            step *= ratio
            if not np.isfinite(step.sum()):
                step[tile == target] = 0
            target += step
    else:
        step = np.rint((tile.astype(np.float64) - target.astype(np.float64)) * ratio).astype(np.int64)
        target[...] = (target.astype(np.int64) + step).astype(target.dtype)


def _move_tensor(target: Any, tile: Any, ratio: Any, infinite: bool) -> None:
    if not tile.is_floating_point():
        step = ((tile.double() - target.double()) * ratio).round().long()
        target.copy_(target.long() + step)
    elif not infinite or tile.sum().isfinite():
        target.lerp_(tile, ratio)
    else:
        agreed = tile == target
        target.lerp_(tile, ratio)
        target.copy_(tile.where(agreed, target))


def _share(span: Span) -> np.ndarray:
    met = span.met - span.start
    return span.weight[:met] / (span.before[:met] + span.weight[:met])


def _share_of_rows(row: Span, column: Span) -> np.ndarray:
    """All tiles of the rows above came before, and of this row those to the left."""
    weight, before = (values[: row.met - row.start, None] for values in (row.weight, row.before))
    return weight * column.weight / (before * column.total + weight * (column.before + column.weight))


def _as_like(ratio: np.ndarray, tile: Any) -> Any:
    if tile.dtype.is_complex if _is_tensor(tile) else tile.dtype.kind not in "biuf":
        raise UserError(f"tiles of {tile.dtype}: expected bool, integers or floats; blend others by crop")
    if not _is_tensor(tile):
        return ratio.astype(tile.dtype if tile.dtype.kind == "f" else np.float64)
    return (tile if tile.is_floating_point() else tile[..., :0].double()).new_tensor(ratio)


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "new_tensor")


def _kinds(keys: Sequence[bytes]) -> list[int]:
    """For each the number of the first that is equal."""
    first = dict[bytes, int]()
    return [first.setdefault(key, number) for number, key in enumerate(keys)]
