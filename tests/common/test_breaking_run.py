"""Ways in which users and accidents broke a run."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, GradientAccumulationScheduler

from common import run as runs
from common.checkpoints import best, keep_best
from common.errors import UserError
from common.files import link
from common.keeper import RunKeeper
from common.run import open_run
from common.signals import Stopped, request, stopping_on_signals
from tests.common.resumable import StopAt, train, train_with_stops
from tests.common.test_keeper import differences, final

CASES: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {
    "last validation of max_steps": (lambda: {"max_steps": 14, "max_epochs": -1}, 21),
    "max_steps inside an epoch": (lambda: {"max_steps": 13, "max_epochs": 9}, 19),
    "averaged weights, in a validation": (lambda: {"callbacks": [EMAWeightAveraging(decay=0.9)]}, 10),
    "accumulation by epoch": (lambda: {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 3})]}, 14),
    "validation counted over epochs, accumulated": (
        lambda: {
            "check_val_every_n_epoch": None, "val_check_interval": 6, "accumulate_grad_batches": 2, "data": {"train": 15},
        },
        9,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_stopped_there_it_is_the_same_training(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, ask = CASES[case]
    try:
        train(tmp_path / "whole", **make())
    except UserError:
        return  # refused: as good
    for stop in (ask, None):
        with monkeypatch.context() as inside:
            StopAt(stop).install(inside)
            try:
                train(tmp_path / "stopped", **make())
            except Stopped:
                continue
    whole, stopped = final(tmp_path / "whole"), final(tmp_path / "stopped")
    assert list(differences(whole[0], stopped[0])) == []
    assert whole[1:] == stopped[1:]


@pytest.mark.parametrize("error", [RuntimeError("killed"), OSError(28, "No space left on device")])
def test_killed_between_the_save_and_the_best_it_is_still_the_best(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole")
    keep, count = RunKeeper._keep_best, 0

    def die(self: RunKeeper) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise error
        keep(self)

    with monkeypatch.context() as inside:
        inside.setattr(RunKeeper, "_keep_best", die)
        with pytest.raises((type(error), UserError)):
            train(tmp_path / "killed")
    train(tmp_path / "killed")
    assert final(tmp_path / "killed")[2] == final(tmp_path / "whole")[2]


def test_of_equal_scores_the_earlier_is_kept(tmp_path: Path) -> None:
    (tmp_path / "step-00000001.ckpt").write_bytes(b"x")
    for step in (1, 2):
        keep_best(tmp_path, tmp_path / "step-00000001.ckpt", step=step, score=float(torch.tensor(0.98)), count=1)
    assert [one.step for one in best(tmp_path)] == [1]


def test_a_best_of_an_earlier_life_is_not_the_best_of_a_fresh_run(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best-00000999-5.ckpt").write_bytes(b"of other settings")
    train(tmp_path / "run", max_epochs=1)
    assert [one.step for one in best(folder)] == [7]


@pytest.mark.parametrize(
    "name", ["best-mine.ckpt", "best-epoch=1-score=0.9.ckpt", "step-keep-me.ckpt", "step-abc.ckpt"]
)
def test_files_of_other_names_are_left_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    train_with_stops(tmp_path / "run", [9], monkeypatch, max_epochs=1)
    assert (folder / name).read_bytes() == b"mine"


class Replace(Callback):
    """An editor saves the table: a new file of the same name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 10:
            shutil.copy(self.path, self.path.with_suffix(".new"))
            self.path.with_suffix(".new").replace(self.path)


def test_rows_reach_a_table_that_an_editor_saved_meanwhile(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "edited", callbacks=[Replace(tmp_path / "edited" / "metrics.csv")])
    assert (tmp_path / "edited" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()


def test_training_does_without_links(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()  # as `cp -rL` or a file system without links leaves it
    train(tmp_path / "run", max_epochs=1)


def test_the_latest_run_is_no_run_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    link(tmp_path / "latest", tmp_path / "night")
    assert open_run(tmp_path, "latest", {}) == tmp_path / "night"


@pytest.mark.parametrize("name", [".", "..", "../other", "/tmp/elsewhere", "n" * 300])
def test_names_that_leave_the_folder_of_runs_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--run"):
        open_run(tmp_path / "runs" / "ball", name, {})


@pytest.mark.parametrize("text", ["[]", "3", '{"host": "x"}', '{"settings": null}'])
def test_a_damaged_note_breaks_no_start(text: str, tmp_path: Path) -> None:
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    (tmp_path / "old" / "checkpoints" / "step-00000001.ckpt").write_bytes(b"")
    (tmp_path / "old" / "run.json").write_text(text)
    assert open_run(tmp_path, None, {}) != tmp_path / "old"
    assert open_run(tmp_path, "old", {}) == tmp_path / "old"
    runs._locks.clear()


def test_a_signal_is_heard_when_nobody_reads_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `fit 2>&1 | tee log`, where Ctrl-C ends tee first."""

    def broken(*_: Any) -> int:
        raise BrokenPipeError

    with stopping_on_signals():
        request.in_loop = True
        monkeypatch.setattr(os, "write", broken)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.asked()
