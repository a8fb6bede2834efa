import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from common.checkpoints import load
from common.errors import UserError
from projects.forecast.flood.data import FloodData
from projects.forecast.flood.module import FloodModule
from projects.forecast.nets.interface import Forecast, ForecastNet
from projects.forecast.nets.unet import IncrementUNet

SMALL = ("--model.net.init_args.widths", "[4,6]", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2",
         "--model.horizon", "3", "--model.curriculum", "{begins: [0.0], steps: [2], lead: [1]}")  # fmt: skip


def small(*args: int) -> ForecastNet:
    return IncrementUNet(*args, widths=[8, 12], blocks=1)


def module(net: Any = small, **options: Any) -> FloodModule:
    made = FloodModule(net=net, optimizer=torch.optim.SGD, **options)
    made.physics.field.partial_fit(torch.rand(3, 50), channel_dim=0)
    made.physics.bed.partial_fit(torch.rand(1, 50), channel_dim=0)
    return made.eval()


def place(size_hw: tuple[int, int] = (12, 15), batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Past, bed and basin."""
    inside = torch.ones(batch, *size_hw) > 0
    inside[:, 0] = False
    past = torch.rand(batch, 2, 3, *size_hw) * inside[:, None, None]
    return past, torch.rand(batch, *size_hw), inside


def randomised(made: FloodModule) -> FloodModule:
    generator = torch.Generator().manual_seed(1)
    for weight in made.net.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return made


def test_an_untrained_network_is_persistence() -> None:
    past, bed, inside = place()
    future = module().rollout(past, bed, inside, 5)
    last = torch.where(past[:, -1:, :1] > 1e-3, past[:, -1:], 0)
    torch.testing.assert_close(future, last.expand(-1, 5, -1, -1, -1))


def test_a_rollout_feeds_on_itself() -> None:
    made, (past, bed, inside) = randomised(module()), place()
    with torch.no_grad():
        future = made.rollout(past, bed, inside, 3)
        again = made.rollout(torch.cat([past, future[:, :1]], dim=1)[:, 1:], bed, inside, 2)
    assert torch.equal(again, future[:, 1:]) and not torch.equal(future[:, 0], future[:, 1])
    assert (future[:, :, 0] >= 0).all() and not ((future[:, :, 0] > 0) & (future[:, :, 0] <= 1e-3)).any()


def test_what_is_outside_the_basin_in_the_bed_changes_nothing() -> None:
    made, (past, bed, inside) = randomised(module()), place()
    other = torch.where(inside, bed, 99.0)
    with torch.no_grad():
        assert torch.equal(made.rollout(past, bed, inside, 2), made.rollout(past, other, inside, 2))


def test_fit_test_and_reopen_where_a_baseline_has_no_value(
    flood_command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: Any
) -> None:
    flood_command("fit", "--run", "a", "--model.past", "1", *SMALL)
    said = capsys.readouterr().out
    assert "persistence" in said and "csi_005" in said and "linear" in said and "training_mean" in said
    assert said.count("baseline linear: without a value: a straight line takes two past frames, model.past is 1") == 1
    assert "training_mean: without" not in said
    assert not [warning for warning in recwarn if "torchmetrics" in str(warning.filename)]
    run = tmp_path / "runs" / "forecast" / "a"
    summary = json.loads((run / "summary.json").read_text())
    baselines = summary["baselines"]
    assert {"persistence", "linear", "training_mean"} == set(baselines)
    assert baselines["linear"].keys() == baselines["persistence"].keys()
    assert set(baselines["linear"].values()) == {None}
    assert 0 <= summary["test/csi_005"] <= 1 and (run / "pictures" / "curves_test.png").is_file()
    flood_command("test", "--run", "a", small=False)
    again = json.loads((run / "test" / "summary.json").read_text())
    assert again["test/h_rmse"] == pytest.approx(summary["test/h_rmse"], rel=1e-6)
    assert again["baselines"] == summary["baselines"]
    with pytest.raises(SystemExit) as stopped:
        flood_command("test", "--run", "a", "--model.step_minutes", "120", small=False)
    assert stopped.value.code == 2, "weights of another window are refused"
    checkpoint = next((run / "checkpoints").glob("*.ckpt"))
    reopened = FloodModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    state = load(checkpoint)["state_dict"]
    assert torch.equal(reopened.physics.field.std, state["physics.field.std"]) and reopened.past == 1
    assert torch.equal(reopened.training_mean.frames, state["training_mean.frames"])


def test_statistics_are_those_of_all_training_frames_inside(floods: Path) -> None:
    data = FloodData(root=str(floods), minutes_per_frame=60.0, horizon=2)
    data.setup("fit")
    records = data.training_records()
    made = FloodModule(net=small, optimizer=torch.optim.SGD)
    made._standardize(records)
    frames = [(records.source_of(each), frame) for each, frame in enumerate(records.read_many(range(len(records))))]
    names = data.names("train")
    values = np.concatenate([frame[:, records.inside[names.index(name)]] for (name, _), frame in frames], axis=1)
    np.testing.assert_allclose(made.physics.field.mean, values.mean(axis=1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(made.physics.field.std, values.std(axis=1), rtol=1e-4)
    beds = np.concatenate([bed[inside] for bed, inside in zip(records.beds, records.inside, strict=True)])
    np.testing.assert_allclose(
        [made.physics.bed.mean[0], made.physics.bed.std[0]], [beds.mean(), beds.std()], rtol=1e-4
    )


class Dice(ForecastNet):
    """Adds the same random depth everywhere."""

    increments, stochastic = True, True

    def __init__(self, *args: int) -> None:
        super().__init__()
        self.past, self.future, self.weight = args[3], 1, torch.nn.Parameter(torch.ones(()))

    def forward(self, past: Tensor, static: Tensor, *, sample: bool = False) -> Forecast:
        draw = torch.randn(len(past), 1, 1, 1, 1) if sample else torch.zeros(len(past), 1, 1, 1, 1)
        change = torch.cat([draw, 0 * draw, 0 * draw], dim=2) * self.weight
        return Forecast(change.expand(-1, -1, -1, *past.shape[-2:]), {}, {})

    def embed(self, past: Tensor, static: Tensor) -> Tensor:
        return past.mean(dim=(1, 3, 4))


def test_futures_are_drawn_and_the_best_and_their_spread_reported() -> None:
    made, (past, bed, inside) = module(Dice, futures=40), place(batch=3)
    past = past + 5 * torch.tensor([1.0, 0, 0]).view(1, 1, 3, 1, 1) * inside[:, None, None]
    scale = float(torch.hypot(made.physics.field.std, made.physics.field.mean)[0])
    target = past[:, -1:].expand(-1, 2, -1, -1, -1)
    known, valid = torch.tensor([[True, False], [True, False], [False, False]]), torch.tensor([True, True, False])
    batch = {"past": past, "future": target, "known": known, "bed": bed, "inside": inside, "valid": valid}
    batch["index"] = torch.arange(3)
    made._draw(batch)
    best, spread = (float(made.drawn[name].compute()) for name in ("best_h_rmse", "spread_m"))
    assert 0 < best < 0.1 * scale  # of 40 draws one is close to no change
    assert spread == pytest.approx(scale, rel=0.25)
    first = list(made._futures(batch))
    torch.manual_seed(1)
    assert all(torch.equal(*each) for each in zip(first, made._futures(batch), strict=True)), "whatever is drawn before"


def test_a_training_mean_for_shorter_simulations_has_no_value() -> None:
    made = module()
    made.training_mean.fit([(torch.rand(4, 3, 5, 6), torch.ones(4) > 0)])
    assert [made._why_absent("training_mean", (5, 6), frames) is None for frames in (4, 5)] == [True, False]
    assert made._why_absent("persistence", (9, 9), 99) is None


def test_settings_that_do_not_fit_each_other() -> None:
    with pytest.raises(UserError, match=r"model.horizon: found 3; the curriculum's longest stage, .* needs 8"):
        module(horizon=3)
    with pytest.raises(UserError, match="model: found past 0"):
        module(past=0)
    with pytest.raises(UserError, match="step_minutes nan"):
        module(step_minutes=float("nan"))


def test_export_says_what_the_module_says(tmp_path: Path) -> None:
    made = randomised(module())
    parity = made.export(tmp_path / "flood.onnx")
    assert parity.relative_error < 1e-4
    past, bed, inside = place((17, 14), 1)
    maps = torch.cat([past.flatten(1, 2), torch.where(inside, bed, torch.nan)[:, None]], dim=1)
    session = onnxruntime.InferenceSession(tmp_path / "flood.onnx")
    (said,) = session.run(None, {"maps": maps.numpy()})
    with torch.no_grad():
        expected = made(past, bed, inside)
    np.testing.assert_allclose(said, expected[:, 0].numpy(), atol=1e-5)
