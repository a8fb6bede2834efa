"""Streams hold what they promise and no more."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.stream import arriving, padded, prefetch, sliding
from common.signals import Stopped, stopping_on_signals


@given(count=st.integers(1, 40), before=st.integers(0, 5), after=st.integers(0, 5), step=st.integers(1, 9))
def test_sliding_over_padded_gives_every_item_its_window(count: int, before: int, after: int, step: int) -> None:
    chunks = list(sliding(padded(range(count), before, after), step, before + after))
    windows = [chunk[n : n + before + 1 + after] for chunk in chunks for n in range(len(chunk) - before - after)]
    assert windows == [[min(max(n + o, 0), count - 1) for o in range(-before, after + 1)] for n in range(count)]
    assert all(len(chunk) <= step + before + after for chunk in chunks)


def test_nothing_in_nothing_out() -> None:
    assert list(padded([], 2, 2)) == []
    assert list(sliding([], 3, 1)) == []
    assert list(prefetch(iter([]), 2)) == []


def test_prefetch_keeps_the_order_and_stays_at_most_so_far_ahead() -> None:
    made, lead = 0, []

    def count() -> Iterator[int]:
        nonlocal made
        for n in range(50):
            made += 1
            yield n

    for taken, item in enumerate(prefetch(count(), 3), start=1):
        assert item == taken - 1
        lead.append(made - taken)
    assert len(lead) == 50
    assert max(lead) <= 3


def test_prefetch_raises_where_the_error_happened() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise KeyError("here")

    items = prefetch(fail(), 4)
    assert next(items) == 1
    with pytest.raises(KeyError, match="here"):
        next(items)


def test_closing_a_prefetch_ends_its_thread_and_its_source() -> None:
    closed, before = [], threading.active_count()

    def count() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(True)

    with closing(prefetch(count(), 2)) as items:
        assert next(items) == 0
    assert closed
    assert threading.active_count() == before


def test_arriving_gives_every_item_once_and_in_order() -> None:
    batches = list(arriving(iter(range(500)), 7))
    assert [item for batch in batches for item in batch] == list(range(500))
    assert all(1 <= len(batch) <= 7 for batch in batches)
    assert list(arriving(iter([]), 3)) == []


def test_arriving_waits_for_one_item_only_and_then_takes_all_that_wait() -> None:
    gate, rest = threading.Event(), threading.Event()

    def come() -> Iterator[int]:
        yield 0
        gate.wait()
        yield from (1, 2, 3)
        rest.set()
        yield 4

    batches = arriving(come(), 3)
    assert next(batches) == [0]
    gate.set()
    rest.wait()  # asked for the fourth, which finds the three waiting
    assert next(batches) == [1, 2, 3]
    assert [item for batch in batches for item in batch] == [4]


def test_arriving_raises_an_error_in_its_place() -> None:
    def come() -> Iterator[int]:
        yield from (0, 1)
        raise ValueError("camera gone")

    seen: list[int] = []
    with pytest.raises(ValueError, match="camera gone"):
        for batch in arriving(come(), 4):
            seen += batch
    assert seen == [0, 1]


def test_late_items_are_skipped_and_the_order_stays() -> None:
    come, taken = threading.Semaphore(0), threading.Semaphore(0)

    def numbers() -> Iterator[int]:
        for number in range(12):
            come.acquire()
            yield number
            taken.release()

    batches = arriving(numbers(), 2, skip_late=True)
    come.release()
    assert next(batches) == [0]
    taken.acquire()
    for _ in range(9):  # while nobody asks
        come.release()
        taken.acquire()
    assert next(batches) == [1, 2]
    for _ in range(2):
        come.release()
    assert [item for batch in batches for item in batch] == [10, 11]


def test_a_consumer_that_leaves_ends_the_reader() -> None:
    ended = threading.Event()

    def come() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            ended.set()

    with closing(arriving(come(), 2)) as batches:
        assert next(batches)[0] == 0
    assert ended.wait(10)


def test_a_signal_ends_the_wait_for_an_item_that_never_comes() -> None:
    never = threading.Event()

    def come() -> Iterator[int]:
        os.kill(os.getpid(), signal.SIGTERM)
        never.wait()
        yield 0

    with stopping_on_signals(), pytest.raises(Stopped):
        next(arriving(come(), 2))
    never.set()
