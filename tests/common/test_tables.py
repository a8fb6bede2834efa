"""Tables reach the loggers that take them, pictures as pictures, also in a real W&B run without a network."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from common.tables import log_table
from common.tracking import wandb_logger

ROWS = [
    {"name": name, "picture": np.full((4, 6, 3), grey, np.uint8), "score": score}
    for name, grey, score in (("first", 50, 0.25), ("second", 200, float("nan")))
]


def test_an_offline_run_of_wandb_holds_the_table_and_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))  # where W&B keeps what `wandb sync` sends
    log_table([CSVLogger(tmp_path), wandb_logger("tables", tmp_path / "run")], "test/scenes", ROWS)
    wandb.teardown()

    (written,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/test/*.table.json")
    table = json.loads(written.read_text())
    assert table["columns"] == ["name", "picture", "score"]
    assert [(row[0], row[2]) for row in table["data"]] == [
        ("first", 0.25),
        ("second", pytest.approx(np.nan, nan_ok=True)),
    ]
    staged = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    pictures = [np.asarray(Image.open(BytesIO(data)))[..., :3] for data in staged if data.startswith(b"\x89PNG")]
    assert sorted(picture.mean() for picture in pictures) == [50, 200]
    assert {picture.shape for picture in pictures} == {(4, 6, 3)}


def test_no_rows_are_no_table(tmp_path: Path) -> None:
    class Refusing(CSVLogger):
        def log_table(self, *_: object, **__: object) -> None:
            raise AssertionError("called")

    log_table([Refusing(tmp_path)], "test/scenes", [])
    with pytest.raises(AssertionError, match="called"):
        log_table([Refusing(tmp_path)], "test/scenes", [{"name": "first"}])
