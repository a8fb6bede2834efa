from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning import LightningModule, Trainer

from common.errors import UserError
from projects.pose.coco.results import read_results
from projects.pose.results_file import ResultsFile

FOUND = [
    {"image_id": 9, "category_id": 3, "keypoints": [1.5, 2.0, 0.75, 0.0, 0.0, 0.0], "score": 0.5},
    {"image_id": 4, "category_id": 3, "keypoints": [7.0, 8.25, 1.0, 3.0, 4.0, 0.5], "score": 0.25},
]
TEST, VALIDATION = ResultsFile.on_test_end, ResultsFile.on_validation_end


def ended(folder: Path, hook: Callable[..., None], verb: str, *, lead: bool = True, found: Any = FOUND) -> list[str]:
    """Names of the files in a folder after the end of a loop."""
    hook(
        ResultsFile(folder), Mock(spec=Trainer, state=Mock(fn=verb), is_global_zero=lead),
        Mock(spec=LightningModule, results=found),
    )  # fmt: skip
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("hook", "verb", "name"),
    [
        (TEST, "test", "keypoints_test.json"),
        (VALIDATION, "validate", "keypoints_val.json"),
    ],
)
def test_everybody_found_is_written_in_the_order_of_finding(
    hook: Callable[..., None], verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(tmp_path, hook, verb) == [name]
    assert read_results(tmp_path / name) == FOUND
    assert capsys.readouterr().out == f"people found: {tmp_path / name}\n"


@pytest.mark.parametrize(
    ("hook", "verb", "lead"), [(VALIDATION, "fit", True), (VALIDATION, "validate", False), (TEST, "test", False)]
)
def test_validations_of_a_training_and_other_processes_write_nothing(
    hook: Callable[..., None], verb: str, lead: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(tmp_path, hook, verb, lead=lead) == []
    assert capsys.readouterr().out == ""


def test_nobody_found_is_an_empty_list_and_another_evaluation_replaces_it(tmp_path: Path) -> None:
    ended(tmp_path, TEST, "test", found=[])
    assert read_results(tmp_path / "keypoints_test.json") == []
    assert ended(tmp_path, TEST, "test") == ["keypoints_test.json"]
    assert read_results(tmp_path / "keypoints_test.json") == FOUND


def test_what_no_reader_would_take_replaces_nothing(tmp_path: Path) -> None:
    ended(tmp_path, TEST, "test")
    with pytest.raises(UserError, match=r"keypoints_test\.json.*score"):
        ended(tmp_path, TEST, "test", found=[FOUND[0] | {"score": float("nan")}])
    assert read_results(tmp_path / "keypoints_test.json") == FOUND
