from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common.errors import UserError
from projects.pose.dead_stages import DeadStages

NAN = float("nan")


class Net(LightningModule):
    """Logs the activities that it is given, one set per validation."""

    def __init__(self, activities: dict[str, list[float]]) -> None:
        super().__init__()
        self.layer, self.activities, self.done = nn.Linear(1, 1), activities, 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def on_validation_epoch_end(self) -> None:
        number = -1 if self.trainer.sanity_checking else self.done
        self.done += not self.trainer.sanity_checking
        self.log_dict({f"val/activity/{stage}": values[number] for stage, values in self.activities.items()})
        self.log("val/recall/heat/9", 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def _fit(
    activities: dict[str, list[float]], *, fn: str = "fit", state: dict[str, Any] | None = None, **settings: Any
) -> DeadStages:
    callback = DeadStages(**settings)
    if state is not None:
        callback.load_state_dict(state)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    epochs = len(next(iter(activities.values())))
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=[callback], **quiet)  # type: ignore[arg-type]
    loader = DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]
    if fn == "fit":
        trainer.fit(Net(activities), loader, loader)
    else:
        trainer.validate(Net(activities), loader, verbose=False)
    return callback


def _warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:")]


def test_a_stage_that_stays_near_zero_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    callback = _fit({"paf/1": [0.02, 0.03, 0.04, 0.01, 0.0], "heat/2": [0.05, 0.2, 0.5, 0.9, 1.0]})
    (line,) = _warnings(capsys)
    assert "stage paf/1" in line and "4.00%" in line and "3 validations" in line
    for remedy in ("foreground", "learning rate", "batch norm"):
        assert remedy in line
    assert callback.warned == ["paf/1"]


def test_a_stage_that_recovers_is_not_named_and_one_that_dies_later_is(capsys: pytest.CaptureFixture[str]) -> None:
    _fit({"paf/1": [0.0, 0.3, 0.0, 0.5, 0.0], "paf/2": [0.9, 0.9, 0.9, 0.09, 0.0]}, patience=2)
    (line,) = _warnings(capsys)
    assert "stage paf/2" in line


@pytest.mark.parametrize(("values", "least", "told"), [([0.3] * 2, 0.31, 1), ([0.3] * 2, 0.3, 0), ([NAN] * 2, 0.9, 0)])
def test_the_limit_and_validations_without_a_target(
    values: list[float], least: float, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _fit({"paf/1": values}, least=least, patience=2)
    assert len(_warnings(capsys)) == told


def test_a_validation_before_or_beside_training_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    callback = _fit({"paf/1": [0.0] * 3}, patience=4)
    assert callback.low == {"paf/1": 3}, "the sanity check is none of them"
    assert _fit({"paf/1": [0.0]}, patience=1, fn="validate").low == {}
    assert not _warnings(capsys)


def test_a_resumed_run_counts_on_and_does_not_repeat_itself(capsys: pytest.CaptureFixture[str]) -> None:
    before = _fit({"paf/1": [0.0, 0.0]})
    resumed = _fit({"paf/1": [0.0, 0.0]}, state=before.state_dict())
    assert len(_warnings(capsys)) == 1, "with the third validation, and not with the fourth"
    assert resumed.low == {"paf/1": 4}
    _fit({"paf/1": [0.0]}, state=resumed.state_dict())
    assert not _warnings(capsys)


@pytest.mark.parametrize(
    ("settings", "key"), [({"least": 0.0}, "least"), ({"least": NAN}, "least"), ({"patience": 0}, "patience")]
)
def test_settings_out_of_range(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"dead_stages.{key}"):
        DeadStages(**settings)
