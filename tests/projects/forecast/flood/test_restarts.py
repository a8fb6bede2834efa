"""The same command again, through the public command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from common.checkpoints import load, newest
from common.signals import UNFINISHED

BRIEF = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2", "--trainer.log_every_n_steps", "1",
         "--trainer.num_sanity_val_steps", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1",
         "--model.futures", "2", "--model.horizon", "4",
         "--model.curriculum", "{begins: [0.0, 0.25], steps: [1, 2], lead: [1, 2]}")  # fmt: skip
VQVAE = ("--model.net", "projects.forecast.nets.vqvae.VQVAE", "--model.net.init_args",
         "{widths: [8, 8], blocks: 1, stride: 2, latent_channels: 4, codes: 8, revive_after: 2}")  # fmt: skip
"""Of all networks the one that keeps most besides weights: moving averages, counts, codes that are drawn anew."""


def test_a_run_that_is_stopped_after_each_batch_ends_as_if_it_were_not(
    flood_command: Callable[..., None], tmp_path: Path
) -> None:
    flood_command("fit", "--run", "whole", *BRIEF, *VQVAE)
    for _ in range(3):
        with pytest.raises(SystemExit) as stopped:
            flood_command("fit", "--run", "stopped", *BRIEF, *VQVAE, "--trainer.max_time", "00:00:00:00")
        assert stopped.value.code == UNFINISHED
        torch.randn(7)  # whatever was drawn in between
    flood_command("fit", "--run", "stopped", *BRIEF, *VQVAE)
    whole, again = (ended(tmp_path / "runs" / "forecast" / name) for name in ("whole", "stopped"))
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
