import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.folds import fold_range


@pytest.mark.parametrize(
    ("count", "folds", "expected"),
    [
        (6, 3, [[0, 1], [2, 3], [4, 5]]),
        (7, 3, [[0, 1], [2, 3], [4, 5, 6]]),
        (5, 5, [[0], [1], [2], [3], [4]]),
        (2, 3, [[], [0], [1]]),
        (0, 2, [[], []]),
    ],
)
def test_literal_folds(count: int, folds: int, expected: list[list[int]]) -> None:
    assert [list(fold_range(count, fold=fold, folds=folds)) for fold in range(folds)] == expected


@given(count=st.integers(0, 200), folds=st.integers(2, 12))
def test_folds_are_a_partition_into_equal_parts(count: int, folds: int) -> None:
    parts = [fold_range(count, fold=fold, folds=folds) for fold in range(folds)]
    assert [index for part in parts for index in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
