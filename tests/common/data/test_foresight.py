import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.foresight import _optimal_hits, best_hit_ratio


@settings(deadline=None)
@given(stream=st.lists(st.integers(0, 4), min_size=1, max_size=8), capacity=st.integers(0, 4))
def test_no_choice_of_evictions_does_better(stream: list[int], capacity: int) -> None:
    assert _optimal_hits(np.array(stream), capacity).sum() == best(stream, frozenset(), capacity)


def best(stream: list[int], cached: frozenset[int], capacity: int) -> int:
    """Most hits over all ways to keep, put out or leave out a record."""
    if not stream:
        return 0
    first, rest = stream[0], stream[1:]
    if first in cached:
        return 1 + best(rest, cached, capacity)
    choices = [cached]
    if len(cached) < capacity:
        choices.append(cached | {first})
    choices += [cached - {victim} | {first} for victim in cached]
    return max(best(rest, choice, capacity) for choice in choices)


def test_ratios_of_the_literature() -> None:
    single, windows = np.arange(2000)[:, None], np.arange(1992)[:, None] + np.arange(9)
    assert best_hit_ratio(single, share=0.5, shuffle=True) == 0.5  # each record once an epoch: what fits, hits
    assert best_hit_ratio(single, share=0.5, shuffle=False) == 0.5
    assert best_hit_ratio(single, share=0.0, shuffle=True) == 0
    assert best_hit_ratio(windows, share=1.0, shuffle=True) == 1
    assert 0.75 < best_hit_ratio(windows, share=0.5, shuffle=True) < 0.8  # neighbours come back within the epoch
