"""Tiles at random places of scenes, put together from cached blocks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from common.data.blocks import NOT_COUNTED, BlockRecords
from common.data.plan import sample_seeds
from common.data.samples import Field, RecordSamples
from common.data.tiles import fill_tile
from common.errors import UserError

BLOCKS_PER_TILE = 4
"""Blocks along a side of a tile. A tile reads at most one more each way than its own, 1.6 times its bytes."""


class Cells(NamedTuple):
    """Where the tiles of one scene may lie.

    Attributes:
        low_yx: smallest (top, left) of each tile.
        high_yx: greatest.
    """

    low_yx: Int64[np.ndarray, "cells 2"]
    high_yx: Int64[np.ndarray, "cells 2"]


def block_side(tile_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the blocks for tiles of a size."""
    if min(tile_hw) < BLOCKS_PER_TILE:
        raise UserError(f"tile_hw: found {tuple(tile_hw)}; expected at least {BLOCKS_PER_TILE} pixels each way")
    return -(-tile_hw[0] // BLOCKS_PER_TILE), -(-tile_hw[1] // BLOCKS_PER_TILE)


def cells(size_hw: tuple[int, int], tile_hw: tuple[int, int]) -> Cells:
    """As few cells as cover a scene; in each, one tile lies at a random place every epoch.

    Where a tile may start varies by the side of a block, from a multiple of that side. So a pixel is seen about once an
    epoch, each time in another place of its tile, and no tile leaves a scene that can hold it.
    """
    axes = [_axis(*sizes) for sizes in zip(size_hw, tile_hw, block_side(tile_hw), strict=True)]
    low, high = (
        np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 2) for ends in zip(*axes, strict=True)
    )
    return Cells(low, high)


def _axis(size: int, tile: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    last = max(size - tile, 0)
    count = 1 + -(-last // tile)
    low = np.linspace(0, last, count).astype(np.int64) // side * side
    return low, np.minimum(low + side, last)


class RandomTiles(RecordSamples):
    """One tile in each cell of each scene, at another place in each epoch.

    A sample holds `image` (channels, height, width) in the type of the blocks, `label` uint8 (height, width), `index`
    and `seed`, int64. Only in scenes smaller than a tile does a tile go beyond the end: there the image is reflected,
    and the label is `NOT_COUNTED`.

    Args:
        blocks: of sides that `block_side` gives.
        tile_hw: (height, width) of a tile.
        seed: of each sample's randomness.
    """

    def __init__(self, blocks: BlockRecords, *, tile_hw: tuple[int, int], seed: int) -> None:
        self.blocks, self.tile_hw, self.seed = blocks, tile_hw, seed
        found = [cells(scene.size_hw, tile_hw) for scene in blocks.scenes]
        counts = [len(cell.low_yx) for cell in found]
        none = np.empty((0, 2), dtype=np.int64)
        self.cells = Cells(*map(np.concatenate, zip(*found, strict=True))) if found else Cells(none, none)
        self.scene_of = np.repeat(np.arange(len(found)), counts)
        self._corner = self.cells.low_yx // np.array(blocks.side_hw)  # of the blocks that a sample reads
        super().__init__(blocks, self._reads())

    def _reads(self) -> Int64[np.ndarray, "samples reads"]:
        """The square of blocks that each cell reaches; where the scene ends before, its last ones again."""
        side, tile = np.array(self.blocks.side_hw), np.array(self.tile_hw)
        self._square = tuple(int(count) for count in -(-(side + tile) // side))
        steps = np.stack(np.meshgrid(*map(np.arange, self._square), indexing="ij"), axis=-1).reshape(-1, 2)
        grids = self.blocks.grids[self.scene_of]
        places = np.minimum(self._corner[:, None] + steps, grids[:, None] - 1)
        return self.blocks.first[self.scene_of][:, None] + places[..., 0] * grids[:, None, 1] + places[..., 1]

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a sample."""
        numbers = dict.fromkeys(("index", "seed"), Field((), np.int64))
        image = Field((self.blocks.channels, *self.tile_hw), self.blocks.kind)
        return {"image": image, "label": Field(self.tile_hw, np.uint8), **numbers}

    def fetch(self, epoch: int, indices: Int64[np.ndarray, " n"], out: Mapping[str, np.ndarray]) -> None:
        """Writes tiles into a batch."""
        raw = np.empty((len(indices), self.reads.shape[1], *self.blocks.shape), dtype=np.uint8)
        self.gather(epoch, indices, raw)
        out["index"][:] = indices
        out["seed"][:] = sample_seeds(indices, seed=self.seed, epoch=epoch)
        corners = self.corners(indices, out["seed"])
        for row, index in enumerate(indices.tolist()):
            self._assemble(index, corners[row], raw[row], out["image"][row], out["label"][row])

    def corners(self, indices: Int64[np.ndarray, " n"], seeds: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n 2"]:
        """(top, left) of the tiles of these samples, in pixels of their scenes.

        Drawn a little beyond both ends and brought back, so that the borders of a scene are seen as its middle is.
        """
        low, high = self.cells.low_yx[indices], self.cells.high_yx[indices]
        draws = np.array([np.random.default_rng((1, seed)).random(2) for seed in seeds.tolist()]).reshape(-1, 2)
        reach = high - low
        return np.clip(np.floor(low - reach + draws * (3 * reach + 1)).astype(np.int64), low, high)

    def source_of(self, index: int) -> tuple[str, int]:
        """Scene of a tile, and the tile's number in it."""
        scene = int(self.scene_of[index])
        return f"{self.blocks.scenes[scene].name} tile", index - int(np.searchsorted(self.scene_of, scene))

    def _assemble(self, index: int, corner: np.ndarray, raw: np.ndarray, image: np.ndarray, label: np.ndarray) -> None:
        """Copies the parts of blocks that lie in the tile."""
        values, labels = self.blocks.unpack(raw)
        scene = int(self.scene_of[index])
        size_hw, grid = self.blocks.scenes[scene].size_hw, self.blocks.grids[scene]
        inside = np.minimum(self.tile_hw, np.array(size_hw) - corner)
        for number in range(len(raw)):
            place = self._corner[index] + divmod(number, self._square[1])
            if (place >= grid).any():
                continue
            start = place * self.blocks.side_hw - corner  # of the block, in pixels of the tile
            first = np.maximum(start, 0)
            last = np.minimum(start + self.blocks.side_hw, inside)
            if (last > first).all():
                to = np.s_[..., first[0] : last[0], first[1] : last[1]]
                (top, left), (bottom, right) = first - start, last - start
                image[to], label[to] = values[number, :, top:bottom, left:right], labels[number, top:bottom, left:right]
        if (inside < self.tile_hw).any():
            image[:] = fill_tile(image[:, : inside[0], : inside[1]], self.tile_hw)
            label[inside[0] :], label[:, inside[1] :] = NOT_COUNTED, NOT_COUNTED
