"""A map written row by row, whole or not at all: memory stays that of the rows at hand. NumPy alone at import."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_path

Write = Callable[[int, np.ndarray], None]
"""Takes the first row's number and rows (rows, width)."""

TIFFS = (".tif", ".tiff")

_COLOURS = {0: (0, 0, 0), 1: (255, 255, 255), 255: (120, 120, 120)}


@contextmanager
def write_rows(
    path: Path, size_hw: tuple[int, int], kind: Any, *, missing: float | int, like: Path | None = None
) -> Iterator[Write]:
    """Opens a map for writing; the file appears when all is written, and never a part of it.

    By suffix: `.npy`, memory-mapped; GeoTIFF; PNG, whose values are as given and whose colours are black, white and
    grey for 0, 1 and `missing`.

    Args:
        path: file to write.
        size_hw: (height, width).
        kind: NumPy type of the values.
        missing: the value that says that there is none.
        like: GeoTIFF from which a GeoTIFF takes its place on the earth.

    Yields:
        a function that takes the first row's number and the rows.
    """
    suffix = path.suffix.lower()
    writer = _npy if suffix == ".npy" else _geotiff(missing, like) if suffix in TIFFS else _png
    with atomic_path(path) as temporary, writer(temporary, size_hw, np.dtype(kind)) as write:
        yield write


@contextmanager
def _npy(path: Path, size_hw: tuple[int, int], kind: np.dtype) -> Iterator[Write]:
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=size_hw)
    with path.open("r+b") as file:  # a full disk is an error here; met later, in mapped memory, it ends the process
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def write(top: int, values: np.ndarray) -> None:
        rows[top : top + len(values)] = values

    yield write
    rows.flush()


def _geotiff(missing: float | int, like: Path | None) -> Callable[..., Any]:
    @contextmanager
    def opened(path: Path, size_hw: tuple[int, int], kind: np.dtype) -> Iterator[Write]:
        import rasterio  # noqa: PLC0415 - an optional extra
        from rasterio.windows import Window  # noqa: PLC0415

        profile = {"driver": "GTiff", "count": 1, "dtype": kind.name, "nodata": missing, "compress": "deflate"}
        profile |= {"height": size_hw[0], "width": size_hw[1], "BIGTIFF": "IF_SAFER"}
        if like is not None and like.suffix.lower() in TIFFS:
            with rasterio.open(like, driver="GTiff") as scene:
                profile |= {"crs": scene.crs, "transform": scene.transform}
        with rasterio.open(path, "w", **profile) as file:
            yield lambda top, values: file.write(values, 1, window=Window(0, top, size_hw[1], len(values)))

    return opened


@contextmanager
def _png(path: Path, size_hw: tuple[int, int], kind: np.dtype) -> Iterator[Write]:
    from PIL import Image  # noqa: PLC0415 - only pictures need it

    whole = np.zeros(size_hw, dtype=np.uint8)

    def write(top: int, values: np.ndarray) -> None:
        whole[top : top + len(values)] = values

    yield write
    image = Image.fromarray(whole)  # a palette makes it one of indices
    image.putpalette([level for value in range(256) for level in _COLOURS.get(value, (255, 0, 0))])
    image.save(path, format="PNG")
