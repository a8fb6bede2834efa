"""Which pictures are collected for panels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from projects.pose.people import nobody
from projects.pose.samples import SamplePanels
from projects.pose.skeleton import COCO

COUNT = 23
OKS = np.random.default_rng(3).random(COUNT)
OKS[[4, 7]] = np.nan
MODULE = SimpleNamespace(skeleton=COCO)


class Named:
    def __len__(self) -> int:
        return COUNT

    def source_of(self, index: int) -> tuple[str, int]:
        return f"{index}.jpg", index


def _outputs(indices: list[int], valid: list[bool]) -> dict[str, Any]:
    n = len(indices)
    joints = np.zeros((1, 18, 2), np.float32)
    return {
        "index": torch.tensor(indices), "valid": torch.tensor(valid), "oks": OKS[indices],
        "image": torch.rand(n, 3, 16, 24) * 255, "people": [nobody(18)] * n,
        "truth": [(joints, np.full((1, 18), 2, np.uint8))] * n,
        **dict.fromkeys(("heat", "target_heat"), torch.rand(n, 19, 2, 3)),
        **dict.fromkeys(("paf", "target_paf"), torch.rand(n, 38, 2, 3)),
    }  # fmt: skip


def _names(batch_size: int, panels: SamplePanels, trainer: Trainer) -> list[int]:
    for start in range(0, COUNT, batch_size):
        indices = list(range(start, min(start + batch_size, COUNT)))
        padding = batch_size - len(indices)
        outputs = _outputs(indices + [0] * padding, [True] * len(indices) + [False] * padding)
        panels.keep(trainer, MODULE, outputs, {}, Named())
    return [int(sample.name.removesuffix(".jpg")) for sample in panels.take(trainer)[0]]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_spread_pictures_then_the_worst_others_each_once(tmp_path: Path, batch_size: int) -> None:
    panels, trainer = SamplePanels(tmp_path, spread=4, worst=3), Trainer(logger=False, accelerator="cpu")
    spread = [0, 7, 14, 22]
    others = sorted((index for index in range(COUNT) if index not in spread and index != 4), key=lambda n: OKS[n])
    assert _names(batch_size, panels, trainer) == [*spread, *others[:3]]
    assert _names(batch_size, panels, trainer)[:4] == spread  # nothing of before is left
    trainer.state.fn = "fit"  # type: ignore[assignment]
    assert _names(batch_size, panels, trainer) == spread


def test_few_pictures_and_none_at_all(tmp_path: Path) -> None:
    trainer = Trainer(logger=False, accelerator="cpu")
    assert _names(5, SamplePanels(tmp_path, spread=0, worst=0), trainer) == []
    assert _names(5, SamplePanels(tmp_path, spread=100, worst=3), trainer) == list(range(COUNT))


def test_a_test_writes_its_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panels, trainer = SamplePanels(tmp_path), Trainer(logger=False, accelerator="cpu")
    panels.keep(trainer, MODULE, _outputs(list(range(COUNT)), [True] * COUNT), {}, Named())
    panels.on_test_epoch_end(trainer, LightningModule())
    assert (tmp_path / "test.png").stat().st_size > 1000
    assert "test.png (the last 3 rows are the worst pictures)" in capsys.readouterr().out
