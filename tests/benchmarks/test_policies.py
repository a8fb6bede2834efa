"""The reference policies against hand-worked sequences, and the bound against trying everything."""

import importlib
from collections.abc import Iterable, Sequence
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TEXTBOOK = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]
"""Reference string of Silberschatz, Operating System Concepts: with 3 frames FIFO faults 15 times, LRU 12, MIN 9."""


@pytest.fixture(scope="module")
def policies() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return importlib.import_module("policies")


@pytest.fixture(scope="module")
def workloads() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return importlib.import_module("workloads")


@pytest.mark.parametrize(("name", "faults"), [("fifo", 15), ("lru", 12), ("belady_min", 8), ("never_evict", 11)])
def test_page_faults_of_the_textbook(policies: ModuleType, name: str, faults: int) -> None:
    # the book's optimum is 9: it must load page 4, which is not read again and costs a hit of 0; bypass need not
    assert sum(getattr(policies, name)(TEXTBOOK, [1] * 8, 3)) == len(TEXTBOOK) - faults


def test_second_chance_passes_over_what_was_hit(policies: ModuleType) -> None:
    # 0 1 2 fill; 3 finds all bits set, clears them and takes 0; 1 is hit; 4 passes 1 and takes 2; so 1 is still there
    reads = [0, 1, 2, 3, 1, 4, 1, 2]
    assert policies.second_chance(reads, [1] * 5, 3) == [0, 0, 0, 0, 1, 0, 1, 0]
    assert policies.fifo(reads, [1] * 5, 3) == [0, 0, 0, 0, 1, 0, 0, 0]


def test_bypass_keeps_what_is_needed_sooner(policies: ModuleType) -> None:
    # one place: putting 1 in would cost the hit of 0
    assert policies.belady_min([0, 1, 0, 1], [1, 1], 1) == [0, 0, 1, 0]


def test_a_record_is_held_in_part(policies: ModuleType) -> None:
    # 0 is needed first and stays whole; the place left holds a quarter of 1
    assert policies.belady_min([0, 1, 0, 1], [2, 4], 3) == [0, 0, 2, 1]


@pytest.mark.parametrize("name", ["lru", "fifo", "second_chance", "never_evict"])
def test_a_record_larger_than_the_cache_passes_by(policies: ModuleType, name: str) -> None:
    assert getattr(policies, name)([0, 1, 1, 0, 1], [5, 2], 4) == [0, 0, 2, 0, 2]


traces = st.integers(1, 4).flatmap(
    lambda records: st.tuples(
        st.lists(st.integers(0, records - 1), max_size=9),
        st.lists(st.integers(1, 3), min_size=records, max_size=records),
        st.integers(0, 7),
    )
)


@given(traces)
@settings(deadline=None)
def test_with_equal_sizes_min_is_the_best_of_all_choices(
    policies: ModuleType, trace: tuple[list[int], list[int], int]
) -> None:
    reads, sizes, capacity = trace
    found = policies.belady_min(reads, [1] * len(sizes), capacity)
    assert sum(found) == _best(reads, [1] * len(sizes), capacity)
    assert set(found) <= {0, 1}


@given(traces)
@settings(deadline=None)
def test_with_any_sizes_it_is_the_best_of_all_choices_on_pages(
    policies: ModuleType, trace: tuple[list[int], list[int], int]
) -> None:
    reads, sizes, capacity = trace
    found = policies.belady_min(reads, sizes, capacity)
    starts = np.cumsum([0, *sizes])
    pages = [int(page) for record in reads for page in range(starts[record], starts[record + 1])]
    assert sum(found) == _best_of_small_sets(pages, capacity)
    assert sum(found) >= _best(reads, sizes, capacity)
    assert all(0 <= part <= sizes[record] for part, record in zip(found, reads, strict=True))


@given(traces, st.integers(0, 9))
@settings(deadline=None)
def test_nothing_finds_more_than_the_bound(
    policies: ModuleType, trace: tuple[list[int], list[int], int], warm: int
) -> None:
    reads, sizes, capacity = trace
    measured = reads[warm:]
    bound = sum(policies.best_from_any_start(measured, sizes, capacity))
    simulated = [policies.lru, policies.fifo, policies.second_chance, policies.never_evict, policies.belady_min]
    for policy in simulated:
        found = policy(reads, sizes, capacity)
        assert len(found) == len(reads)
        assert sum(found[warm:]) <= bound


@given(st.integers(1, 3), st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_ranks_read_every_sample_once_in_the_order_of_the_epoch(
    workloads: ModuleType, world: int, batch: int, shuffle: bool
) -> None:
    workload = workloads.Workload("any", np.arange(17)[:, None], 17, shuffle=shuffle)
    found = list(workloads.batches(workload, epochs=range(2), seed=3, world=world, batch=batch))
    for epoch in range(2):
        order = workload.order(seed=3, epoch=epoch)
        mine = [step for step in found if step.epoch == epoch]
        assert sorted(np.concatenate([step.positions for step in mine])) == list(range(17))
        assert all(np.array_equal(order[step.positions], step.samples) for step in mine)
        assert all(len({int(at) % world for at in step.positions}) == 1 for step in mine)


def test_windows_stay_inside_their_clip(workloads: ModuleType) -> None:
    assert workloads.clip_windows(2, 5, frames=3, stride=2).tolist() == [[0, 1, 2], [2, 3, 4], [5, 6, 7], [7, 8, 9]]


def _best(reads: Sequence[int], sizes: Sequence[int], capacity: int) -> int:
    """The most that can be found with whole records, by trying every set of records to hold after every read."""
    most = {frozenset[int](): 0}
    for record in reads:
        after = dict[frozenset[int], int]()
        for held, found in most.items():
            now = found + (sizes[record] if record in held else 0)
            for kept in _subsets(held | {record}):
                if sum(sizes[each] for each in kept) <= capacity:
                    after[kept] = max(now, after.get(kept, 0))
        most = after
    return max(most.values())


def _best_of_small_sets(reads: Sequence[int], capacity: int) -> int:
    """The same for size 1, without the sets that only hold less than another one can."""
    most = {frozenset[int](): 0}
    for record in reads:
        after = dict[frozenset[int], int]()
        for held, found in most.items():
            candidates = held | {record}
            for gone in candidates if len(candidates) > capacity else [None]:
                kept = candidates - {gone}
                after[kept] = max(found + (record in held), after.get(kept, 0))
        most = after
    return max(most.values())


def _subsets(records: frozenset[int]) -> Iterable[frozenset[int]]:
    return map(frozenset, chain.from_iterable(combinations(records, n) for n in range(len(records) + 1)))
