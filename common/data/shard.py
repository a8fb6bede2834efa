"""A shard: up to 256 frames of one clip in one HDF5 file that is either complete or absent."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from common.data.read import Video
from common.data.report import Problem
from common.errors import BadRecordError, UserError
from common.files import atomic_path

LISTINGS = "listings"
"""Folder in a store's root for the listings of its videos' packets."""


@dataclass(frozen=True)
class Shard:
    """Frames of one video that are decoded together.

    The file holds `frames` (uint8, n x height x width x 3, RGB, one checksummed chunk per frame), `index` (int64, their
    n numbers in the video, rising) and `failed` (int64, the wanted numbers that could not be decoded).

    Attributes:
        file: the HDF5 file.
        video: the video file.
        fingerprint: that of the video when the shard was planned.
        size_hw: (height, width) of the frames in it.
        wanted: rising frame numbers.
    """

    file: Path
    video: Path
    fingerprint: str
    size_hw: tuple[int, int]
    wanted: tuple[int, ...]

    @property
    def bytes_needed(self) -> int:
        """Size of the file, but for a few kilobytes."""
        return len(self.wanted) * self.size_hw[0] * self.size_hw[1] * 3

    def write(self) -> int:
        """Decodes the frames into the file; returns how many were wanted.

        Raises:
            UserError: the video cannot be opened, or the disk is full.
        """
        video = _video(self.video, self.fingerprint, self.file.parents[2] / LISTINGS)
        with disk_full_is_user_error(self.file, self.bytes_needed), atomic_path(self.file) as temporary:
            self._write(video, temporary)
        return len(self.wanted)

    def _write(self, video: Video, temporary: Path) -> None:
        shape = (*self.size_hw, 3)
        done: list[int] = []
        with h5py.File(temporary, "w") as file:  # default libver: newer ones are unreadable after a kill
            frames = file.create_dataset(
                "frames", (len(self.wanted), *shape), np.uint8, chunks=(1, *shape), maxshape=(None, *shape),
                fletcher32=True,
            )  # fmt: skip
            for number, frame in video.frames(self.wanted, self.size_hw):
                frames[len(done)] = frame
                done.append(number)
            frames.resize(len(done), axis=0)
            file["index"] = np.array(done, dtype=np.int64)
            file["failed"] = np.setdiff1d(np.array(self.wanted, dtype=np.int64), done)
            file.attrs["video_length"] = len(video)

    def problems(self) -> list[Problem]:
        """Frames of the video that were wanted and could not be decoded."""
        with open_shard(self.file) as file:
            failed, length = file["failed"][:], file.attrs["video_length"]
        kind = "frame that cannot be decoded"
        return [Problem(self.video, kind, f"frame {number} of {length}") for number in failed[failed < length]]


@contextmanager
def open_shard(file: Path) -> Iterator[h5py.File]:
    """A shard opened for reading; whatever is wrong with it is a BadRecordError with the remedy."""
    with damage_is_user_error(file), h5py.File(file, "r") as opened:
        _refuse_foreign(opened, file.stat().st_size)
        yield opened


def _refuse_foreign(file: h5py.File, size: int) -> None:
    """An OSError where the arrays are not as `Shard` writes them: in this file, whole, as large as they say."""
    frames, index, failed = arrays = [_own(file, name) for name in ("frames", "index", "failed")]
    if [(array.dtype, array.ndim) for array in arrays] != [(np.uint8, 4), (np.int64, 1), (np.int64, 1)]:
        raise OSError(f"arrays of {', '.join(f'{array.dtype} {array.shape}' for array in arrays)}")
    declared = frames.nbytes + index.nbytes + failed.nbytes
    if declared > size:
        raise OSError(f"arrays of {declared:,} bytes in a file of {size:,}")
    if frames.shape[3] != 3 or frames.chunks != (1, *frames.shape[1:]) or len(index) != len(frames):
        raise OSError(f"{len(index)} numbers for frames {frames.shape} in chunks {frames.chunks}")


def _own(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that lies in this file, stored with no filter but a checksum."""
    array = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external is not None:
        raise OSError(f"{name}: missing, or of another file")
    properties = array.id.get_create_plist()
    filters = {properties.get_filter(place)[0] for place in range(properties.get_nfilters())}
    if filters - {h5py.h5z.FILTER_FLETCHER32}:
        raise OSError(f"{name}: packed, which no shard is")
    return array


@contextmanager
def damage_is_user_error(file: Path) -> Iterator[None]:
    """Turns HDF5's errors on an unreadable shard into a BadRecordError that names it and the remedy."""
    try:
        yield
    except (OSError, KeyError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            raise BadRecordError(file, "shard of frames is gone; `prepare` makes it again") from error
        raise BadRecordError(
            file, f"damaged shard of frames ({error}); delete this file, `prepare` makes it again"
        ) from error


@contextmanager
def disk_full_is_user_error(path: Path, needed: int) -> Iterator[None]:
    """Turns "no space left" into a UserError with the path, the bytes needed and the bytes free."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(path.parent).free
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or free < needed
        if not full:
            raise
        raise no_space(path, needed, free) from error


def no_space(path: Path, needed: int, free: int) -> UserError:
    """The error for a disk that cannot take this many bytes."""
    return UserError(
        f"{path}: no space left on the disk: {needed:,} bytes needed, {free:,} free; free some, choose a smaller frame "
        "size or another folder; what is done is kept"
    )


@lru_cache(maxsize=2)
def _video(path: Path, fingerprint: str, listings: Path) -> Video:
    """One object serves all shards of a video; the fingerprint tells a replaced file."""
    return Video(path, listings=listings)


def write_shards(shards: Sequence[Shard], workers: int) -> Iterator[int]:
    """Writes shards with this many threads and yields the frames of each; an interrupt waits for those in hand.

    Threads are enough, as decoding, scaling and writing all release the interpreter's lock, and start at once.

    Raises:
        UserError: from `Shard.write`.
    """
    if workers < 2:
        yield from map(Shard.write, shards)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(shard.write) for shard in shards]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
