"""Masks of scenes: for each pixel the number of its class.

one-hot .npy | class numbers in .npy, GeoTIFF, PNG -> box -> uint8 (height, width), 255 without a class
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from common.data.geotiff_file import GeotiffFile, open_geotiff
from common.data.index_picture import IndexPicture, open_index_picture
from common.data.npy_file import NpyFile, open_npy
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

SUFFIXES = (".npy", ".tif", ".tiff", ".png")
"""Of the files that are masks, in small letters; capitals count too. JPEG keeps no exact values."""

UNLABELLED = 255
"""Value of a pixel without a class."""

INTEGERS = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


@dataclass(frozen=True)
class Mask:
    """The classes of a scene's pixels. Holds no open file: it can be pickled, forked and used by several threads.

    Attributes:
        file: opened.
        classes: their names, in the order of the channels or values.
        onehot: whether there is a channel for each class.
    """

    file: NpyFile | GeotiffFile | IndexPicture
    classes: tuple[str, ...]
    onehot: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.file.size_hw

    def read(self, box: Box) -> UInt8[np.ndarray, "height width"]:
        """The number of each pixel's class in a part of the mask, or `UNLABELLED`.

        Args:
            box: at least one pixel, inside the mask.

        Raises:
            ValueError: the box is not.
            BadRecordError: a value that is no class, a pixel with two, or a file that is damaged, changed or gone.
        """
        height, width = self.size_hw
        if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
            raise ValueError(f"{box} is no part of {self.path}, {height}x{width} pixels")
        stored = self.file.read(box, range(len(self.classes) if self.onehot else 1))
        stored = stored.view(np.uint8) if stored.dtype == bool else stored
        return self._from_onehot(stored, box) if self.onehot else self._from_numbers(stored[0], box)

    def _from_onehot(
        self, planes: UInt8[np.ndarray, "classes height width"], box: Box
    ) -> UInt8[np.ndarray, "height width"]:
        if planes.max() > 1:
            _, row, column = _first(planes > 1)
            self._refuse(box, row, column, f"value {planes[:, row, column].max()} in a one-hot mask, expected 0 and 1")
        counts = planes.sum(axis=0, dtype=np.uint8)
        if counts.max() > 1:
            row, column = _first(counts > 1)
            names = [name for name, plane in zip(self.classes, planes, strict=True) if plane[row, column]]
            self._refuse(box, row, column, f"classes {' and '.join(names)}, expected one class at most")
        numbers = np.arange(len(self.classes), dtype=np.uint8)
        return np.einsum("chw,c->hw", planes, numbers) + (counts == 0) * np.uint8(UNLABELLED)

    def _from_numbers(self, values: Shaped[np.ndarray, "height width"], box: Box) -> UInt8[np.ndarray, "height width"]:
        bare = (values == UNLABELLED) | np.isnan(values)  # a layer of its own in a GeoTIFF
        if self.file.nodata is not None:
            bare |= values == self.file.nodata
        wrong = ((values < 0) | (values >= len(self.classes))) & ~bare
        if wrong.any():
            row, column = _first(wrong)
            last = len(self.classes) - 1
            expected = f"expected 0 to {last} ({', '.join(self.classes)}) or {UNLABELLED} for none"
            self._refuse(box, row, column, f"value {values[row, column]}, {expected}")
        return np.where(bare, UNLABELLED, values).astype(np.uint8)

    def _refuse(self, box: Box, row: int, column: int, what: str) -> None:
        place = f"row {box.top + row}, column {box.left + column}"
        raise BadRecordError(self.path, f"{place}: {what}; mend the mask, or name its classes in order")


def open_mask(path: Path, size_hw: tuple[int, int], *, classes: Sequence[str]) -> Mask:
    """Opens `.npy`, one-hot bool or uint8 (height, width, classes) or whole numbers (height, width), GeoTIFF or PNG.

    A PNG is grey or has a palette, whose indices count. A grey one that holds 0 and 255 alone has the classes 0 and 1.

    Args:
        path: the file.
        size_hw: (height, width) of the scene.
        classes: their names, in the order of the channels or values.

    Raises:
        UserError: no such file, or one of another kind.
        BadRecordError: a damaged file, or one of another size.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: found the suffix {suffix!r}, expected one of {', '.join(SUFFIXES)}; convert it")
    if not path.is_file():
        raise UserError(f"{path}: no such mask; check the path")
    file = _open_file(path, suffix)
    if file.size_hw != size_hw:
        found, expected = ("x".join(map(str, size)) for size in (file.size_hw, size_hw))
        raise BadRecordError(path, f"{found} pixels, expected {expected} as its scene has; is it the mask of another?")
    onehot = file.count > 1
    if onehot and (file.count != len(classes) or file.dtype.name not in ("bool", "uint8")):
        raise UserError(
            f"{path}: {file.count} channels of {file.dtype.name}, expected one of whole numbers or, one-hot, "
            f"{len(classes)} of bool or uint8 ({', '.join(classes)}); name the classes that it has, in order"
        )
    return Mask(file, tuple(classes), onehot)


def _open_file(path: Path, suffix: str) -> NpyFile | GeotiffFile | IndexPicture:
    if suffix == ".npy":
        return open_npy(path, INTEGERS)
    return open_index_picture(path) if suffix == ".png" else open_geotiff(path, INTEGERS)


def _first(where: np.ndarray) -> tuple[int, ...]:
    """The first place where it is true."""
    return tuple(map(int, np.unravel_index(int(where.argmax()), where.shape)))
