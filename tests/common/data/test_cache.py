"""The cache of records against a model; other processes are in test_cache_processes and test_cache_faults."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.cache import CachedRecords, CacheStats
from common.data.plan import EpochSampler, ReadPlan
from common.errors import UserError

Shape = tuple[int, ...] | np.ndarray


def pattern(index: int, shape: Sequence[int], dtype: type = np.uint8) -> np.ndarray:
    """What record `index` holds."""
    return np.random.default_rng(index).integers(0, 256, tuple(shape)).astype(dtype)


class Decoder:
    """A source of records that counts."""

    def __init__(self, shape: Shape, dtype: type = np.uint8) -> None:
        self.shape, self.dtype, self.calls = shape, dtype, list[int]()

    def __call__(self, index: int) -> np.ndarray:
        self.calls.append(index)
        shape = self.shape if isinstance(self.shape, tuple) else self.shape[index].tolist()
        return pattern(index, shape, self.dtype)


def varying(count: int, seed: int = 0) -> np.ndarray:
    """Shapes of records of very different sizes."""
    return np.random.default_rng(seed).integers(1, 90, (count, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for slabs, which must be empty again when caches are closed."""
    return tmp_path


@pytest.mark.parametrize("kind", ["equal", "varying"])
@settings(deadline=None, max_examples=30)
@given(
    batches=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=6), max_size=25),
    budget=st.integers(0, 60_000),
    planned=st.booleans(),
)
def test_any_reads_give_the_right_bytes(kind: str, batches: list[list[int]], budget: int, planned: bool) -> None:
    shape: Shape = (40, 60) if kind == "equal" else varying(12)
    decode = Decoder(shape)
    records = CachedRecords(decode, 12, shape, np.uint8, budget=budget)
    if planned:
        records.announce(ReadPlan(np.arange(12)[:, None], EpochSampler(12, shuffle=True)))
    for time, batch in enumerate(batches):
        out = [np.zeros(records.shapes[index], np.uint8) for index in batch]
        times = np.full(len(batch), min(time, 11)) if planned else None
        records.gather(np.array(batch), out, times=times)
        for index, array in zip(batch, out, strict=True):
            np.testing.assert_array_equal(array, pattern(index, records.shapes[index]))
    stats = records.stats()
    reads = sum(map(len, batches))
    assert stats.hits + stats.misses == reads
    assert stats.misses == len(decode.calls)
    check_pages(records)


def check_pages(records: CachedRecords) -> None:
    """Every page is free or holds one record, and no more pages are used than there are."""
    pages = records.pages
    held = pages.table[pages.table >= 0]
    free = pages.free[: pages.head[4]]
    assert sorted([*held.tolist(), *free.tolist()]) == list(range(pages.sizes.pages))
    for record in np.flatnonzero(pages.table[:, 0] >= 0):
        assert (pages.owner[pages.table[record][pages.table[record] >= 0]] == record).all()


@settings(deadline=None, max_examples=40)
@given(reads=st.lists(st.integers(0, 9), max_size=80), capacity=st.integers(1, 9))
def test_without_a_plan_it_is_textbook_second_chance(reads: list[int], capacity: int) -> None:
    records = CachedRecords(Decoder((8, 8)), 10, (8, 8), np.uint8, budget=capacity * 64)
    assert records.capacity == capacity
    expected = clock(reads, capacity)
    for read, hit in zip(reads, expected, strict=True):
        before = records.stats().hits
        records[read]
        assert (records.stats().hits > before) == hit


def clock(reads: Sequence[int], capacity: int) -> Iterator[bool]:
    """Second chance as operating-system textbooks have it: frames in a circle, a hand, a bit set by every access."""
    frames: list[int | None] = [None] * capacity
    bits, hand = dict[int, bool](), 0
    for read in reads:
        hit = read in frames
        if not hit:
            if None in frames:
                place = frames.index(None)
            else:
                while bits[frames[hand] or 0]:
                    bits[frames[hand] or 0] = False
                    hand = (hand + 1) % capacity
                place, hand = hand, (hand + 1) % capacity
            frames[place] = read
        bits[read] = True
        yield hit


def test_a_plan_is_worth_as_much_as_knowing_the_future() -> None:
    plan = ReadPlan(np.arange(40)[:, None] + np.arange(9), EpochSampler(40, shuffle=True, seed=2))
    records = CachedRecords(Decoder((8, 8)), 48, (8, 8), np.uint8, budget=24 * 64)
    records.announce(plan)
    blind = CachedRecords(Decoder((8, 8)), 48, (8, 8), np.uint8, budget=24 * 64)
    ratios = []
    for cache, seeing in ((records, True), (blind, False)):
        for epoch in range(3):
            before = cache.stats()
            for index in plan.sampler.order(epoch):
                out = np.empty((9, 8, 8), np.uint8)
                times = np.repeat(plan.times(epoch, np.array([index])), 9) if seeing else None
                cache.gather(plan.reads[index], out, times=times)
        ratios.append(cache.stats().since(before).hit_ratio)
    assert ratios[0] > ratios[1] + 0.15


def test_a_read_outside_the_plan_puts_nothing_out() -> None:
    records = CachedRecords(Decoder((8, 8)), 10, (8, 8), np.uint8, budget=4 * 64)
    records.announce(ReadPlan(np.arange(10)[:, None], EpochSampler(10, shuffle=False)))
    for index in range(10):
        records[index]
    assert records.stats().evictions == 0
    assert [records.pages.table[index, 0] >= 0 for index in range(10)] == [True] * 4 + [False] * 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int64])
@pytest.mark.parametrize("kind", ["equal", "varying"])
def test_a_part_of_a_record_is_that_part(kind: str, dtype: type) -> None:
    shape: Shape = (
        (50, 70, 3) if kind == "equal" else np.c_[np.random.default_rng(0).integers(30, 400, (6, 2)), [3] * 6]
    )
    records = CachedRecords(Decoder(shape, dtype), 6, shape, dtype, budget="1%")
    corners = np.array([[0, 0], [3, 5], [10, 12]])
    for _ in range(2):  # decoded, then cached
        out = np.empty((3, 20, 18, 3), dtype)
        records.gather(np.array([4, 4, 5]), out, corners=corners)
        for index, (y, x), part in zip((4, 4, 5), corners.tolist(), out, strict=True):
            whole = pattern(index, records.shapes[index], dtype)
            np.testing.assert_array_equal(part, whole[y : y + 20, x : x + 18])
    assert records.stats().misses == 2


def test_streaming_keeps_nothing() -> None:
    decode = Decoder((8, 8))
    records = CachedRecords(decode, 5, (8, 8), np.uint8, budget=0)
    out = np.empty((3, 8, 8), np.uint8)
    for _ in range(3):
        records.gather(np.array([2, 2, 4]), out)
    assert decode.calls == [2, 4] * 3
    assert (records.capacity, records.share, records.stats().evictions) == (0, 0.0, 0)


def test_everything_fits_and_is_filled_once() -> None:
    decode = Decoder((8, 8))
    records = CachedRecords(decode, 100, (8, 8), np.uint8, budget="1%")
    records.fill(workers=3, progress=False)
    assert sorted(decode.calls) == list(range(100))
    out = np.empty((100, 8, 8), np.uint8)
    records.gather(np.arange(100), out)
    assert len(decode.calls) == 100
    assert records.stats().hit_ratio == 1
    np.testing.assert_array_equal(out[17], pattern(17, (8, 8)))


def test_a_fill_stops_where_the_memory_ends() -> None:
    records = CachedRecords(Decoder((8, 8)), 100, (8, 8), np.uint8, budget=30 * 64)
    records.fill(progress=False)
    assert int((records.pages.table[:, 0] >= 0).sum()) == 30
    check_pages(records)


def test_many_records_are_decoded_by_one_call() -> None:
    calls = []

    def read_many(records: Sequence[int]) -> list[np.ndarray]:
        calls.append(list(records))
        return [pattern(record, (8, 8)) for record in records]

    records = CachedRecords(None, 9, (8, 8), np.uint8, budget="1%", read_many=read_many)
    out = np.empty((4, 8, 8), np.uint8)
    records.gather(np.array([7, 3, 7, 5]), out)
    records.gather(np.array([3, 1, 7, 8]), out)
    assert calls == [[3, 5, 7], [1, 8]]
    np.testing.assert_array_equal(out[1], pattern(1, (8, 8)))


def test_threads_share_one_object() -> None:
    decode = Decoder((30, 30))
    records = CachedRecords(decode, 50, (30, 30), np.uint8, budget="1%")

    def read(seed: int) -> None:
        for index in np.random.default_rng(seed).permutation(50):
            np.testing.assert_array_equal(records[int(index)], pattern(int(index), (30, 30)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert sorted(decode.calls) == list(range(50))  # each decoded once, whoever asked
    assert records.stats().hits + records.stats().misses == 8 * 50


def test_a_pickled_copy_uses_the_same_memory() -> None:
    records = CachedRecords(read_small, 10, (8, 8), np.uint8, budget="1%")
    records[3]
    copy = pickle.loads(pickle.dumps(records))
    copy[3], copy[4], records[4]
    assert records.stats()[:2] == (2, 2)
    assert copy.stats() == records.stats()


def read_small(index: int) -> np.ndarray:
    """At the top of the module, so that it can be pickled."""
    return pattern(index, (8, 8))


def wrong_shape(index: int) -> np.ndarray:
    return np.zeros((8, 9), np.uint8)


def wrong_type(index: int) -> np.ndarray:
    return np.zeros((8, 8), np.float32)


@pytest.mark.parametrize(
    ("read", "found"), [(wrong_shape, r"uint8 of shape \(8, 9\)"), (wrong_type, r"float32 of shape \(8, 8\)")]
)
def test_a_record_of_another_kind_is_refused(read: Callable[[int], np.ndarray], found: str) -> None:
    records = CachedRecords(read, 5, (8, 8), np.uint8)
    with pytest.raises(UserError, match=rf"record 2: expected uint8 of shape \(8, 8\), found {found}"):
        records[2]
    check_pages(records)


def test_a_failed_read_leaves_no_lock() -> None:
    failures = [True]

    def read(index: int) -> np.ndarray:
        if failures.pop() if failures else False:
            raise UserError("scene_7.npy: cannot be read")
        return pattern(index, (8, 8))

    records = CachedRecords(read, 5, (8, 8), np.uint8)
    with pytest.raises(UserError, match=r"scene_7\.npy"):
        records[2]
    np.testing.assert_array_equal(records[2], pattern(2, (8, 8)))


def test_records_beyond_the_last_are_refused() -> None:
    records = CachedRecords(Decoder((8, 8)), 5, (8, 8), np.uint8)
    with pytest.raises(IndexError, match="record 5 of 5"):
        records[5]


def test_nothing_is_left_in_the_folder(folder: Path) -> None:
    records = CachedRecords(Decoder((8, 8)), 5, (8, 8), np.uint8, folder=folder)
    records.announce(ReadPlan(np.arange(5)[:, None], EpochSampler(5, shuffle=True)))
    assert records.plan is not None
    records.plan.announce(0)
    records[1]
    assert len(list(folder.iterdir())) == 4  # the slab, the plans of two epochs and the marks
    records.close()
    assert list(folder.iterdir()) == []


def test_a_budget_that_is_not_free_is_refused(folder: Path) -> None:
    records = CachedRecords(Decoder((10_000, 10_000)), 10**5, (10_000, 10_000), np.uint8, budget="9TB", folder=folder)
    with pytest.raises(UserError, match=r"cache: 9\.0 TB needed, .* free \(.*\); give a smaller one"):
        records[0]
    assert list(folder.iterdir()) == []


def test_statistics_are_differences() -> None:
    assert CacheStats(hits=5, misses=3).since(CacheStats(hits=2, misses=2)) == CacheStats(hits=3, misses=1)
    assert CacheStats(hits=3, misses=1).hit_ratio == 0.75
    assert np.isnan(CacheStats().hit_ratio)


def test_the_least_recently_used_is_not_what_goes() -> None:
    """In an epoch that reads everything once, the record just used is the one needed last."""
    order = OrderedDict.fromkeys(range(6))
    records = CachedRecords(Decoder((8, 8)), 6, (8, 8), np.uint8, budget=3 * 64)
    plan = ReadPlan(np.arange(6)[:, None], EpochSampler(6, shuffle=False))
    records.announce(plan)
    for epoch in range(3):
        before = records.stats()
        for index in order:
            records.gather(np.array([index]), np.empty((1, 8, 8), np.uint8), times=plan.times(epoch, np.array([index])))
    assert records.stats().since(before).hits == 3
