from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from common.data.listing import kept_listing
from common.data.read import Video

GOOD = {"pts": np.array([0, 2, 1]), "key": np.array([True, False, False]), "shown": np.array([0, 1, 2])}


def test_what_was_written_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    assert kept_listing(file) is None
    np.savez_compressed(file, **GOOD)
    kept = kept_listing(file)
    assert kept is not None
    assert kept.pts.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"pts": np.arange(4)}, {"key": np.array([True])}, {"shown": np.array([0, 2, 1])}, {"shown": np.array([0, 9])},
        {"pts": np.array([object()] * 3)}, {"pts": np.zeros((3, 1), int)}, {"pts": np.zeros(3)},
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_not_kept(change: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**GOOD, **change})
    assert kept_listing(tmp_path / "a.npz") is None


@pytest.mark.parametrize("count", [10_000_001, 10**15])
def test_an_array_that_is_not_there_is_not_made(count: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **GOOD)
    with ZipFile(tmp_path / "a.npz", "a", ZIP_DEFLATED) as archive:
        name = "more.npy"
        with archive.open(name, "w") as array:
            np.lib.format.write_array_header_1_0(array, {"shape": (count,), "fortran_order": False, "descr": "<i8"})
    assert kept_listing(tmp_path / "a.npz") is None


def test_a_damaged_listing_is_made_again(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path, folder = write_video(tmp_path / "v.mp4", 20), tmp_path / "listings"
    assert len(Video(path, listings=folder)) == 20
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], b"not a listing", whole[:60] + b"\xff" * 20 + whole[80:]):
        file.write_bytes(damaged)
        assert len(Video(path, listings=folder)) == 20
        assert file.read_bytes() == whole
