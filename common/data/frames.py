"""Frames of several clips, numbered through: the records that windows are made of."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from common.data.store import FrameStore, VideoFrames

Frames = FrameStore | VideoFrames


class FrameRecords:
    """The frames of some clips as records 0..len-1; see `RecordSource`.

    Args:
        frames: reads them.
        wanted: clip name -> frame numbers, in any order, repeated or not.
        size_hw: (height, width) of the frames.
        content: names the videos, alike on all ranks.
    """

    dtype: Any = np.uint8

    def __init__(
        self,
        frames: Frames,
        wanted: Mapping[str, Integer[np.ndarray, " frames"]],
        *,
        size_hw: tuple[int, int],
        content: str,
    ) -> None:
        self._frames = frames
        self._numbers = {name: np.unique(numbers) for name, numbers in wanted.items()}
        self._ends = np.cumsum([len(numbers) for numbers in self._numbers.values()], dtype=np.int64)
        self._first = dict(zip(self._numbers, self._ends - np.diff(self._ends, prepend=0), strict=True))
        self.shape = (*size_hw, 3)
        digest = blake2b(content.encode(), digest_size=16)
        for name, numbers in self._numbers.items():
            digest.update(name.encode() + b"\0" + numbers.tobytes())
        self.content = f"{size_hw} {digest.hexdigest()}"

    def __len__(self) -> int:
        """Frames of all clips."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def records(self, name: str, numbers: Integer[np.ndarray, "*any"]) -> Int64[np.ndarray, "*any"]:
        """Record numbers of wanted frames of a clip."""
        return int(self._first[name]) + np.searchsorted(self._numbers[name], numbers)

    def source_of(self, record: int) -> tuple[str, int]:
        """Clip and number of a frame."""
        clip = int(np.searchsorted(self._ends, record, side="right"))
        name = list(self._numbers)[clip]
        return name, int(self._numbers[name][record - self._first[name]])

    def read_many(self, records: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Reads records in the given order; neighbours of one clip at once."""
        names, wanted = list(self._numbers), np.asarray(records, dtype=np.int64)
        clips = np.searchsorted(self._ends, wanted, side="right")
        for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(clips)) + 1):
            name = names[clips[run[0]]]
            yield from self._frames.read_many(name, self._numbers[name][wanted[run] - self._first[name]].tolist())
