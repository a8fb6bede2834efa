"""Iterators that hold a bounded part of a long sequence: read ahead, repeat the ends, cut into overlapping lists."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], ahead: int) -> Generator[T]:
    """Runs `items` in a thread of its own, at most `ahead` items before they are asked for.

    An error in `items` is raised here, in its place. Close the result (`contextlib.closing`) to end the thread early.
    """
    pool = ThreadPoolExecutor(1)
    try:
        pending = deque(pool.submit(_take, items) for _ in range(ahead))
        while item := pending.popleft().result():
            pending.append(pool.submit(_take, items))
            yield item[0]
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()


def padded(items: Iterable[T], before: int, after: int) -> Iterator[T]:
    """Repeats the first item `before` and the last one `after` times more."""
    last: list[T] = []
    for item in items:
        yield from repeat(item, 1 if last else before + 1)
        last = [item]
    for item in last:
        yield from repeat(item, after)


def sliding(items: Iterable[T], step: int, overlap: int) -> Iterator[list[T]]:
    """Lists of `step + overlap` items, each beginning `step` items after the one before; the last may be shorter."""
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) == step + overlap:
            yield held
            held = held[step:]
    if len(held) > overlap:
        yield held


def _take(items: Iterator[T]) -> list[T]:
    return list(islice(items, 1))
