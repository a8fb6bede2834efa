import csv
import math
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from common.errors import UserError
from common.rows import RowLogger


def metrics_of(number: int) -> dict[str, float]:
    """Row `number` of a made-up run; columns appear at rows 0, 7, 50 and 120."""
    row = {"epoch": number // 10, "train/loss": 1 / (number + 3)}
    row |= {"val/loss": number / 7} if number % 10 == 7 else {}
    row |= {"lr-AdamW": 1e-3} if number >= 50 else {}
    return row | ({"late": math.inf} if number == 120 else {})


def log(logger: RowLogger, numbers: range) -> None:
    for number in numbers:
        logger.log_metrics(metrics_of(number), number)


def whole_file(folder: Path, rows: int) -> bytes:
    log(RowLogger(folder), range(rows))
    return (folder / "metrics.csv").read_bytes()


def test_a_row_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    logger = RowLogger(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    logger.log_metrics({"epoch": 0, "b": 0.1, "a": 3}, 5)
    assert logger.path.read_text() == "epoch,step,b,a\n0,5,0.1,3\n"
    logger.log_metrics({"a": 4}, 6)
    assert logger.path.read_text() == "epoch,step,b,a\n0,5,0.1,3\n,6,,4\n"
    logger.log_metrics({"epoch": 1, "c,d": None, "text": 'two\nlines, "quoted"'})
    assert logger.path.read_text() == (
        'epoch,step,b,a,"c,d",text\n0,5,0.1,3,,\n,6,,4,,\n1,2,,,,"two lines, ""quoted"""\n'
    )
    assert logger.rows == logger.sync() == 3
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308])
@pytest.mark.parametrize("kind", [float, np.float64, torch.tensor])
def test_numbers_keep_all_digits(tmp_path: Path, value: float, kind: Any) -> None:
    logger = RowLogger(tmp_path)
    number = torch.tensor(value, dtype=torch.float64) if kind is torch.tensor else kind(value)
    logger.log_metrics({"x": number})
    assert logger.path.read_text().splitlines()[1].split(",")[2] == repr(value)


def test_what_is_not_finite_is_read_back(tmp_path: Path) -> None:
    logger = RowLogger(tmp_path)
    for value in (math.nan, math.inf, -math.inf, 1.0):
        logger.log_metrics({"x": value})
    assert logger.path.read_text() == "epoch,step,x\n,0,nan\n,1,inf\n,2,-inf\n,3,1.0\n"
    np.testing.assert_array_equal(pd.read_csv(logger.path)["x"], [math.nan, math.inf, -math.inf, 1.0])


def test_a_name_of_two_lines_is_refused(tmp_path: Path) -> None:
    logger = RowLogger(tmp_path)
    with pytest.raises(UserError, match=r"metric 'a\\nb'"):
        logger.log_metrics({"a\nb": 1.0})
    logger.log_metrics({"a": 1.0})
    assert logger.path.read_text() == "epoch,step,a\n,0,1.0\n"


@given(
    st.lists(st.dictionaries(st.text("abc ,\"'é", min_size=1), st.floats() | st.integers(), max_size=4), max_size=12)
)
@settings(deadline=None, max_examples=60)
def test_what_is_logged_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float]]) -> None:
    logger = RowLogger(tmp_path_factory.mktemp("run"))
    for row in rows:
        logger.log_metrics(row)
    logger.path.touch()
    with logger.path.open(newline="") as file:
        found = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    assert found == [
        {"step": str(number)} | {k: repr(v) for k, v in row.items()} for number, row in enumerate(rows)
    ]  # fmt: skip


def test_every_torn_end_leaves_the_whole_rows(tmp_path: Path) -> None:
    content = whole_file(tmp_path, 12)
    for cut in range(len(content) + 1):
        (tmp_path / "metrics.csv").write_bytes(content[:cut])
        logger = RowLogger(tmp_path)
        whole = max(content[:cut].count(b"\n") - 1, 0)
        assert logger.rows == whole
        log(logger, range(whole, 12))
        assert logger.path.read_bytes().splitlines()[-5:] == content.splitlines()[-5:]
        assert logger.rows == 12


@pytest.mark.parametrize("rows", range(0, 131, 10))
def test_rewound_and_repeated_it_is_the_same_file(tmp_path: Path, rows: int) -> None:
    content = whole_file(tmp_path, 130)
    with (tmp_path / "metrics.csv").open("ab") as file:
        file.write(b"13,130,0.0")  # torn
    logger = RowLogger(tmp_path)
    logger.rewind(rows)
    assert logger.rows == rows
    assert logger.path.read_bytes() == b"".join(content.splitlines(keepends=True)[: rows + 1])
    log(logger, range(rows, 130))
    assert logger.path.read_bytes() == content


def test_a_logger_in_use_can_be_rewound(tmp_path: Path) -> None:
    content = whole_file(tmp_path / "whole", 60)
    logger = RowLogger(tmp_path / "run")
    log(logger, range(60))
    logger.rewind(45)
    log(logger, range(45, 60))
    assert logger.path.read_bytes() == content


def test_missing_rows_are_told_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_file(tmp_path, 8)
    logger = RowLogger(tmp_path)
    logger.rewind(1234)
    said = capsys.readouterr().err
    assert "metrics.csv holds 8 whole rows" in said
    assert "at row 1,234: 1,226 rows are gone" in said
    log(logger, range(8, 9))
    assert logger.rows == 9
    lost = RowLogger(tmp_path / "lost")
    lost.rewind(3)
    assert "holds 0 whole rows" in capsys.readouterr().err
    lost.rewind(0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\x00\xff", b'"unbalanced\n1\n', b"x\r\n1.5\r\n"])
def test_a_foreign_file_is_continued(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    logger = RowLogger(tmp_path)
    before = logger.rows
    logger.log_metrics({"x": 2.5}, 1)
    assert logger.rows == before + 1
    with logger.path.open(newline="", errors="replace") as file:
        rows = list(csv.DictReader(file))
    assert (rows[-1]["x"], rows[-1]["step"]) == ("2.5", "1")
    assert (content != b"x\r\n1.5\r\n") or logger.path.read_text() == "x,step\n1.5,\n2.5,1\n"


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = RowLogger(tmp_path)
    logger.rewind(3)
    logger.log_metrics({"x": 1.0})
    logger.save()
    logger.finalize("success")
    assert (logger.rows, logger.sync(), list(tmp_path.iterdir())) == (0, 0, [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount the small disk of this test")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_costs_no_row(small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40_000))
    logger, number = RowLogger(small_disk), 0
    with pytest.raises(UserError) as caught:
        for number in range(5000):
            log(logger, range(number, number + 1))
    assert 100 < number < 4999
    for part in (str(logger.path), "bytes needed, ", " free; free some"):
        assert part in str(caught.value)
    assert logger.rows == number + 1
    assert RowLogger(small_disk).rows == number  # whole rows, no part of the one that found no space
    logger.finalize("failed")  # does not hide the first error
    with pytest.raises(UserError, match="no space left"):
        logger.sync()
    filler.unlink()
    log(logger, range(number + 1, number + 20))
    assert logger.sync() == number + 20
    assert logger.path.read_bytes() == whole_file(tmp_path / "whole", number + 20)


def test_a_full_disk_at_a_new_column_costs_no_row(small_disk: Path, tmp_path: Path) -> None:
    logger, whole = RowLogger(small_disk), RowLogger(tmp_path / "whole")
    log(logger, range(10))
    before = logger.path.read_bytes()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match="no space left"):
        logger.log_metrics({"new": 1.0}, 10)
    assert logger.path.read_bytes() == before
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "metrics.csv"]
    filler.unlink()
    logger.save()
    log(whole, range(10))
    whole.log_metrics({"new": 1.0}, 10)
    assert logger.path.read_bytes() == whole.path.read_bytes()


def train(folder: Path, rows: int, pipe: int) -> None:
    """A run that goes on from its checkpoint, a number of rows in a file, and writes one every nine rows."""
    logger, checkpoint = RowLogger(folder), folder / "checkpoint"
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    logger.rewind(start)
    for number in range(start, rows):
        log(logger, range(number, number + 1))
        os.write(pipe, b".")
        if number % 9 == 8:
            (folder / "new").write_text(str(logger.sync()))
            (folder / "new").replace(checkpoint)


def kill_after(folder: Path, rows: int, written: int) -> None:
    """Starts the run in a process of its own and kills it somewhere after it has written so many rows."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            train(folder, rows, write)
        finally:
            os._exit(0)
    os.close(write)
    for _ in range(written):
        os.read(read, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)


def test_killed_ten_times_it_is_the_same_file(tmp_path: Path) -> None:
    folder, chance, rows = tmp_path / "killed", random.Random(4), 1000
    content = whole_file(tmp_path / "whole", rows)
    folder.mkdir()
    for _ in range(10):
        kill_after(folder, rows, chance.randrange(5, 90))
        *whole, _ = (folder / "metrics.csv").read_bytes().split(b"\n")
        for number, line in enumerate(whole[1:]):
            cells = line.decode().split(",")
            assert (cells[1], cells[2]) == (str(number), repr(1 / (number + 3)))
            assert len(cells) == len(whole[0].split(b","))
    assert (folder / "checkpoint").exists()
    read, write = os.pipe()
    train(folder, rows, write)
    os.close(read)
    os.close(write)
    assert (folder / "metrics.csv").read_bytes() == content


class Slope(LightningModule):
    """Logs per step, per epoch and in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        loss = self.net(batch).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val/loss", self.net(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Checkpointed(Callback):
    """What a checkpoint callback does with the rows; breaks the run at a step, if asked to."""

    def __init__(self, breaks_at: int = -1) -> None:
        self.breaks_at = breaks_at

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["rows"] = trainer.logger.sync()

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        trainer.logger.rewind(checkpoint["rows"])

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.breaks_at:
            raise RuntimeError("broken")


def fit(
    folder: Path, epochs: int, *, ckpt_path: Path | None = None, breaks_at: int = -1, loggers: Any = None
) -> Trainer:
    torch.manual_seed(3)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, log_every_n_steps=2, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        logger=loggers or RowLogger(folder), callbacks=[LearningRateMonitor(), Checkpointed(breaks_at)],
    )  # fmt: skip
    data = DataLoader(torch.arange(1.0, 9.0)[:, None], batch_size=2)
    trainer.fit(Slope(), data, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def test_lightning_writes_the_table_of_its_own_logger(tmp_path: Path) -> None:
    rows, stock = RowLogger(tmp_path / "rows"), CSVLogger(tmp_path / "stock", name="", version="")
    trainer = fit(tmp_path, 4, loggers=[rows, stock])
    assert trainer.log_dir == str(tmp_path / "rows")
    found, expected = pd.read_csv(rows.path), pd.read_csv(tmp_path / "stock" / "metrics.csv")
    assert list(found)[:2] == ["epoch", "step"]
    assert {"lr-SGD", "train/loss_step", "train/loss_epoch", "val/loss"} < set(found)
    pd.testing.assert_frame_equal(found[sorted(found)], expected[sorted(expected)])
    assert found["train/loss_step"].notna().sum() == 4 * 4 / 2
    assert rows.rows == len(found)


def test_a_resumed_trainer_repeats_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path / "whole", 4)
    fit(tmp_path / "half", 2).save_checkpoint(tmp_path / "half.ckpt")
    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path / "run", 4, breaks_at=14)
    broken = RowLogger(tmp_path / "run").rows
    assert broken > RowLogger(tmp_path / "half").rows
    fit(tmp_path / "run", 4, ckpt_path=tmp_path / "half.ckpt")
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()
