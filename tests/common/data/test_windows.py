"""Windows never reach over a gap."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.data.windows import usable_anchors, window_frames


def anchors(available: list[int], labelled: list[int], offsets: list[int]) -> list[int]:
    found = usable_anchors(np.array(available, dtype=np.int64), np.array(labelled, dtype=np.int64), offsets)
    assert found.dtype == np.int64
    return found.tolist()


def test_first_and_last_frames_have_no_whole_window() -> None:
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [-1, 0, 1]) == [1, 2, 3]
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [-2, -1, 0]) == [2, 3, 4]
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0]) == [0, 1, 2, 3, 4]


def test_gaps_and_jumps() -> None:
    available = [0, 1, 2, 4, 5, 6, 7, 20, 21, 22]  # 3 cannot be decoded, 8..19 were not wanted
    assert anchors(available, available, [-1, 0, 1]) == [1, 5, 6, 21]
    assert anchors(available, available, [-3, 0]) == [4, 5, 7]
    assert anchors(available, [3, 5, 21, 30], [-1, 0, 1]) == [5, 21]


def test_offsets_in_any_order_far_or_without_the_anchor() -> None:
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, -1, 0]) == [1, 2, 3]
    assert anchors([0, 1, 3, 4], [2], [-1, 1]) == [2]
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [4]) == [0]
    assert anchors([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5]) == []


def test_nothing_there() -> None:
    assert anchors([], [1, 2], [0]) == []
    assert anchors([1, 2], [], [0]) == []


def test_frames_of_windows() -> None:
    assert window_frames(np.array([5, 9]), [-1, 0, 2]).tolist() == [[4, 5, 7], [8, 9, 11]]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.lists(st.integers(-5, 5), min_size=1, unique=True))
def test_as_by_sets(available: set[int], labelled: set[int], offsets: list[int]) -> None:
    expected = [anchor for anchor in sorted(labelled) if {anchor + offset for offset in offsets} <= available]
    assert anchors(sorted(available), sorted(labelled), offsets) == expected
