"""Frames decoded once, kept as HDF5 at training size: the decoded record that windows are cut from."""

import json
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
from jaxtyping import Int, UInt8

from common.data.progress import progress_bar
from common.data.read import Video
from common.data.report import Problem
from common.data.shard import Shard, damage_is_user_error, no_space, open_shard, write_shards
from common.errors import BadRecordError, UserError
from common.files import fingerprint_of, sweep, write_text

FRAMES_PER_SHARD = 256
OPEN_FILES = 64  # per process; the usual limit of file descriptors is 1024
OPEN_VIDEOS = 16
CLIP_FILE = "clip.json"
LOST_SHARD = "shard of frames that cannot be read"


def prepare(
    wanted: Mapping[str, tuple[Path, Sequence[int]]],
    *,
    folder: Path,
    size_hw: tuple[int, int],
    workers: int,
    progress: bool = True,
    tolerant: bool = False,
) -> list[Problem]:
    """Decodes the wanted frames of every clip into the store; what is there already is not decoded again.

    The layout is `<folder>/<height>x<width>/<clip>-<fingerprint>/<first>-<last>.h5`; the fingerprint is of the video's
    content and of the wanted numbers. A shard is complete or absent, so the call may be killed and repeated, and
    several may run at once.

    Args:
        wanted: clip name -> (video file, frame numbers in any order).
        folder: root of the store.
        size_hw: (height, width) of the stored frames.
        workers: decoding threads.
        progress: show a progress bar with frames per second.
        tolerant: list shards that cannot be opened instead of raising at the first.

    Returns:
        The frames that could not be decoded, on every call. Numbers beyond a video's end are no frames: windows reach
        there, and labels there are for their reader to name.

    Raises:
        UserError: a video is missing or unreadable, a shard is damaged, the disk is full.
    """
    root = _root(folder, size_hw)
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    plans = [
        _plan(root, name, video=video, indices=numbers, size_hw=size_hw) for name, (video, numbers) in wanted.items()
    ]
    shards = list(chain.from_iterable(plans))
    missing = [shard for shard in shards if not shard.file.exists()]
    needed, free = sum(shard.bytes_needed for shard in missing), shutil.disk_usage(root).free
    if needed > free:
        raise no_space(root, needed, free)
    with progress_bar(progress and bool(missing), "frames") as bar:
        task = bar.add_task("decoding", total=sum(len(shard.wanted) for shard in missing))
        for frames in write_shards(missing, workers):
            bar.advance(task, frames)
    return [problem for shard in shards for problem in _problems(shard, tolerant=tolerant)]


class FrameStore:
    """Reads frames that `prepare` stored.

    Objects can be pickled, forked and used by several threads: each process opens files for itself, at most 64 at once.
    What was prepared for several lists of frames of the same video is read as one.

    Args:
        folder: root of the store.
        size_hw: (height, width) of the frames.
        tolerant: leave out the frames of shards that cannot be opened, which `prepare` lists, instead of raising.
    """

    def __init__(self, folder: Path, size_hw: tuple[int, int], *, tolerant: bool = False) -> None:
        self._root, self._tolerant = _root(folder, size_hw), tolerant
        self._folders = _clip_folders(self._root)
        if not self._folders:
            raise UserError(f"{self._root}: no frames stored here; run `prepare` with this folder and frame size first")
        self._clips: dict[str, _Clip] = {}
        self._forget_handles()

    def _forget_handles(self) -> None:
        self._handles: OrderedDict[Path, h5py.Dataset] = OrderedDict()
        self._pid, self._mutex = os.getpid(), threading.Lock()  # HDF5 lets one thread in at a time anyway

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_handles", "_pid", "_mutex")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_handles()

    def frames(self, name: str) -> Int[np.ndarray, " frames"]:
        """Numbers of the stored frames of a clip, int64, rising."""
        return self._clip(name).frames

    def read(self, name: str, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Frame `index` of a clip, RGB 0..255.

        Raises:
            UserError: the frame is not stored.
            BadRecordError: its shard is damaged or gone.
        """
        frame: UInt8[np.ndarray, "height width 3"] = self.read_many(name, [index])[0]
        return frame

    def read_many(self, name: str, indices: Sequence[int]) -> UInt8[np.ndarray, "time height width 3"]:
        """Frames of a clip, at least one, stacked in the order of `indices`; neighbours are read at once."""
        clip = self._clip(name)
        places = np.searchsorted(clip.frames, indices)
        stored = np.searchsorted(clip.frames, indices, side="right") > places
        if not stored.all():
            missing = indices[int(stored.argmin())]
            raise UserError(f"{self._root}: frame {missing} of clip {name!r} is not stored; run `prepare` for it")
        apart = (np.diff(clip.file_of[places]) != 0) | (np.diff(clip.row_of[places]) != 1)
        runs = [self._run(clip, run) for run in np.split(places, np.flatnonzero(apart) + 1)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _run(self, clip: "_Clip", places: Int[np.ndarray, " time"]) -> UInt8[np.ndarray, "time height width 3"]:
        """Frames whose rows follow each other in one file."""
        file, first = clip.files[clip.file_of[places[0]]], int(clip.row_of[places[0]])
        if self._pid != os.getpid():  # handles of before a fork belong to the parent
            self._forget_handles()
        with self._mutex, damage_is_user_error(file):
            frames: UInt8[np.ndarray, "time height width 3"] = self._open(file)[first : first + len(places)]
        return frames

    def _clip(self, name: str) -> "_Clip":
        if name not in self._folders:
            raise UserError(f"{self._root}: no frames of clip {name!r} stored; there are {sorted(self._folders)[:5]}")
        if name not in self._clips:
            self._clips[name] = _Clip.listed(self._folders[name], tolerant=self._tolerant)
        return self._clips[name]

    def _open(self, file: Path) -> h5py.Dataset:
        if file not in self._handles:
            self._handles[file] = h5py.File(file, "r")["frames"]  # looking it up takes longer than reading a frame
        self._handles.move_to_end(file)
        while len(self._handles) > OPEN_FILES:
            self._handles.popitem(last=False)[1].file.close()
        return self._handles[file]


class VideoFrames:
    """Reads frames as `FrameStore` does, but decodes them from the videos each time: no disk space, slow.

    Frames that cannot be decoded show only when they are read. At most 16 videos are open per thread.

    Args:
        videos: clip name -> video file.
        size_hw: (height, width) of the frames.
        listings: see `Video`.
    """

    def __init__(self, videos: Mapping[str, Path], size_hw: tuple[int, int], *, listings: Path | None = None) -> None:
        self._videos = {name: Video(path, listings=listings) for name, path in videos.items()}
        self._size_hw = size_hw
        self._thread = threading.local()  # a decoder serves one thread

    def __getstate__(self) -> dict[str, Any]:
        return {"_videos": self._videos, "_size_hw": self._size_hw}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _thread=threading.local())

    def frames(self, name: str) -> Int[np.ndarray, " frames"]:
        """Numbers of the frames of a clip, int64, rising."""
        return np.arange(len(self._videos[name]), dtype=np.int64)

    def read_many(self, name: str, indices: Sequence[int]) -> UInt8[np.ndarray, "time height width 3"]:
        """Frames of a clip, RGB 0..255, stacked in the order of `indices`.

        Raises:
            BadRecordError: one of them cannot be decoded.
        """
        video = self._open(name)
        try:
            frames = video.read(indices, self._size_hw)
        except UserError as error:  # the file could be read when its frames were listed
            raise BadRecordError(video.path, str(error).removeprefix(f"{video.path}: ")) from error
        lost = sorted(set(map(int, indices)) - frames.keys())
        if lost:
            raise BadRecordError(
                video.path,
                f"frame {lost[0]} of {len(video)} cannot be decoded; `prepare` leaves such frames out of a store; or "
                "copy the video again from its source",
            )
        return np.stack([frames[int(index)] for index in indices])

    def _open(self, name: str) -> Video:
        videos: OrderedDict[str, Video] = self._thread.__dict__.setdefault("videos", OrderedDict())
        if name not in videos:
            videos[name] = copy(self._videos[name])
        videos.move_to_end(name)
        if len(videos) > OPEN_VIDEOS:
            videos.popitem(last=False)[1].close()
        return videos[name]


@dataclass(frozen=True)
class _Clip:
    """Where the frames of one clip are: rising numbers, and for each the place in `files` and the row in that file."""

    files: list[Path]
    frames: Int[np.ndarray, " frames"]
    file_of: Int[np.ndarray, " frames"]
    row_of: Int[np.ndarray, " frames"]

    @classmethod
    def listed(cls, folders: Sequence[Path], *, tolerant: bool) -> "_Clip":
        files = sorted(file for folder in folders for file in folder.glob("[0-9]*.h5"))
        numbers = [_numbers(file, tolerant=tolerant) for file in files]
        frames, first = np.unique(np.concatenate([np.empty(0, np.int64), *numbers]), return_index=True)
        lengths = np.array([len(each) for each in numbers], dtype=np.int64)
        file_of = np.repeat(np.arange(len(files)), lengths)
        row_of = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(files, frames, file_of[first], row_of[first])


def _numbers(file: Path, *, tolerant: bool) -> Int[np.ndarray, " frames"]:
    try:
        with open_shard(file) as opened:
            numbers: Int[np.ndarray, " frames"] = opened["index"][:]
    except BadRecordError:
        if not tolerant:
            raise
        return np.empty(0, np.int64)
    return numbers


def _problems(shard: Shard, *, tolerant: bool) -> list[Problem]:
    try:
        return shard.problems()
    except BadRecordError as error:
        if not tolerant:
            raise
        return [Problem(error.path, LOST_SHARD, error.reason)]


def _root(folder: Path, size_hw: tuple[int, int]) -> Path:
    return folder / f"{size_hw[0]}x{size_hw[1]}"


def _plan(root: Path, name: str, *, video: Path, indices: Sequence[int], size_hw: tuple[int, int]) -> list[Shard]:
    """Shards of one clip; the folder's `clip.json` says of which clip and video it is and when it was asked for."""
    numbers = np.unique(np.asarray(indices, dtype=np.int64))
    fingerprint = fingerprint_of(video)
    key = blake2b(name.encode() + fingerprint.encode() + numbers.tobytes(), digest_size=4).hexdigest()
    folder = root / f"{quote(name, safe='')[:100]}-{key}"
    note = {"clip": name, "video": str(video), "fingerprint": fingerprint, "prepared": time.time()}
    write_text(folder / CLIP_FILE, json.dumps(note, indent=2))
    runs = [numbers[start : start + FRAMES_PER_SHARD].tolist() for start in range(0, len(numbers), FRAMES_PER_SHARD)]
    return [Shard(folder / f"{run[0]}-{run[-1]}.h5", video, fingerprint, size_hw, tuple(run)) for run in runs]


def _clip_folders(root: Path) -> dict[str, list[Path]]:
    """Folders of each clip that hold frames of the video last prepared under that name."""
    notes = [(json.loads(file.read_text("utf-8")), file.parent) for file in root.glob(f"*/{CLIP_FILE}")]
    notes.sort(key=lambda note: note[0]["prepared"])
    current = {note["clip"]: note["fingerprint"] for note, _ in notes}
    return {
        name: [folder for note, folder in notes if (note["clip"], note["fingerprint"]) == (name, fingerprint)]
        for name, fingerprint in current.items()
    }
