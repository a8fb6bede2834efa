"""Scenes cut into blocks: records of one size, however large the scenes are.

A scene may be larger than memory, and a tile at a random place needs a small part of it. What is cached is therefore
neither the scene nor the tile but the block: a tile is put together from the few blocks that it touches, and a block
that several tiles touch is read once.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8

from common.data.tiles import Box

NOT_COUNTED = 255
"""Label of a pixel that counts neither in a loss nor in a score."""

MISSING = 254
"""Label, in a block, of a pixel that the sensor did not see; it counts neither."""


@runtime_checkable
class LabelledScene(Protocol):
    """An image of any size with a label for each pixel."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        ...

    def read_labelled(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """A part: values (channels, height, width) and classes uint8 (height, width).

        Where there is no class it is `NOT_COUNTED`, and `MISSING` where there is no value either.
        """
        ...


class BlockRecords:
    """The blocks of some scenes, numbered through, row by row; see `RecordSource`.

    A record is bytes: the values (channels, height, width) of `kind`, then the labels uint8 (height, width). What lies
    beyond the end of a scene is 0 and `NOT_COUNTED`.

    Args:
        scenes: at least one.
        channels: of each scene.
        kind: NumPy type of the values; those of a narrower type are converted.
        side_hw: (height, width) of a block.
        content: names the data, alike on all ranks.
    """

    dtype: Any = np.uint8

    def __init__(
        self, scenes: Sequence[LabelledScene], *, channels: int, kind: Any, side_hw: tuple[int, int], content: str
    ) -> None:
        self.scenes, self.side_hw = list(scenes), side_hw
        self.channels, self.kind = channels, np.dtype(kind)
        sizes = np.array([scene.size_hw for scene in scenes], dtype=np.int64).reshape(-1, 2)
        self.grids = -(-sizes // np.array(side_hw))
        self._ends = np.cumsum(self.grids.prod(axis=1), dtype=np.int64)
        self.first = self._ends - self.grids.prod(axis=1)
        self._area = side_hw[0] * side_hw[1]
        self.shape = (self._area * (channels * self.kind.itemsize + 1),)
        digest = blake2b(content.encode(), digest_size=16)
        for scene in scenes:
            digest.update(f"{scene.name}\0{scene.size_hw}\0".encode())
        self.content = f"{side_hw} {channels} {self.kind} {digest.hexdigest()}"

    def __len__(self) -> int:
        """Blocks of all scenes."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, record: int) -> tuple[int, int, int]:
        """Scene, block row and block column of a record."""
        scene = int(np.searchsorted(self._ends, record, side="right"))
        row, column = divmod(int(record - self.first[scene]), int(self.grids[scene, 1]))
        return scene, row, column

    def source_of(self, record: int) -> tuple[str, int]:
        """Scene and number of the block in it."""
        scene = self.place(record)[0]
        return f"{self.scenes[scene].name} block", int(record - self.first[scene])

    def read_many(self, records: Sequence[int]) -> Iterator[UInt8[np.ndarray, " bytes"]]:
        """Reads blocks in the given order; neighbours in a row at once, as they lie together in most files."""
        for (scene, row, _), run in groupby(enumerate(map(self.place, records)), key=_neighbours):
            columns = [place[2] for _, place in run]
            yield from self._read_row(self.scenes[scene], row, columns[0], len(columns))

    def unpack(self, blocks: UInt8[np.ndarray, "*any bytes"]) -> tuple[Shaped[np.ndarray, "..."], np.ndarray]:
        """Views of values (..., channels, height, width) and labels (..., height, width) of some records."""
        values = blocks[..., : -self._area].view(self.kind)
        leading = blocks.shape[:-1]
        labels = blocks[..., -self._area :].reshape(*leading, *self.side_hw)
        return values.reshape(*leading, self.channels, *self.side_hw), labels

    def _read_row(self, scene: LabelledScene, row: int, column: int, count: int) -> Iterator[np.ndarray]:
        """Some blocks beside each other, from one read."""
        (side_y, side_x), (height, width) = self.side_hw, scene.size_hw
        top, left = row * side_y, column * side_x
        box = Box(top, min(top + side_y, height), left, min(left + count * side_x, width))
        values, labels = scene.read_labelled(box)
        blocks = np.zeros((count, *self.shape), dtype=np.uint8)
        into_values, into_labels = self.unpack(blocks)
        into_labels[:] = NOT_COUNTED
        for number in range(count):
            part = np.s_[..., number * side_x : (number + 1) * side_x]
            rows, columns = labels[part].shape
            into_values[number, :, :rows, :columns] = values[part]
            into_labels[number, :rows, :columns] = labels[part]
        yield from blocks


def _neighbours(numbered: tuple[int, tuple[int, int, int]]) -> tuple[int, int, int]:
    """The same for blocks that follow each other in one row."""
    number, (scene, row, column) = numbered
    return scene, row, column - number
