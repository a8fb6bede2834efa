import numpy as np
import pytest

from common.data.blocks import NOT_COUNTED, BlockRecords
from common.data.tiles import Box


class Plane:
    """Values row * 100 + column, twice; classes are the columns."""

    name = "plane"
    size_hw = (5, 7)

    def __init__(self) -> None:
        self.boxes: list[Box] = []

    def read_labelled(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        self.boxes.append(box)
        rows, columns = np.mgrid[box.top : box.bottom, box.left : box.right]
        return np.stack([100 * rows + columns, rows]).astype(np.int16), columns.astype(np.uint8)


def records(*scenes: Plane, kind: type = np.int16) -> BlockRecords:
    return BlockRecords(scenes, channels=2, kind=kind, side_hw=(2, 3), content="planes")


def test_blocks_are_numbered_row_by_row_through_all_scenes() -> None:
    blocks = records(Plane(), Plane())
    assert len(blocks) == 2 * 3 * 3
    assert blocks.shape == (2 * 3 * (2 * 2 + 1),)
    assert [blocks.place(record) for record in (0, 2, 3, 8, 9)] == [
        (0, 0, 0), (0, 0, 2), (0, 1, 0), (0, 2, 2), (1, 0, 0),
    ]  # fmt: skip
    assert blocks.source_of(13) == ("plane block", 4)


def test_a_block_holds_values_and_classes() -> None:
    values, labels = records(Plane()).unpack(next(records(Plane()).read_many([4])))
    assert values.dtype == np.int16
    assert values.tolist() == [[[203, 204, 205], [303, 304, 305]], [[2, 2, 2], [3, 3, 3]]]
    assert labels.tolist() == [[3, 4, 5], [3, 4, 5]]


def test_beyond_the_end_nothing_counts() -> None:
    values, labels = records(Plane()).unpack(next(records(Plane()).read_many([8])))
    assert values[0].tolist() == [[406, 0, 0], [0, 0, 0]]
    assert labels.tolist() == [[6, NOT_COUNTED, NOT_COUNTED], [NOT_COUNTED] * 3]


def test_neighbours_in_a_row_are_read_at_once() -> None:
    plane = Plane()
    together = list(records(plane).read_many([3, 4, 5, 8, 0]))
    assert plane.boxes == [Box(2, 4, 0, 7), Box(4, 5, 6, 7), Box(0, 2, 0, 3)]
    alone = [next(records(Plane()).read_many([record])) for record in (3, 4, 5, 8, 0)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.float64])
def test_narrower_values_are_converted(kind: type) -> None:
    values, _ = records(Plane(), kind=kind).unpack(next(records(Plane(), kind=kind).read_many([0])))
    assert values.dtype == kind
    assert values[0].tolist() == [[0, 1, 2], [100, 101, 102]]


def test_other_scenes_have_another_name() -> None:
    assert records(Plane()).content != records(Plane(), Plane()).content
