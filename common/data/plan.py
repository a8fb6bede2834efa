"""What an epoch reads, in order: a function of (seed, epoch), the same on every machine."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


def epoch_order(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(length), int64, that depends on nothing but its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def sample_seed(*, seed: int, epoch: int, index: int) -> int:
    """The seed of one sample's randomness, 0..2^63: the same for any batch, worker, rank and start method."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0] >> 1)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that workers hold no state.

    Args:
        length: number of samples.
        seed: of the order.
        shuffle: draw a new order each epoch; otherwise 0, 1, 2, ...
        rank: of this process among `world`.
        world: number of processes that share the epoch.
        equal: every rank gets the same number of samples, at the cost of at most `world - 1` samples an epoch (the
            last of its order); without it each sample is read exactly once, by one rank. Training needs the first,
            as its ranks step together; an exact score needs the second.
    """

    def __init__(
        self, length: int, *, seed: int = 0, shuffle: bool, rank: int = 0, world: int = 1, equal: bool = False
    ) -> None:
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world, self.equal = rank, world, equal
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Samples of this rank."""
        return self.length // self.world if self.equal else len(range(self.rank, self.length, self.world))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The (epoch, index) pairs of this rank."""
        order = epoch_order(self.length, seed=self.seed, epoch=self.epoch) if self.shuffle else np.arange(self.length)
        for index in order[self.rank :: self.world][: len(self)]:
            yield self.epoch, int(index)
