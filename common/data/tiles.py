"""Scenes cut into tiles that overlap, and put together again: pure, and exact inverses of each other.

A grid covers every pixel of a scene. `untile(cut(scene, grid, n) for n in range(len(grid)))` is the scene bit for bit,
whatever its type, the size of the tiles, their overlap and how they are blended. Works on NumPy arrays and on torch
tensors of any device, (..., height, width); imports NumPy alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args, runtime_checkable

import numpy as np

from common.data.blending import Blend, Blender, put, spans
from common.errors import UserError

Edge = Literal["pad", "snap"]
Fill = Literal["reflect", "constant"]


@runtime_checkable
class Array(Protocol):
    """A NumPy array or a torch tensor."""

    @property
    def shape(self) -> Any:
        """Sizes of its axes."""

    def __getitem__(self, key: Any, /) -> Any: ...


A = TypeVar("A", bound=Array)


class Box(NamedTuple):
    """Pixels of a scene; `bottom` and `right` are behind the last."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Grid:
    """Tiles that cover a scene, numbered row by row; `make_grid` makes one.

    Attributes:
        size_hw: of the scene.
        tile_hw: of each tile.
        tops: first row of each row of tiles, ascending.
        lefts: first column of each column of tiles, ascending.
    """

    size_hw: tuple[int, int]
    tile_hw: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, starts, size, tile in zip(
            ("tops", "lefts"), (self.tops, self.lefts), self.size_hw, self.tile_hw, strict=True
        ):
            covered = starts[:1] == (0,) and starts[-1] < size <= starts[-1] + tile
            if not covered or not all(0 < right - left <= tile for left, right in pairwise(starts)):
                raise UserError(
                    f"{name}: found {starts}; expected ascending numbers from 0 at which tiles of {tile} cover "
                    f"{size} pixels without a gap; make_grid gives such"
                )

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def box(self, number: int) -> Box:
        """The part of a tile that lies in the scene."""
        row, column = divmod(range(len(self))[number], len(self.lefts))
        top, left = self.tops[row], self.lefts[column]
        (height, width), (tile_height, tile_width) = self.size_hw, self.tile_hw
        return Box(top, min(top + tile_height, height), left, min(left + tile_width, width))

    def valid(self, number: int) -> np.ndarray:
        """Bool (h, w): which pixels of a tile lie in the scene."""
        box = self.box(number)
        inside = np.ones((box.bottom - box.top, box.right - box.left), dtype=bool)
        return fill_tile(inside, self.tile_hw, fill="constant", value=False)


def make_grid(
    size_hw: tuple[int, int], tile_hw: tuple[int, int], *, overlap_hw: tuple[int, int] = (0, 0), edge: Edge = "pad"
) -> Grid:
    """Tiles every `tile - overlap` pixels, as few as cover the scene.

    Args:
        size_hw: of the scene, >= 1.
        tile_hw: of a tile, >= 1.
        overlap_hw: pixels that neighbours share, from 0 to below the tile's.
        edge: where the last tile would end behind the scene: `pad`, it does; `snap`, it is moved inside and overlaps
            the one before by more.

    Raises:
        UserError: if such tiles cannot cover the scene.
    """
    _one_of("edge", edge, Edge)
    axes = zip(("height", "width"), size_hw, tile_hw, overlap_hw, strict=True)
    tops, lefts = (_starts(*axis, snap=edge == "snap") for axis in axes)
    return Grid(size_hw, tile_hw, tops, lefts)


def _starts(name: str, size: int, tile: int, overlap: int, *, snap: bool) -> tuple[int, ...]:
    if size < 1 or tile < 1:
        raise UserError(f"{name}: found a scene of {size} and tiles of {tile} pixels; expected at least 1 of each")
    if not 0 <= overlap < tile:
        raise UserError(
            f"{name}: tiles of {tile} pixels that overlap by {overlap} cannot cover a scene; give an overlap from 0 to "
            f"{tile - 1}"
        )
    if snap and size < tile:
        raise UserError(
            f"{name}: a tile of {tile} pixels cannot be moved inside a scene of {size}; "
            f"give edge pad, or tiles of at most {size}"
        )
    stride = tile - overlap
    count = 1 + max(0, -(-(size - tile) // stride))
    last = size - tile if snap else (count - 1) * stride
    return (*range(0, (count - 1) * stride, stride), last)


def cut(array: A, grid: Grid, number: int, *, fill: Fill = "reflect", value: float | int = 0) -> A:
    """One tile of a scene.

    Args:
        array: (..., height, width), of the grid's size.
        grid: where tiles lie.
        number: of the tile.
        fill: see `fill_tile`.
        value: see `fill_tile`.

    Returns:
        (..., h, w): a view where the whole tile lies in the scene, else new.
    """
    if tuple(array.shape[-2:]) != grid.size_hw:
        raise UserError(f"found a scene of shape {tuple(array.shape)}, a grid for {grid.size_hw}: give both the same")
    top, bottom, left, right = grid.box(number)
    return fill_tile(array[..., top:bottom, left:right], grid.tile_hw, fill=fill, value=value)


def fill_tile(part: A, tile_hw: tuple[int, int], *, fill: Fill = "reflect", value: float | int = 0) -> A:
    """Makes a tile of the part of it that lies in the scene, at its top left.

    Args:
        part: (..., h, w), from 1 pixel to a whole tile each way.
        tile_hw: of the tile.
        fill: `reflect` mirrors the part about its last row and column, again and again where it is small, and repeats a
            single pixel; `constant` gives `value`.
        value: for `constant`.

    Returns:
        (..., *tile_hw): `part` itself where it is whole, else new.
    """
    _one_of("fill", fill, Fill)
    part_hw = tuple(part.shape[-2:])
    if part_hw == tuple(tile_hw):
        return part
    if not all(1 <= size <= tile for size, tile in zip(part_hw, tile_hw, strict=True)):
        raise UserError(f"found a part of {part_hw} pixels; expected from 1 pixel to a tile of {tuple(tile_hw)}")
    if fill == "reflect":
        rows, columns = (_mirrored(size, tile) for size, tile in zip(part_hw, tile_hw, strict=True))
        return part[..., rows, :][..., columns]
    tile = _empty(part, (*part.shape[:-2], *tile_hw))
    tile[...] = value
    tile[..., : part_hw[0], : part_hw[1]] = part
    return tile


def untile(tiles: Iterable[A], grid: Grid, *, blend: Blend = "hann", out: A | None = None, infinite: bool = True) -> A:
    """Puts tiles together; the inverse of `cut`.

    Args:
        tiles: (..., h, w) each, all of one shape and type, in the order of the grid; one is held at a time.
        grid: where they lie.
        blend: how tiles share a pixel. `crop` takes it from the one whose middle is nearest; the others take a mean,
            with weights along both axes: `mean` 1, `hann` sin^2, `gaussian` with a sigma of an eighth of the tile.
            Means of integers and bools are rounded with every tile, so `crop` suits classes. NaN stays where it is.
        infinite: whether a tile may hold infinite values; where a tensor cannot, `False` spares a look at them.
        out: where to write, (..., height, width) of the tiles' type; may be memory-mapped.

    Returns:
        (..., height, width): `out`, if it is given.

    Raises:
        UserError: if number, shape or type of the tiles or of `out` is not what the grid needs.
    """
    blender = _blender(grid, blend, infinite)
    for place, tile in _placed(tiles, grid):
        if out is None or place == (0, 0):
            out = _target(tile, grid, out)
        blender.write(out, tile, place)
    assert out is not None  # a grid has tiles
    return out


def untile_rows(
    tiles: Iterable[A], grid: Grid, *, blend: Blend = "hann", infinite: bool = True
) -> Iterator[tuple[int, A]]:
    """Puts tiles together row by row; holds one strip, as high as a tile and as wide as the scene, and the one before.

    Args:
        tiles: see `untile`.
        grid: see `untile`.
        blend: see `untile`.
        infinite: see `untile`.

    Yields:
        number of the first row, and rows (..., rows, width) that no later tile touches; together they are the scene.
    """
    blender, height = _blender(grid, blend, infinite), grid.size_hw[0]
    stops = [*grid.tops[1:], height]
    strip: Any = None
    for (row, column), tile in _placed(tiles, grid):
        top = grid.tops[row]
        if column == 0:
            rest = strip
            strip = _empty(tile, (*tile.shape[:-2], min(grid.tile_hw[0], height - top), grid.size_hw[1]))
            if rest is not None:
                over = rest[..., top - grid.tops[row - 1] :, :]
                put(strip[..., : over.shape[-2], :], over)
        blender.write(strip, tile, (row, column), top=top)
        if column == len(grid.lefts) - 1:
            yield top, strip[..., : stops[row] - top, :]


def _blender(grid: Grid, blend: Blend, infinite: bool) -> Blender:
    _one_of("blend", blend, Blend)
    axes = zip(grid.size_hw, grid.tile_hw, (grid.tops, grid.lefts), strict=True)
    rows, columns = (spans(*axis, blend) for axis in axes)
    return Blender(rows, columns, blend, infinite=infinite)


def _placed(tiles: Iterable[Any], grid: Grid) -> Iterator[tuple[tuple[int, int], Any]]:
    """Row, column and tile; refuses what does not fit the grid."""
    number, first = 0, None
    for number, tile in enumerate(tiles, start=1):
        kind = tile.shape, tile.dtype
        first = first or kind
        if number > len(grid) or kind != first or tuple(tile.shape[-2:]) != grid.tile_hw:
            raise UserError(
                f"tile {number} is {tuple(tile.shape)} {tile.dtype}; expected {len(grid)} tiles of {grid.tile_hw} "
                f"pixels, all of the shape and type of the first, {tuple(first[0])} {first[1]}"
            )
        yield divmod(number - 1, len(grid.lefts)), tile
    if number < len(grid):
        raise UserError(f"found {number} tiles; expected {len(grid)}, one for each of the grid")


def _target(tile: Any, grid: Grid, out: Any) -> Any:
    shape = (*tile.shape[:-2], *grid.size_hw)
    if out is None:
        return _empty(tile, shape)
    if tuple(out.shape) != shape or out.dtype != tile.dtype:
        raise UserError(f"out: found {tuple(out.shape)} {out.dtype}; expected {shape} {tile.dtype}")
    return out


def _empty(like: Any, shape: tuple[int, ...]) -> Any:
    return like.new_empty(shape) if hasattr(like, "new_empty") else np.empty(shape, like.dtype)


def _mirrored(size: int, tile: int) -> np.ndarray:
    """For each pixel of a tile the pixel of its part that it shows."""
    period = max(2 * (size - 1), 1)
    steps = np.arange(tile) % period
    return np.minimum(steps, period - steps)


def _one_of(name: str, found: str, choices: Any) -> None:
    if found not in get_args(choices):
        raise UserError(f"{name}: found {found!r}; expected one of {', '.join(get_args(choices))}")
