"""Large images with named bands, read part by part. NumPy alone at import, as exported models run without the rest.

file -> size, bands -> box -> (bands, height, width), NaN where missing
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.geotiff_file import GeotiffFile, open_geotiff
from common.data.npy_file import NpyFile, open_npy
from common.data.picture_file import PictureFile, open_picture
from common.data.tiles import Box
from common.errors import UserError

NPY, GEOTIFF, PICTURE = (".npy",), (".tif", ".tiff"), (".png", ".jpg", ".jpeg")
SUFFIXES = (*NPY, *GEOTIFF, *PICTURE)
"""Of the files that are scenes, in small letters; capitals count too."""

KINDS = ("float32", "float64", "uint8", "uint16", "int16")
"""NumPy types of their pixels."""

SENTINEL2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")

BY_COUNT = {
    13: SENTINEL2,
    12: tuple(name for name in SENTINEL2 if name != "B10"),  # level 2A: the band of the high clouds is left out
    3: ("B4", "B3", "B2"),
    1: ("grey",),
}
"""Names of bands that nobody has named, by their number."""

SceneFile = NpyFile | GeotiffFile | PictureFile


@dataclass(frozen=True)
class Scene:
    """Some bands of an image of any size. Holds no open file: it can be pickled, forked and used by several threads.

    Attributes:
        file: opened.
        bands: names of the bands that are read, in this order.
        channels: where in the file they are.
    """

    file: SceneFile
    bands: tuple[str, ...]
    channels: tuple[int, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.file.size_hw

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what `read` returns: the file's, or float where the file says apart from its values what is missing."""
        return self.file.dtype

    def read(self, box: Box) -> np.ndarray:
        """A part of the scene, as stored: (bands, height, width).

        Args:
            box: at least one pixel, inside the scene.

        Raises:
            ValueError: the box is not.
            BadRecordError: the file is damaged, changed or gone.
        """
        height, width = self.size_hw
        if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
            raise ValueError(f"{box} is no part of {self.path}, {height}x{width} pixels")
        return self.file.read(box, self.channels)

    def read_float(self, box: Box) -> np.ndarray:
        """As `read`, in float32, with NaN for each value that is missing or not finite."""
        values = self.read(box)
        absent = self._absent(values)
        floats = _narrowed(values)
        floats[absent] = np.nan
        return floats

    def missing(self, values: np.ndarray) -> np.ndarray:
        """Which pixels (height, width) lack a value in one of the bands (bands, height, width) that `read` gave."""
        return np.asarray(self._absent(values).any(axis=0))

    def _absent(self, values: np.ndarray) -> np.ndarray:
        absent = ~np.isfinite(_narrowed(values))
        if self.file.nodata is not None:
            absent |= values == self.file.nodata
        return absent


def open_scene(path: Path, *, bands: Sequence[str] | None = None, band_names: Sequence[str] | None = None) -> Scene:
    """Opens `.npy` (height, width[, channels]), GeoTIFF, PNG or JPEG.

    The bands are named by the file, or by `band_names` where the file has no names or none of the wanted, or by their
    number (`BY_COUNT`); the only one of a file is the wanted one.

    Args:
        path: the file.
        bands: the wanted ones, in the wanted order; all if None.
        band_names: of the file's channels, in order. With these, channels may come first in a `.npy` file.

    Raises:
        UserError: no such file, one of another kind, or a band that it has not.
        BadRecordError: a damaged file.
    """
    file = _open_file(path, len(band_names) if band_names is not None else None)
    names = _names(file, bands, band_names)
    wanted = names if bands is None else tuple(bands)
    absent = [band for band in wanted if band not in names]
    if absent or not wanted:
        raise UserError(
            f"{path}: bands: found {', '.join(absent) or 'none'}, expected some of its {file.count} channels "
            f"{', '.join(names)}; choose among these, or say in band_names what they are"
        )
    return Scene(file, wanted, tuple(map(names.index, wanted)))


def _open_file(path: Path, channels: int | None) -> SceneFile:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: found the suffix {suffix!r}, expected one of {', '.join(SUFFIXES)}; convert it")
    if not path.is_file():
        raise UserError(f"{path}: no such scene; check the path")
    if suffix in NPY:
        return open_npy(path, KINDS, channels=channels)
    return open_geotiff(path, KINDS, channels=channels) if suffix in GEOTIFF else open_picture(path)


def _names(file: SceneFile, bands: Sequence[str] | None, band_names: Sequence[str] | None) -> tuple[str, ...]:
    """A name for each channel of a file."""
    if file.names and (band_names is None or bands is None or set(bands) & set(file.names)):
        return file.names
    if band_names is not None:
        return _given(file, tuple(band_names))
    if bands is not None and len(bands) == file.count == 1:
        return tuple(bands)
    usual = BY_COUNT.get(file.count, ())
    if not usual:  # even as many as the wanted ones may be others, or in another order
        raise UserError(f"{file.path}: {file.count} channels without names; say in band_names what they are, in order")
    return usual


def _given(file: SceneFile, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) != file.count or len(set(names)) != len(names):
        raise UserError(
            f"{file.path}: {file.count} channels, band_names has {len(names)}: {', '.join(names)}; expected another "
            "name for each, in the order of the file"
        )
    return names


def _narrowed(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32: infinite, so missing
        return values.astype(np.float32, copy=False)
