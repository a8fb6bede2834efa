"""The same command again, through the public command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from common import run
from common.checkpoints import newest
from common.signals import UNFINISHED

Command = Callable[..., None]
Flags = tuple[str, ...]
NO_TIME = ("--trainer.max_time", "00:00:00:00")


def status(command: Command, *words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        command(*words)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def rows(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "metrics.csv")
    return table[[name for name in table.columns if not name.startswith("data/")]]


def scores(folder: Path) -> dict[str, float]:
    summary = json.loads((folder / "summary.json").read_text())
    return {name: score for name, score in summary.items() if name.startswith("test/")}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_time_limit_ends_each_process_and_the_run_ends_as_if_it_had_none(
    trained: Any, ball_command: Command, brief: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name the unfinished run goes on, and after it another one begins."""
    runs = tmp_path / "runs" / "ball"
    for step in (1, 2):  # within an epoch and at its end; each has time for one batch, as the limit is over at once
        run._locks.clear()  # as if the process before had ended
        assert status(ball_command, "fit", *brief, *NO_TIME) == UNFINISHED
        (folder,) = (path for path in runs.iterdir() if not path.is_symlink())
        found = newest(folder / "checkpoints")
        assert found is not None
        assert found.name == f"step-{step:08d}.ckpt"
    assert "stopped by time limit: the same command goes on from here (exit status 85)" in capsys.readouterr().err
    assert not (folder / "summary.json").exists()
    run._locks.clear()
    ball_command("fit", *brief)
    assert "is unfinished, with these settings and this code: going on with it" in capsys.readouterr().out
    pd.testing.assert_frame_equal(rows(folder), rows(trained.folder))
    assert scores(folder) == scores(trained.folder)
    whole, limited = (weights(path) for path in (trained.folder, folder))
    assert whole.keys() == limited.keys()
    assert all(torch.equal(whole[name], limited[name]) for name in whole)
    run._locks.clear()
    assert status(ball_command, "fit", *brief, *NO_TIME) == UNFINISHED
    assert len([path for path in runs.iterdir() if not path.is_symlink()]) == 2


def test_a_finished_run_is_scored_again_and_nothing_else(runs: Path, ball_command: Command, brief: Flags) -> None:
    before, table = newest(runs / "whole" / "checkpoints"), rows(runs / "whole")
    assert before is not None
    written = before.stat().st_mtime_ns
    (runs / "whole" / "summary.json").write_text("{}")
    ball_command("fit", "--run", "whole", *brief)
    assert newest(runs / "whole" / "checkpoints") == before
    assert before.stat().st_mtime_ns == written  # training again would give the same rows
    pd.testing.assert_frame_equal(rows(runs / "whole"), table)
    assert "test/f1" in json.loads((runs / "whole" / "summary.json").read_text())


def test_other_settings_are_refused_and_changed_ones_said(
    runs: Path, ball_command: Command, brief: Flags, capsys: pytest.CaptureFixture[str]
) -> None:
    table = (runs / "whole" / "metrics.csv").read_bytes()
    again = ("fit", "--run", "whole", *brief)
    assert status(ball_command, *again, "--model.sigma", "3.5", "--data.batch_size", "2") == 2
    error = capsys.readouterr().err
    assert "model.sigma: 2.0 -> 3.5" in error
    assert "data.batch_size: 4 -> 2" in error
    assert "Traceback" not in error
    assert (runs / "whole" / "metrics.csv").read_bytes() == table
    ball_command(*again, "--trainer.max_epochs", "3")
    assert "changed, from here on:   trainer.max_epochs: 2 -> 3" in capsys.readouterr().out
    assert rows(runs / "whole")["epoch"].max() == 3  # of the test, after three epochs


def test_a_checkpoint_of_another_run_can_be_gone_on_with_under_a_new_name(
    trained: Any, ball_command: Command, brief: Flags, tmp_path: Path
) -> None:
    runs = tmp_path / "runs" / "ball"
    assert status(ball_command, "fit", "--run", "one", *brief, *NO_TIME) == UNFINISHED
    checkpoint = str(runs / "one" / "checkpoints" / "last.ckpt")
    assert status(ball_command, "fit", "--run", "two", "--ckpt_path", checkpoint, *brief, "--model.sigma", "9") == 2
    ball_command("fit", "--run", "three", "--ckpt_path", checkpoint, *brief)
    whole, three = (newest(folder / "checkpoints") for folder in (trained.folder, runs / "three"))
    assert whole is not None
    assert three is not None
    assert whole.name == three.name
