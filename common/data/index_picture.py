"""A PNG whose pixels are numbers of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.kept import Kept
from common.data.picture_file import opened
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

MODES = {"1": np.uint8, "L": np.uint8, "P": np.uint8, "I": np.uint16, "I;16": np.uint16}


@dataclass(frozen=True)
class IndexPicture:
    """A grey picture, whose values count, or one with a palette, whose indices do.

    Attributes:
        path: the file.
        size_hw: (height, width) in pixels.
        dtype: of what `read` returns.
        count: channels.
        nodata: value that means missing; the format holds none.
    """

    path: Path
    size_hw: tuple[int, int]
    dtype: np.dtype[Any]
    count: int = 1
    nodata: float | None = None

    def read(self, box: Box, channels: Sequence[int]) -> np.ndarray:
        """The values of a part: (1, height, width)."""
        values = _DECODED.of(self.path)
        if values.shape != self.size_hw:
            raise BadRecordError(self.path, "has another size than when it was opened; start again")
        return values[None, box.top : box.bottom, box.left : box.right]


def open_index_picture(path: Path) -> IndexPicture:
    """Reads the header of a file; errors as `open_picture`."""
    with opened(path) as (_, header):
        pass
    if header.mode not in MODES:
        raise UserError(f"{path}: a picture of mode {header.mode}, expected grey or a palette; save it as one channel")
    return IndexPicture(path, header.size_hw, np.dtype(MODES[header.mode]))


def _decode(path: Path) -> np.ndarray:
    with opened(path) as (image, header):
        values = np.asarray(image).astype(MODES[header.mode])
    grey = header.mode == "L"  # the index 255 of a palette is no white, but what many leave out
    return values // 255 if grey and np.isin(values, (0, 255)).all() else values


_DECODED: Kept[np.ndarray] = Kept(_decode, most=2)
