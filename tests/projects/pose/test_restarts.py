"""The same command again, through the public command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from common import run
from common.checkpoints import load, newest
from common.signals import UNFINISHED
from projects.pose.module import PoseModule
from tests.projects.pose.fish import NET

BRIEF = ("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "2", "--trainer.log_every_n_steps", "1",
         "--trainer.num_sanity_val_steps", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1",
         "--save.every_steps", "2", "--data.augment", "{rotate: 20, scale: 0.2, blur: 0.5, noise: 2}",
         "--model.net.init_args.stages.init_args.dropout", "0.2")  # fmt: skip


class KilledError(BaseException):
    """As by kill -9: nothing is saved on the way out."""


def test_a_run_that_is_stopped_and_killed_ends_as_if_it_were_not(
    pose_command: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pose_command("fit", "--run", "whole", *NET, *BRIEF)  # six steps
    with pytest.raises(SystemExit) as stopped:
        pose_command("fit", "--run", "broken", *NET, *BRIEF, "--trainer.max_time", "00:00:00:00")
    assert stopped.value.code == UNFINISHED
    step, calls = PoseModule.training_step, list[int]()

    def killed(self: PoseModule, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        calls.append(batch_idx)
        if len(calls) == 4:  # the fifth step of all; the third was saved
            raise KilledError
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PoseModule, "training_step", killed)
    with pytest.raises(KilledError):
        pose_command("fit", "--run", "broken", *NET, *BRIEF)
    monkeypatch.undo()
    run._locks.clear()  # as if the process had ended
    found = newest(tmp_path / "runs" / "pose" / "broken" / "checkpoints")
    assert found is not None
    assert found.name == "step-00000003.ckpt"
    torch.randn(7)  # whatever was drawn in between
    pose_command("fit", "--run", "broken", *NET, *BRIEF)
    whole, again = (ended(tmp_path / "runs" / "pose" / name) for name in ("whole", "broken"))
    pd.testing.assert_frame_equal(again["rows"], whole["rows"])
    assert again["scores"] == whole["scores"]
    assert again["weights"].keys() == whole["weights"].keys()
    assert [name for name, value in whole["weights"].items() if not torch.equal(value, again["weights"][name])] == []


def ended(folder: Path) -> dict[str, Any]:
    """What a run came to."""
    table = pd.read_csv(folder / "metrics.csv")
    summary = json.loads((folder / "summary.json").read_text())
    last = newest(folder / "checkpoints")
    assert last is not None
    return {
        "rows": table[[name for name in table.columns if not name.startswith("data/")]],
        "scores": {name: value for name, value in summary.items() if name.startswith(("test/", "baseline"))},
        "weights": load(last)["state_dict"],
    }
