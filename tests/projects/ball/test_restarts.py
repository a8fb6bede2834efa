"""The same command again, through the public command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from common import run
from common.checkpoints import newest
from common.signals import UNFINISHED

Command = Callable[..., None]
BRIEF = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2",
         "--trainer.limit_test_batches", "2", "--trainer.log_every_n_steps", "1", "--trainer.num_sanity_val_steps", "0",
         "--trainer.accelerator", "cpu", "--trainer.devices", "1")  # fmt: skip
NO_TIME = ("--trainer.max_time", "00:00:00:00")


def status(command: Command, *words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        command(*words)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def rows(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "metrics.csv")
    return table[[name for name in table.columns if not name.startswith("data/")]]


def test_a_time_limit_ends_each_process_and_the_run_ends_as_if_it_had_none(
    ball_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs" / "ball"
    ball_command("fit", "--run", "whole", *BRIEF)
    for step in range(1, 4):  # each has time for one batch: the limit is over when it is asked for first
        assert status(ball_command, "fit", "--run", "limited", *BRIEF, *NO_TIME) == UNFINISHED
        found = newest(runs / "limited" / "checkpoints")
        assert found is not None
        assert found.name == f"step-{step:08d}.ckpt"
    captured = capsys.readouterr()
    assert "stopped by time limit: the same command goes on from here (exit status 85)" in captured.err
    assert not (runs / "limited" / "summary.json").exists()
    ball_command("fit", "--run", "limited", *BRIEF)
    pd.testing.assert_frame_equal(rows(runs / "limited"), rows(runs / "whole"))
    whole, limited = (json.loads((runs / name / "summary.json").read_text()) for name in ("whole", "limited"))
    assert {key: whole[key] for key in whole if key.startswith("test/")} == {
        key: limited[key] for key in limited if key.startswith("test/")
    }


def test_a_finished_run_is_scored_again_and_nothing_else(ball_command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ball" / "one"
    ball_command("fit", "--run", "one", *BRIEF)
    before, table = newest(folder / "checkpoints"), rows(folder)
    ball_command("fit", "--run", "one", *BRIEF)
    assert newest(folder / "checkpoints") == before
    pd.testing.assert_frame_equal(rows(folder), table)


def test_without_a_name_the_unfinished_run_goes_on(
    ball_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(ball_command, "fit", *BRIEF, *NO_TIME) == UNFINISHED
    run._locks.clear()  # as if the process had ended
    ball_command("fit", *BRIEF)
    assert "is unfinished, with these settings and this code: going on with it" in capsys.readouterr().out
    run._locks.clear()
    ball_command("fit", *BRIEF)  # finished: another one
    folders = [path for path in (tmp_path / "runs" / "ball").iterdir() if not path.is_symlink()]
    assert len(folders) == 2


def test_other_settings_are_refused_and_changed_ones_said(
    ball_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ball_command("fit", "--run", "one", *BRIEF)
    table = (tmp_path / "runs" / "ball" / "one" / "metrics.csv").read_bytes()
    assert status(ball_command, "fit", "--run", "one", *BRIEF, "--model.sigma", "3.5", "--data.batch_size", "2") == 2
    error = capsys.readouterr().err
    assert "model.sigma: 2.0 -> 3.5" in error
    assert "data.batch_size: 4 -> 2" in error
    assert "Traceback" not in error
    assert (tmp_path / "runs" / "ball" / "one" / "metrics.csv").read_bytes() == table
    ball_command("fit", "--run", "one", *BRIEF, "--trainer.max_epochs", "3")
    assert "changed, from here on:   trainer.max_epochs: 2 -> 3" in capsys.readouterr().out
    assert rows(tmp_path / "runs" / "ball" / "one")["epoch"].max() == 3  # of the test, after three epochs


def test_a_checkpoint_of_another_run_can_be_gone_on_with_under_a_new_name(
    ball_command: Command, tmp_path: Path
) -> None:
    runs = tmp_path / "runs" / "ball"
    assert status(ball_command, "fit", "--run", "one", *BRIEF, *NO_TIME) == UNFINISHED
    checkpoint = str(runs / "one" / "checkpoints" / "last.ckpt")
    assert status(ball_command, "fit", "--run", "two", "--ckpt_path", checkpoint, *BRIEF, "--model.sigma", "9") == 2
    ball_command("fit", "--run", "three", "--ckpt_path", checkpoint, *BRIEF)
    ball_command("fit", "--run", "one", *BRIEF)
    one, three = (newest(runs / name / "checkpoints") for name in ("one", "three"))
    assert one is not None
    assert three is not None
    assert one.name == three.name
