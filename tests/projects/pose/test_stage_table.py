import io
import math
from unittest.mock import Mock

import pytest
import torch
from lightning import LightningModule, Trainer
from rich.console import Console

from projects.pose.stage_table import StageTable, stage_table

VALUES = {
    "val/loss": 2.0, "val/loss/paf/1": 1.23456, "val/loss/heat/1": 0.765, "val/loss/heat/2": 0.5,
    "val/mae/paf/1": 0.02, "val/recall/paf/1": 0.5, "val/island_recall/paf/1": 0.25, "val/activity/paf/1": 0.75,
    "val/recall/heat/1": math.nan, "val/mae/heat/2": 0.01, "test/loss/paf/1": 9.0, "val/ap": 0.5,
}  # fmt: skip


def lines(split: str, values: dict[str, float]) -> list[list[str]]:
    """The cells of each row, headings first."""
    text = io.StringIO()
    Console(file=text, width=120).print(stage_table(split, values))
    rows = [line for line in text.getvalue().splitlines() if "┃" in line or "│" in line]
    return [[cell.strip() for cell in row.replace("┃", "│").strip("│").split("│")] for row in rows]


def test_a_row_per_stage_in_order_and_a_dash_where_nothing_is_known() -> None:
    assert lines("val", VALUES) == [
        ["stage", "loss", "mae", "recall", "island recall", "activity"],
        ["paf/1", "1.23", "0.02", "0.5", "0.25", "0.75"],
        ["heat/1", "0.765", "-", "-", "-", "-"],
        ["heat/2", "0.5", "0.01", "-", "-", "-"],
    ]
    assert lines("test", VALUES)[1:] == [["paf/1", "9", "-", "-", "-", "-"]]


def trainer(verb: str, *, lead: bool = True) -> Trainer:
    metrics = {name: torch.tensor(value) for name, value in VALUES.items()}
    return Mock(spec=Trainer, state=Mock(fn=verb), is_global_zero=lead, callback_metrics=metrics)


@pytest.mark.parametrize(("verb", "lead", "printed"), [("validate", True, 1), ("fit", True, 0), ("validate", False, 0)])
def test_a_validation_s_table_is_printed_once_and_not_in_training(
    verb: str, lead: bool, printed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    StageTable().on_validation_end(trainer(verb, lead=lead), LightningModule())
    assert capsys.readouterr().out.count("val split, stage by stage") == printed


def test_a_test_s_table_is_the_test_s(capsys: pytest.CaptureFixture[str]) -> None:
    StageTable().on_test_end(trainer("test"), LightningModule())
    said = capsys.readouterr().out
    assert "test split, stage by stage" in said
    assert "heat/1" not in said
