import math
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common.finite_validation import FiniteValidation


class Samples(Dataset[dict[str, Tensor]]):
    """Six numbers."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.tensor([math.inf if index in self.bad else 1.0])
        return {"x": x, "index": torch.tensor(index)}

    def source_of(self, index: int) -> tuple[str, int]:
        return "rally.mp4", 100 + index


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch["x"]).square().mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        return {"name": "net", "nested": [(self.layer(batch["x"]).half(),), batch["index"]]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _validated(*bad: int) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=2, callbacks=[FiniteValidation()], **quiet)  # type: ignore[arg-type]
    trainer.fit(Net(), DataLoader(Samples(), batch_size=2), DataLoader(Samples(*bad), batch_size=2))
    return trainer


def test_each_validation_names_its_bad_batches_and_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = _validated(1, 4)
    first, last = (f"samples: rally.mp4 frame {frame}, rally.mp4 frame {frame + 1}" for frame in (100, 104))
    lines = [line for line in capsys.readouterr().out.splitlines() if "non-finite" in line]
    before = "non-finite output in validation after step"
    assert lines == [f"{before} 0: {first}", f"{before} 3: {first}, {last}", f"{before} 6: {first}, {last}"]
    assert trainer.global_step == 6


def test_nothing_is_said_where_all_is_finite(capsys: pytest.CaptureFixture[str]) -> None:
    _validated()
    assert "non-finite" not in capsys.readouterr().out
