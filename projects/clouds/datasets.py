"""Whole scenes as samples: what validation and test count."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64, UInt8

from common.data.blocks import NOT_COUNTED, BlockRecords
from common.data.samples import Field, Samples
from common.data.tiles import Box, Grid, fill_tile
from projects.clouds.preview import Preview
from projects.clouds.scenes import CloudScene


class WholeScenes(Samples):
    """Scenes that are read part by part by who evaluates them; a sample is a scene's `index`, int64.

    Nothing is cached: each scene is read once in an evaluation, in order.

    Args:
        scenes: with their masks.
        blocks: the same scenes as records, which `check` reads.
    """

    def __init__(self, scenes: Sequence[CloudScene], blocks: BlockRecords) -> None:
        self.scenes, self.source = list(scenes), blocks
        self._previews: dict[int, Preview] = {}

    @property
    def fields(self) -> dict[str, Field]:
        """The arrays of a sample."""
        return {"index": Field((), np.int64)}

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.scenes)

    def fetch(self, epoch: int, indices: Int64[np.ndarray, " n"], out: Mapping[str, np.ndarray]) -> None:
        """Writes which scenes a batch holds."""
        out["index"][:] = indices

    def source_of(self, index: int) -> tuple[str, int]:
        """Name and number of a scene."""
        return self.scenes[index].name, index

    def target(self, index: int, box: Box | None = None) -> UInt8[np.ndarray, "height width"]:
        """Labels of a scene or a part of it; see `CloudScene.target`."""
        return self.scenes[index].target(box)

    def read_float(self, index: int, box: Box) -> Float[np.ndarray, "bands height width"]:
        """Values of a part of a scene, NaN where missing."""
        return self.scenes[index].scene.read_float(box)

    def tiles(
        self, grid_of: Callable[[tuple[int, int]], Grid], *, batch_size: int
    ) -> Iterator[tuple[Float[np.ndarray, "batch bands height width"], UInt8[np.ndarray, "batch height width"]]]:
        """All scenes cut up: batches of values, NaN where missing, and labels, `NOT_COUNTED` beyond a scene's end."""
        for scene in self.scenes:
            grid = grid_of(scene.size_hw)
            for first in range(0, len(grid), batch_size):
                boxes = [grid.box(number) for number in range(first, min(first + batch_size, len(grid)))]
                images = [fill_tile(scene.scene.read_float(box), grid.tile_hw) for box in boxes]
                labels = [label_of(scene.target(box), grid) for box in boxes]
                yield np.stack(images), np.stack(labels)

    def rgb(self, index: int, box: Box | None = None, *, most_px: int = 1024) -> UInt8[np.ndarray, "height width 3"]:
        """A scene or a part of it for the eyes; see `Preview`."""
        if index not in self._previews:
            self._previews[index] = Preview(self.scenes[index].scene)
        return self._previews[index].draw(box or self.scenes[index].box, most_px=most_px)


def label_of(part: UInt8[np.ndarray, "rows columns"], grid: Grid) -> UInt8[np.ndarray, "height width"]:
    """Labels of a tile: those of its part inside the scene, `NOT_COUNTED` beyond."""
    return fill_tile(part, grid.tile_hw, fill="constant", value=NOT_COUNTED)
