"""A NumPy file of pixels, memory-mapped and read part by part. NumPy alone at import."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from common.data.kept import Kept
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

_STRIP_BYTES = 256 << 10  # of interleaved pixels: stays in the processor's cache while band after band is picked
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def map_npy(path: Path) -> np.ndarray:
    """The array of a file, mapped, not read.

    The header is taken for what it is, the word of a stranger: it names no objects to be built, and no shape but the
    one that fills the file.

    Raises:
        BadRecordError: the file is no whole `.npy` file of numbers.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, file)
        offset = file.tell()
    follow = path.stat().st_size - offset
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 1 or declared != follow:
        raise BadRecordError(
            path,
            f"its header declares {shape} of {dtype}, {declared:,} bytes, and {follow:,} bytes follow; expected as "
            "many, and some: copy it again from its source or write it anew with numpy.save",
        )
    return np.asarray(np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"))


def _header(path: Path, file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type."""
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except (ValueError, TypeError, KeyError, SyntaxError, IndexError, MemoryError, RecursionError, TokenError) as error:
        raise BadRecordError(
            path, "no readable .npy file; copy it again from its source or write it anew with numpy.save"
        ) from error
    if dtype.kind not in "biufc":
        raise BadRecordError(path, f"holds {dtype}, expected plain numbers; write it anew with numpy.save")
    return shape, fortran, dtype


_MAPPED: Kept[np.ndarray] = Kept(map_npy, most=32)


@dataclass(frozen=True)
class NpyFile:
    """An array (height, width), (height, width, channels) or, if told, (channels, height, width).

    Attributes:
        path: the file.
        size_hw: (height, width) in pixels.
        count: channels.
        dtype: of what `read` returns.
        first: whether the channels come first.
        names: of the channels; the format holds none.
        nodata: value that means missing; the format holds none.
    """

    path: Path
    size_hw: tuple[int, int]
    count: int
    dtype: np.dtype[Any]
    first: bool
    names: tuple[str, ...] = ()
    nodata: float | None = None

    def read(self, box: Box, channels: Sequence[int]) -> np.ndarray:
        """The channels of a part, in the given order: (channels, height, width)."""
        pixels = _channels_last(_MAPPED.of(self.path), first=self.first)
        if pixels.shape != (*self.size_hw, self.count) or pixels.dtype.newbyteorder("=") != self.dtype:
            raise BadRecordError(self.path, "has another shape or type than when it was opened; start again")
        return pick_channels(pixels[box.top : box.bottom, box.left : box.right], channels)


def open_npy(path: Path, kinds: Collection[str], *, channels: int | None = None) -> NpyFile:
    """Reads the header of a file.

    Args:
        path: the file.
        kinds: names of the NumPy types that are expected.
        channels: how many there are, where that is known; only then may they come first.

    Raises:
        UserError: another type, or a shape that is none of those or two of them.
        BadRecordError: see `map_npy`.
    """
    array = _MAPPED.of(path)
    if array.dtype.name not in kinds:
        raise UserError(f"{path}: holds {array.dtype.name}, expected {', '.join(kinds)}; convert it with array.astype")
    if array.ndim not in (2, 3):
        raise UserError(
            f"{path}: shape {array.shape}, expected (height, width, channels) or (height, width); write it anew so"
        )
    first = channels is not None and array.ndim == 3 and _channels_first(path, array.shape, channels)
    *size_hw, count = _channels_last(array, first=first).shape
    return NpyFile(path, (size_hw[0], size_hw[1]), count, array.dtype.newbyteorder("="), first)


def _channels_first(path: Path, shape: tuple[int, ...], channels: int) -> bool:
    first, last = shape[0] == channels, shape[2] == channels
    if first and last:
        raise UserError(
            f"{path}: shape {shape} and {channels} band_names: the channels may be the first axis or the last; leave "
            "out band_names if they are the last, else write it anew with numpy.moveaxis(array, 0, -1)"
        )
    return first


def _channels_last(array: np.ndarray, *, first: bool) -> np.ndarray:
    if array.ndim == 2:
        return array[:, :, None]
    return np.moveaxis(array, 0, -1) if first else array


def pick_channels(pixels: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Channels of (height, width, channels) as a new array (channels, height, width) in native byte order.

    Interleaved pixels are taken strip by strip, so that memory is fetched once and not for each channel.
    """
    height, width, _ = pixels.shape
    picked = np.empty((len(channels), height, width), dtype=pixels.dtype.newbyteorder("="))
    interleaved = pixels.strides[2] < min(pixels.strides[:2])
    rows = max(1, _STRIP_BYTES // max(width * pixels.strides[1], 1)) if interleaved else height
    for top in range(0, height, rows):
        strip = pixels[top : top + rows]
        for place, channel in enumerate(channels):
            picked[place, top : top + rows] = strip[:, :, channel]
    return picked
