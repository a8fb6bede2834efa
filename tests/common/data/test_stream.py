"""Streams hold what they promise and no more."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.stream import padded, prefetch, sliding


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
