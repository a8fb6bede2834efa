from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projects.pose.coco.json_file import is_number, is_whole, read_json


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "some.json"
    path.write_text(text)
    return read_json(path)


def test_lists_of_numbers_are_packed_and_all_else_stays(tmp_path: Path) -> None:
    found = read(tmp_path, '{"a": {"keypoints": [1, 2.5, 2], "bbox": [1, 2], "segmentation": [[1, 2, 3], ["x"], 4]}}')[
        "a"
    ]
    assert isinstance(found["keypoints"], np.ndarray) and found["keypoints"].tolist() == [1, 2.5, 2]
    assert isinstance(found["segmentation"][0], np.ndarray) and found["segmentation"][1:] == [["x"], 4]
    assert found["bbox"] == [1, 2]
    found = read(tmp_path, '{"segmentation": {"size": [2, 3], "counts": [1, 5]}, "keypoints": ["nose", "tail"]}')
    assert found["segmentation"]["counts"].dtype.kind == "i" and found["segmentation"]["size"] == [2, 3]
    assert found["keypoints"] == ["nose", "tail"]


@pytest.mark.parametrize("values", ["[[1, 2], [3]]", "[[1, 2], [3, 4]]", "[null]", '["1"]', "5", "null", "[1e999, {}]"])
def test_what_is_no_list_of_numbers_is_kept_for_the_reader_to_refuse(values: str, tmp_path: Path) -> None:
    assert not isinstance(read(tmp_path, f'{{"keypoints": {values}}}')["keypoints"], np.ndarray)


def test_numbers() -> None:
    whole: list[Any] = [0, 5, 7, 8, -1, True, 5.0, "5", None, [5]]
    assert [value for value in whole if is_whole(value, lowest=1, highest=7)] == [5, 7]
    numbers: list[Any] = [0, -2.5, 3, 3.1, float("nan"), float("-inf"), False, "1", None, 10**400]
    assert [value for value in numbers if is_number(value, largest=3)] == [0, -2.5, 3]
