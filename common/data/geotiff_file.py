"""A GeoTIFF of pixels, read part by part through rasterio, which is an optional extra."""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.kept import Kept
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

MOST_BLOCK_BYTES = 1 << 30
"""Of what a file stores as one piece: it is decoded whole for each part of it."""


@dataclass(frozen=True)
class GeotiffFile:
    """A GeoTIFF.

    Attributes:
        path: the file.
        size_hw: (height, width) in pixels.
        count: channels, without `alpha`.
        dtype: of what `read` returns.
        names: of the channels, as the file describes them; none if it does not describe each in its own words.
        nodata: value that means missing, or None.
        alpha: whether the last band says what is transparent.
        masked: whether that or another layer says what is missing; `read` returns NaN there.
    """

    path: Path
    size_hw: tuple[int, int]
    count: int
    dtype: np.dtype[Any]
    names: tuple[str, ...]
    nodata: float | None
    alpha: bool
    masked: bool

    def read(self, box: Box, channels: Sequence[int]) -> np.ndarray:
        """The channels of a part, in the given order: (channels, height, width)."""
        dataset = _DATASETS.of(self.path)
        if dataset.shape != self.size_hw or dataset.count < self.count:
            raise BadRecordError(self.path, "has another size than when it was opened; start again")
        window = ((box.top, box.bottom), (box.left, box.right))
        try:
            values = dataset.read([channel + 1 for channel in channels], window=window).astype(self.dtype, copy=False)
            if self.masked:
                seen = (
                    dataset.read(dataset.count, window=window) if self.alpha else dataset.read_masks(1, window=window)
                )
                values[:, seen == 0] = np.nan
        except _errors() as error:
            raise BadRecordError(
                self.path,
                f"rows {box.top} to {box.bottom}, columns {box.left} to {box.right} cannot be read "
                f"({error.__cause__ or error}); copy it again from its source",
            ) from error
        return values


def open_geotiff(path: Path, kinds: Collection[str], *, channels: int | None = None) -> GeotiffFile:
    """Reads the header of a file.

    Args:
        path: the file.
        kinds: names of the NumPy types that are expected.
        channels: how many there are, where that is known: GDAL takes a fourth band of bytes for transparency.

    Raises:
        UserError: rasterio is not installed, or the file holds another type than `kinds`, or no parts of it can be
            read without the whole.
        BadRecordError: no readable GeoTIFF.
    """
    with _open(path) as dataset:  # one kept would tell here what failed in the last file that was read
        try:
            return _described(path, dataset, kinds, channels)
        except _errors() as error:
            raise BadRecordError(path, f"no readable GeoTIFF ({error}); copy it again from its source") from error


def _described(path: Path, dataset: Any, kinds: Collection[str], channels: int | None) -> GeotiffFile:
    if dataset.dtypes[0] not in kinds:
        raise UserError(
            f"{path}: holds {dataset.dtypes[0]}, expected {', '.join(kinds)}; convert it: gdal_translate -ot Float32 "
            "INPUT OUTPUT.tif for a scene, -ot Byte for a mask"
        )
    _refuse_large_blocks(path, dataset)
    names, flags = dataset.descriptions, {flag.name for flag in dataset.mask_flag_enums[0]}
    alpha = dataset.colorinterp[-1].name == "alpha" and not names[-1] and channels != dataset.count
    names = names[:-1] if alpha else names
    masked = alpha or ("per_dataset" in flags and "alpha" not in flags)
    kind = np.dtype(dataset.dtypes[0])
    return GeotiffFile(
        path,
        dataset.shape,
        count=len(names),
        dtype=np.promote_types(kind, np.float32) if masked else kind,
        names=tuple(names) if all(names) and len(set(names)) == len(names) else (),
        nodata=dataset.nodata,
        alpha=alpha,
        masked=masked,
    )


def _refuse_large_blocks(path: Path, dataset: Any) -> None:
    height, width = dataset.block_shapes[0]
    size = height * width * np.dtype(dataset.dtypes[0]).itemsize
    size *= dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    if size > MOST_BLOCK_BYTES:
        raise UserError(
            f"{path}: stored in pieces of {width}x{height} pixels, {size:,} bytes, expected at most "
            f"{MOST_BLOCK_BYTES:,}; write it in tiles: gdal_translate -co TILED=YES INPUT OUTPUT.tif"
        )


def _open(path: Path) -> Any:
    rasterio = _rasterio()
    # a scene needs no place on earth
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    try:
        return rasterio.open(path, driver="GTiff")  # no other: some name further files or addresses to read
    except _errors() as error:
        raise BadRecordError(path, f"no readable GeoTIFF ({error}); copy it again from its source") from error


_DATASETS: Kept[Any] = Kept(_open, most=8)


def _rasterio() -> Any:
    try:
        import rasterio  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise UserError("reading GeoTIFF needs the package rasterio: pip install 'rasterio>=1.4'") from error
    return rasterio


def _errors() -> tuple[type[Exception], ...]:
    """What rasterio raises, and what it lets through from GDAL."""
    from rasterio._err import CPLE_BaseError  # noqa: PLC0415 - an optional extra

    return _rasterio().errors.RasterioError, CPLE_BaseError
