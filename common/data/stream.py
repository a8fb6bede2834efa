"""Iterators that hold a bounded part of a long sequence: read ahead, repeat the ends, cut into overlapping lists."""

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from queue import Queue
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


def arriving(items: Iterator[T], most: int, *, skip_late: bool = False) -> Generator[list[T]]:
    """Lists of what has come of `items` since the last list was asked for: one item at least and `most` at most.

    They are read in a thread of its own. Unlike that of `prefetch` it is never waited for, as it may itself wait for a
    camera for ever; a signal ends the wait for an item.

    Args:
        items: whose errors are raised here, in their place.
        most: items in a list, and read before they are asked for.
        skip_late: whether to leave out what comes while so many wait, so that those that follow are not late too.
    """
    waiting: Queue[list[T] | BaseException] = Queue(most)
    left = threading.Event()
    threading.Thread(target=_read, args=(items, waiting, left, skip_late), daemon=True).start()
    try:
        while True:
            came = [waiting.get()]
            came += [waiting.get() for _ in range(min(waiting.qsize(), most - 1))]
            taken = [item for one in came if isinstance(one, list) for item in one]
            if taken:
                yield taken
            if isinstance(came[-1], BaseException):
                raise came[-1]
            if not came[-1]:
                return
    finally:
        left.set()
        while not waiting.empty():  # lets the thread go on, and so end
            waiting.get()


def _read(
    items: Iterator[T], waiting: "Queue[list[T] | BaseException]", left: threading.Event, skip_late: bool
) -> None:
    try:
        for item in items:
            if left.is_set():
                return
            if not (skip_late and waiting.full()):
                waiting.put([item])
        waiting.put([])
    except BaseException as error:
        waiting.put(error)
    finally:
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
