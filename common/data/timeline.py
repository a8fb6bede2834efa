"""Order of a video's pictures: as shown, as decoded, and which depends on which."""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from common.files import atomic_path


@dataclass(frozen=True)
class Timeline:
    """Time stamps of a video, from a listing of its packets.

    A frame is numbered by its place in the order of showing; its rank is its packet's place in the order of decoding.

    Attributes:
        pts: presentation time stamp of each packet in the order of decoding, in the stream's time base.
        key: whether the packet starts a picture that needs no other.
        shown: time stamps of the pictures that are shown, rising. Pictures before an edit's start are decoded but
            not shown.
    """

    pts: Int[np.ndarray, " packets"]
    key: Bool[np.ndarray, " packets"]
    shown: Int[np.ndarray, " frames"]

    @classmethod
    def load(cls, file: Path) -> "Timeline":
        """Reads what `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(*(arrays[field.name] for field in fields(cls)))

    def save(self, file: Path) -> None:
        """Writes the listing to `file`, an .npz, whole or not at all."""
        with atomic_path(file) as temporary:
            np.savez_compressed(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})

    def frame(self, pts: int | None) -> int | None:
        """Number of the frame shown at this time; None if none is."""
        if pts is None:
            return None
        place = int(np.searchsorted(self.shown, pts))
        return place if place < len(self.shown) and self.shown[place] == pts else None

    def rank(self, pts: int | None) -> int | None:
        """Rank of the packet with this time stamp; None if there is none."""
        if pts is None:
            return None
        place = int(np.searchsorted(self._sorted_pts, pts))
        found = place < len(self._order) and self._sorted_pts[place] == pts
        return int(self._order[place]) if found else None

    def entry(self, frame: int, *, back: int = 0) -> int:
        """Rank of the packet from which decoding reaches this frame whole.

        It is the last keyframe shown at or before the frame. Where the first pictures after that keyframe need the
        group of pictures before it, it is one keyframe earlier: decoders stumble over such pictures.

        Args:
            frame: number of the frame.
            back: go back by this many keyframes more; to the first packet if there are not as many.
        """
        place = int(np.searchsorted(self._key_pts, self.shown[frame], side="right")) - 1
        place -= back + int(place >= 0 and self._key_is_open[place])
        return int(self._key_ranks[place]) if place >= 0 else 0

    def spoilt_by(self, rank: int) -> Bool[np.ndarray, " frames"]:
        """Frames that may need the packet of this rank: decoded from it on and shown before the next keyframe."""
        place = int(np.searchsorted(self._key_pts, self.pts[rank], side="right"))
        end = self._key_pts[place] if place < len(self._key_pts) else np.iinfo(np.int64).max
        return (self._frame_ranks >= rank) & (self.shown < end)

    @cached_property
    def _order(self) -> Int[np.ndarray, " packets"]:
        return np.asarray(np.argsort(self.pts, kind="stable"))

    @cached_property
    def _sorted_pts(self) -> Int[np.ndarray, " packets"]:
        return np.asarray(self.pts[self._order])

    @cached_property
    def _frame_ranks(self) -> Int[np.ndarray, " frames"]:
        return np.asarray(self._order[np.searchsorted(self._sorted_pts, self.shown)])

    @cached_property
    def _key_ranks(self) -> Int[np.ndarray, " keyframes"]:
        return np.asarray(self._order[self.key[self._order]])

    @cached_property
    def _key_pts(self) -> Int[np.ndarray, " keyframes"]:
        return np.asarray(self.pts[self._key_ranks])

    @cached_property
    def _key_is_open(self) -> Bool[np.ndarray, " keyframes"]:
        earliest_to_come = np.minimum.accumulate(self.pts[::-1])[::-1]
        return np.asarray(earliest_to_come[self._key_ranks] < self._key_pts)
