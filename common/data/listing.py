"""Listings of packets kept on disk from one process to the next."""

import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from common.data.declared import MOST_FRAMES
from common.data.timeline import Timeline

KINDS = {"pts.npy": "i", "key.npy": "b", "shown.npy": "i"}


def kept_listing(file: Path) -> Timeline | None:
    """The listing in a file; None where there is none, or not one that `Timeline.save` can have written."""
    if not file.is_file():
        return None
    try:
        _check_arrays(file)
        kept = Timeline.load(file)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, NotImplementedError):
        return None
    whole = bool((np.diff(kept.shown) > 0).all()) and bool(np.isin(kept.shown, kept.pts).all())
    return kept if whole else None


def _check_arrays(file: Path) -> None:
    """Refuses arrays other than a listing's, or whose shape asks for more memory than their part of the file holds."""
    lengths = {}
    with ZipFile(file) as archive:
        for part in archive.infolist():
            with archive.open(part) as array:
                np.lib.format.read_magic(array)
                shape, _, dtype = np.lib.format.read_array_header_1_0(array)
            if len(shape) != 1 or shape[0] > MOST_FRAMES or shape[0] * dtype.itemsize > part.file_size:
                raise ValueError(f"{part.filename}: {shape}")
            if dtype.kind != KINDS.get(part.filename):
                raise ValueError(f"{part.filename}: {dtype}")
            lengths[part.filename] = shape[0]
    if lengths.keys() != KINDS.keys() or lengths["pts.npy"] != lengths["key.npy"]:
        raise ValueError(f"{file}: arrays of {lengths}")
