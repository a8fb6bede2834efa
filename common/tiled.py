"""A network over scenes larger than its input, tile by tile, in the memory of a strip.

A thread reads batches of tiles ahead into buffers that are used again and again; tiles are blended where the network
runs, and finished rows leave as float32.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from common.data.blending import Blend
from common.data.stream import prefetch
from common.data.tiles import Box, Fill, Grid, fill_tile, untile, untile_rows
from common.errors import UserError

Read = Callable[[Box], np.ndarray]
"""Gives the pixels (channels, h, w) of a box; called in another thread, once per tile and in order."""

Network = Callable[[Tensor, range], Tensor]
"""Maps tiles (n, channels, h, w), and their numbers, to values (n, maps, h, w).

It may not write into the tiles, and they are good until it returns: they may be a part of the scene or a buffer.
"""

AHEAD = 2
"""Batches that are read before they are asked for."""

CPU = torch.device("cpu")


def predict_rows(
    read: Read,
    network: Network,
    grid: Grid,
    *,
    batch_size: int,
    blend: Blend = "hann",
    device: torch.device = CPU,
    fill: Fill = "reflect",
    advance: Callable[[int], object] = lambda tiles: None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Predicts a scene in strips of rows; what it gives does not depend on `batch_size` if `network` does not.

    Args:
        read: pixels of the scene.
        network: called in inference mode. What it returns is blended: probabilities, or NaN where there is none, which
            stays at its own pixels.
        grid: tiles over the scene.
        batch_size: most tiles that `network` gets at once.
        blend: how tiles share a pixel; see `untile`.
        device: where `network` runs.
        fill: what a tile shows beyond the scene's end; see `fill_tile`.
        advance: told the number of tiles after each batch.

    Yields:
        number of the first row, and rows (maps, rows, width), float32; together they are the scene.

    Raises:
        UserError: if the pixels read or what `network` returns do not fit the grid.
        Exception: whatever `read` or `network` raises.
    """
    batches = _batches(read, grid, batch_size=batch_size, fill=fill)
    with closing(_predicted(network, batches, tile_hw=grid.tile_hw, device=device, advance=advance)) as tiles:
        for top, rows in untile_rows(tiles, grid, blend=blend, infinite=False):
            yield top, rows.cpu().numpy()


def predict_scene(  # noqa: PLR0913 - `predict_rows` and where to write
    read: Read,
    network: Network,
    grid: Grid,
    *,
    batch_size: int,
    out: np.ndarray | None = None,
    blend: Blend = "hann",
    device: torch.device = CPU,
    fill: Fill = "reflect",
    advance: Callable[[int], object] = lambda tiles: None,
) -> np.ndarray:
    """Predicts a scene whole; on the CPU straight into `out`.

    Args:
        read: see `predict_rows`.
        network: see `predict_rows`.
        grid: see `predict_rows`.
        batch_size: see `predict_rows`.
        out: float32 (maps, height, width), where to write; may be memory-mapped.
        blend: see `predict_rows`.
        device: see `predict_rows`.
        fill: see `predict_rows`.
        advance: see `predict_rows`.

    Returns:
        float32 (maps, height, width): `out`, if it is given.

    Raises:
        UserError: as `predict_rows`, and if `out` does not fit.
    """
    batches = _batches(read, grid, batch_size=batch_size, fill=fill)
    with closing(_predicted(network, batches, tile_hw=grid.tile_hw, device=device, advance=advance)) as tiles:
        first = next(tiles)
        shape = (len(first), *grid.size_hw)
        out = np.empty(shape, np.float32) if out is None else out  # NumPy's large arrays have large pages, torch's not
        if out.shape != shape or out.dtype != np.float32:
            raise UserError(f"out: found {out.shape} {out.dtype}; expected {shape} float32")
        if device.type == "cpu":
            untile(chain([first], tiles), grid, blend=blend, infinite=False, out=torch.from_numpy(out))
        else:
            for top, rows in untile_rows(chain([first], tiles), grid, blend=blend, infinite=False):
                out[:, top : top + rows.shape[1]] = rows.cpu().numpy()
    return out


def _predicted(
    network: Network,
    batches: Generator[tuple[range, Tensor]],
    *,
    tile_hw: tuple[int, int],
    device: torch.device,
    advance: Callable[[int], object],
) -> Generator[Tensor]:
    """What the network returns for each tile, float32 (maps, h, w), in order."""
    with closing(prefetch(batches, AHEAD)) as ahead:
        for numbers, batch in ahead:
            version = batch._version
            with torch.inference_mode():
                found = network(batch.to(device), numbers).float()
            if batch._version != version:
                raise UserError("network: wrote into its input, which may be the scene itself; let it clone that first")
            if found.ndim != 4 or (len(found), *found.shape[2:]) != (len(numbers), *tile_hw):
                raise UserError(
                    f"network: returned {tuple(found.shape)} for tiles {tuple(batch.shape)}; expected "
                    f"({len(numbers)}, maps, {tile_hw[0]}, {tile_hw[1]})"
                )
            yield from found
            advance(len(numbers))


def _batches(read: Read, grid: Grid, *, batch_size: int, fill: Fill) -> Generator[tuple[range, Tensor]]:
    """Numbers of tiles, and the tiles; these stay as they are until `AHEAD` more batches are asked for."""
    if batch_size < 1:
        raise UserError(f"batch_size: found {batch_size}; expected at least 1")
    buffers, filled = list[Tensor](), 0
    tiles = _tiles(read, grid, fill)
    for start in range(0, len(grid), batch_size):
        numbers = range(len(grid))[start : start + batch_size]
        first = next(tiles)
        if len(numbers) == 1 and _lendable(first):  # nothing is copied
            yield numbers, torch.from_numpy(first)[None]
            continue
        if len(buffers) <= AHEAD:
            buffers.append(torch.from_numpy(np.empty((len(numbers), *first.shape), first.dtype.newbyteorder("="))))
        batch = buffers[filled % (AHEAD + 1)][: len(numbers)]
        for place, tile in zip(batch.numpy(), chain([first], tiles), strict=False):
            place[:] = tile
        filled += 1
        yield numbers, batch


def _tiles(read: Read, grid: Grid, fill: Fill) -> Iterator[np.ndarray]:
    first = None
    for number in range(len(grid)):
        box = grid.box(number)
        part = read(box)
        first = part if first is None else first
        wanted = (*first.shape[:1], box.bottom - box.top, box.right - box.left)
        if part.shape != wanted or part.dtype != first.dtype:
            raise UserError(f"{box}: read {part.shape} {part.dtype}; expected {wanted} {first.dtype}, as in the first")
        yield fill_tile(part, grid.tile_hw, fill=fill)


def _lendable(tile: np.ndarray) -> bool:
    """Whether torch can use the memory as it is. What may not be written to is copied: torch does not know such."""
    return tile.flags.writeable and tile.dtype.isnative and min(tile.strides) > 0
