"""What hit ratio a cache can reach that knows the future, before anything is read."""

import heapq

import numpy as np
from jaxtyping import Integer

_MOST = 20_000  # reads that are played through: a fifth of a second


def best_hit_ratio(reads: Integer[np.ndarray, "samples reads"], *, share: float, shuffle: bool) -> float:
    """The hit ratio of Belady's MIN with bypass in a second epoch, where `share` of the records fit.

    Large plans are played in small: on the first samples, with the same share of their records.

    Args:
        reads: records of each sample.
        share: 0..1.
        shuffle: whether each epoch has its own random order.
    """
    few = reads[: max(1, _MOST // max(reads.shape[1], 1))]
    records, numbered = np.unique(few, return_inverse=True)
    numbered = numbered.reshape(few.shape)
    random = np.random.default_rng(0)
    epochs = [numbered[random.permutation(len(few))] if shuffle else numbered for _ in range(3)]
    stream = np.concatenate(epochs).ravel()
    hits = _optimal_hits(stream, int(share * len(records)))
    return float(hits[few.size : 2 * few.size].mean())


def _optimal_hits(stream: Integer[np.ndarray, " reads"], capacity: int) -> np.ndarray:
    following = np.full(len(stream), len(stream))
    order = np.argsort(stream, kind="stable")
    same = stream[order[1:]] == stream[order[:-1]]
    following[order[:-1][same]] = order[1:][same]
    cached: dict[int, int] = {}  # record -> its next read
    farthest: list[tuple[int, int]] = []
    hits = np.zeros(len(stream), dtype=bool)
    for time, (record, due) in enumerate(zip(stream.tolist(), following.tolist(), strict=True)):
        hits[time] = record in cached
        if not hits[time] and len(cached) >= capacity:
            while farthest and cached.get(farthest[0][1]) != -farthest[0][0]:
                heapq.heappop(farthest)
            if not farthest or -farthest[0][0] <= due:
                continue
            del cached[heapq.heappop(farthest)[1]]
        cached[record] = due
        heapq.heappush(farthest, (-due, record))
    return hits
