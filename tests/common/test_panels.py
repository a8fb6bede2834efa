import pytest

from common.panels import spread_over


@pytest.mark.parametrize(
    ("samples", "count", "world", "expected"),
    [
        (10, 4, 1, [0, 3, 6, 9]),
        (10, 4, 3, [0, 3, 6, 9]),
        (10, 2, 4, [0, 8]),
        (23, 4, 2, [0, 6, 14, 22]),
        (3, 4, 1, [0, 1, 2]),
        (1, 4, 2, [0]),
        (5, 1, 1, [0]),
        (5, 0, 1, []),
        (0, 4, 1, []),
    ],
)
def test_samples_are_spread_over_what_the_first_rank_sees(
    samples: int, count: int, world: int, expected: list[int]
) -> None:
    assert sorted(spread_over(samples, count, world=world)) == expected
