"""What a training or validation epoch reads from the cache, and in which order the ranks of a node read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.data.plan import epoch_order

BATCH = 16


@dataclass(frozen=True)
class Workload:
    """Samples that read records.

    Attributes:
        reads: (samples, k) record numbers, int64.
        records: how many records there are.
        shuffle: a new order of the samples each epoch; otherwise 0, 1, 2, ...
    """

    name: str
    reads: np.ndarray
    records: int
    shuffle: bool

    def order(self, *, seed: int, epoch: int) -> np.ndarray:
        """The samples of an epoch, in the order in which all ranks together take them."""
        samples = len(self.reads)
        return epoch_order(samples, seed=seed, epoch=epoch) if self.shuffle else np.arange(samples)


class Batch(NamedTuple):
    """One batch of one rank: its samples and their positions in the epoch's order."""

    epoch: int
    samples: np.ndarray
    positions: np.ndarray


def batches(workload: Workload, *, epochs: range, seed: int, world: int, batch: int = BATCH) -> Iterator[Batch]:
    """The batches of `world` ranks on one node, which step together: a batch of each rank in turn.

    Rank r takes the samples at positions r, r + world, r + 2 world, ... of the epoch's order.
    """
    for epoch in epochs:
        order = workload.order(seed=seed, epoch=epoch)
        for start in range(0, len(order), batch * world):
            step = np.arange(start, min(start + batch * world, len(order)))
            for rank in range(world):
                positions = step[rank::world]
                if len(positions):
                    yield Batch(epoch, order[positions], positions)


def workloads(*, quick: bool) -> list[Workload]:
    """One of each kind, shuffled but for the last, validation; windows are of 9 frames of a clip."""
    clips, length, scenes = (2, 40, 12) if quick else (8, 250, 120)
    every, third = (clip_windows(clips, length, frames=9, stride=stride) for stride in (1, 3))
    single = np.arange(clips * length)[:, None]
    tiles = np.repeat(np.arange(scenes), 16)[:, None]
    return [
        Workload("single records", single, clips * length, shuffle=True),
        Workload("windows, stride 1", every, clips * length, shuffle=True),
        Workload("windows, stride 3", third, clips * length, shuffle=True),
        Workload("tiles of scenes", tiles, scenes, shuffle=True),
        Workload("windows in order", every, clips * length, shuffle=False),
    ]


def clip_windows(clips: int, length: int, *, frames: int, stride: int) -> np.ndarray:
    """The frames of every window that lies inside its clip: (windows, frames).

    A window begins at every `stride`-th frame and takes consecutive frames.
    """
    starts = np.arange(0, length - frames + 1, stride)
    anchors = (np.arange(clips)[:, None] * length + starts).reshape(-1, 1)
    return anchors + np.arange(frames)
