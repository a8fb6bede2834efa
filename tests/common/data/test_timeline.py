"""Order of showing, order of decoding, and dependence."""

from pathlib import Path

import numpy as np

from common.data.timeline import Timeline

# decoded:  I0 P3 B1 B2 | I6 B4 B5 P8 B7   (numbers = time of showing; B4 and B5 lean on the group before)
OPEN = Timeline(
    pts=np.array([0, 3, 1, 2, 6, 4, 5, 8, 7]),
    key=np.array([1, 0, 0, 0, 1, 0, 0, 0, 0], dtype=bool),
    shown=np.arange(9),
)
# the same, closed: I0 P3 B1 B2 | I4 P7 B5 B6, with the first two pictures cut off by an edit list
CLOSED = Timeline(
    pts=np.array([0, 3, 1, 2, 4, 7, 5, 6]) * 10,
    key=np.array([1, 0, 0, 0, 1, 0, 0, 0], dtype=bool),
    shown=np.arange(2, 8) * 10,
)


def test_times_are_found_exactly_or_not_at_all() -> None:
    assert [CLOSED.frame(pts) for pts in (10, 20, 25, 70, 80, None)] == [None, 0, None, 5, None, None]
    assert [CLOSED.rank(pts) for pts in (10, 20, 25, 70, 80, None)] == [2, 3, None, 5, None, None]


def test_decoding_starts_at_the_keyframe_before() -> None:
    assert [CLOSED.entry(frame) for frame in range(6)] == [0, 0, 4, 4, 4, 4]
    assert [CLOSED.entry(5, back=back) for back in range(3)] == [4, 0, 0]


def test_decoding_starts_one_keyframe_earlier_where_groups_are_open() -> None:
    assert [OPEN.entry(frame) for frame in range(9)] == [0] * 9
    three = Timeline(np.arange(12), np.arange(12) % 4 == 0, np.arange(12))
    assert [three.entry(frame) for frame in (3, 4, 11)] == [0, 4, 8]


def test_damage_reaches_to_the_next_keyframe() -> None:
    assert np.flatnonzero(CLOSED.spoilt_by(1)).tolist() == [0, 1]  # P3, B1, B2, of which the first is not shown
    assert np.flatnonzero(CLOSED.spoilt_by(4)).tolist() == [2, 3, 4, 5]
    assert np.flatnonzero(OPEN.spoilt_by(2)).tolist() == [1, 2, 4, 5]  # B1, B2, and the pictures shown before I6
    assert np.flatnonzero(OPEN.spoilt_by(5)).tolist() == [4, 5]  # B4 is no reference of what follows I6
    assert np.flatnonzero(OPEN.spoilt_by(7)).tolist() == [7, 8]


def test_a_saved_listing_is_the_same(tmp_path: Path) -> None:
    timeline = Timeline(np.array([0, 2, 1, 3]), np.array([True, False, False, True]), np.array([0, 1, 2, 3]))
    timeline.save(tmp_path / "listing.npz")
    again = Timeline.load(tmp_path / "listing.npz")
    for name in ("pts", "key", "shown"):
        np.testing.assert_array_equal(getattr(again, name), getattr(timeline, name))
