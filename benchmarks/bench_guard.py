"""What it costs a training step to keep non-finite numbers out of it.

    python benchmarks/bench_guard.py

The guard's cost is the time in its hooks, on the host: on a GPU that includes any wait for it. The same is measured of
the check that many code bases have, `torch.isfinite(loss).item()`, which sees neither gradients nor norm layers and
restores nothing. Lightning's `detect_anomaly=True` is what it adds to a step. The default network's step has little
arithmetic here, 2 windows of 96 x 64, so that the guard's share of it is the largest one may meet.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import torch
from ball import default_module
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from table import Results, arguments, results_folder
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common.guard import NonFiniteGuard

GPU = torch.cuda.is_available()
HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
BAR_US = 28
WARM = 5
"""Steps before the measured ones."""


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    results = Results("guard")
    steps = 20 if options.quick else 300
    few = nn.Sequential(nn.Conv2d(9, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3))
    measure(results, "two convolutions", few, steps)
    if not options.quick:
        measure(results, "ball's default network", default_module().net, steps)
    results.finish(results_folder(options))


def measure(results: Results, name: str, net: nn.Module, steps: int) -> None:
    tensors = sum(1 for _ in net.parameters())
    case = f"{name}, {tensors} gradients"
    bare, _ = step_us(net, steps)
    ours = {fused: step_us(net, steps, NonFiniteGuard(), fused=fused)[1] for fused in (False, True)}
    _, naive = step_us(net, steps, StopOnLoss())
    anomaly, _ = step_us(net, steps, detect_anomaly=True)
    results.add(f"bare step, {case}", bare, "us")
    peers = {"isfinite_item": naive, "detect_anomaly": max(anomaly - bare, 0.0)}
    results.add(f"guard, {case}", ours[False], "us/step", bar=BAR_US, **peers)
    results.add(f"guard, fused optimizer, {case}", ours[True], "us/step", bar=BAR_US, **peers)
    results.add(f"guard / bare step, {case}", max(ours.values()) / bare, "x")


class Step(LightningModule):
    """The mean square of what a network answers."""

    def __init__(self, net: nn.Module, *, fused: bool) -> None:
        super().__init__()
        self.net, self.fused = net, fused

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        answer = self.net(batch)
        parts = (answer,) if isinstance(answer, Tensor) else answer
        return {"loss": torch.stack([part.float().square().mean() for part in parts]).sum()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-6, fused=self.fused)


class StopOnLoss(Callback):
    """The usual check."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        if not torch.isfinite(outputs["loss"]).item():
            raise ValueError("loss is not finite")


class Clock(Callback):
    """The time, and the time spent in another callback's hooks, at the end of each step."""

    def __init__(self, watched: Callback | None) -> None:
        self.spent, self.ends, self.spents = 0.0, list[float](), list[float]()
        for name in HOOKS if watched else ():
            setattr(watched, name, self._timed(getattr(watched, name)))

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any) -> None:
            started = perf_counter()
            hook(*args)
            self.spent += perf_counter() - started

        return run

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(perf_counter())
        self.spents.append(self.spent)


def step_us(
    net: nn.Module, steps: int, watched: Callback | None = None, *, fused: bool = False, detect_anomaly: bool = False
) -> tuple[float, float]:
    """Median microseconds of a step, and of a callback's hooks in a step."""
    clock = Clock(watched)
    trainer = Trainer(
        accelerator="gpu" if GPU else "cpu", devices=1, precision="32-true", max_steps=steps + WARM,
        callbacks=[*filter(None, [watched]), clock], detect_anomaly=detect_anomaly, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    batches = torch.randn(100, 2, 9, 64, 96)
    trainer.fit(Step(net, fused=fused), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return _median_us(clock.ends), _median_us(clock.spents)


def _median_us(times: Sequence[float]) -> float:
    return 1e6 * median(end - start for start, end in pairwise(times[WARM - 1 :]))


if __name__ == "__main__":
    main()
