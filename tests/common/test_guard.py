"""Small runs on the CPU with a fault in some of their batches, compared with runs that lack these batches."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from common.guard import NonFiniteGuard

SIZE = 2
"""Samples per batch: batch n holds samples 2n and 2n + 1."""

FAULTS = ("input", "loss", "gradient", "statistics")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1),
    "fused adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "fused sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, fused=True),
}
WAYS = [("adam", None), ("sgd", None), ("fused adamw", None), ("fused adamw", True), ("fused sgd", True)]
"""Optimizers, and whether the outcome is read one step later, as on a GPU."""


class Samples(Dataset[dict[str, Tensor]]):
    """Images by batch; a faulty batch has its fault in its first sample."""

    def __init__(self, batches: Sequence[int], faults: dict[int, str]) -> None:
        self.indices = [SIZE * batch + row for batch in batches for row in range(SIZE)]
        self.faults = faults

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        index = self.indices[place]
        x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        fault = self.faults.get(index // SIZE) if index % SIZE == 0 else None
        if fault == "input":
            x[0, 0, 0] = math.nan
        return {"x": x, "index": torch.tensor(index), "fault": torch.tensor(FAULTS.index(fault) if fault else -1)}

    def source_of(self, index: int) -> tuple[str, int]:
        return "rally.mp4", 100 + index


class Spoil(torch.autograd.Function):
    """Identity whose gradient is NaN, or infinite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * math.nan


class Net(LightningModule):
    """Convolution, norm layer, dropout; a second norm layer sees the input but is no part of the loss."""

    def __init__(self, optimizer: str = "adam") -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head, self.aside = nn.Linear(4, 1), nn.BatchNorm2d(3, affine=False)
        self.optimizer = optimizer

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        fault = int(batch["fault"].max())
        torch.manual_seed(int(batch["index"][0]))  # the dropout of a batch, whichever came before
        with torch.no_grad():
            self.aside(batch["x"] * (math.inf if fault == FAULTS.index("statistics") else 1))
        features = self.drop(self.norm(self.conv(batch["x"])).relu().mean((2, 3)))
        if fault == FAULTS.index("gradient"):
            features = Spoil.apply(features)
        answer = self.head(features).float()
        square = (answer - 1).square().mean()
        extra = torch.tensor(math.inf if fault == FAULTS.index("loss") else 0.5)
        return {"loss": square + extra, "square": square, "extra": extra}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {"answer": self.head(self.norm(self.conv(batch["x"])).mean((2, 3)))}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return OPTIMIZERS[self.optimizer](self.parameters())


class States(Callback):
    """The state before each batch."""

    def __init__(self) -> None:
        self.before: list[list[Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.before.append(state_of(pl_module, trainer))


def state_of(module: LightningModule, trainer: Trainer) -> list[Tensor]:
    """Weights, buffers and optimizer state."""
    optimizer = trainer.optimizers[0].state_dict()["state"]
    kept = [value for state in optimizer.values() for value in state.values() if isinstance(value, Tensor)]
    return [value.clone() for value in (*module.state_dict().values(), *kept)]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def loader(batches: int | Sequence[int], faults: dict[int, str]) -> DataLoader[dict[str, Tensor]]:
    return DataLoader(Samples(range(batches) if isinstance(batches, int) else batches, faults), batch_size=SIZE)


class Run:
    """A fit of an epoch."""

    def __init__(
        self,
        *callbacks: Callback,
        batches: int | Sequence[int] = 6,
        faults: dict[int, str] | None = None,
        optimizer: str = "adam",
        **settings: Any,
    ) -> None:
        torch.manual_seed(0)
        self.module, self.data = Net(optimizer), loader(batches, faults or {})
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        settings = {"accelerator": "cpu", "max_epochs": 1, **quiet, **settings}
        self.trainer = Trainer(callbacks=list(callbacks), **settings)

    def fit(self, **settings: Any) -> "Run":
        self.trainer.fit(self.module, self.data, **settings)
        return self

    @property
    def state(self) -> list[Tensor]:
        return state_of(self.module, self.trainer)


@cache
def unguarded(optimizer: str, clip: float | None, accumulate: int, batches: Sequence[int]) -> list[Tensor]:
    """The end of a run without faults."""
    settings: dict[str, Any] = {"gradient_clip_val": clip, "accumulate_grad_batches": accumulate}
    return Run(batches=batches, optimizer=optimizer, **settings).fit().state


@pytest.mark.parametrize(("optimizer", "delayed"), WAYS)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_run_in_which_all_is_finite_is_the_run_without_the_guard(
    optimizer: str, delayed: bool | None, clip: float | None
) -> None:
    settings = {"optimizer": optimizer, "gradient_clip_val": clip}
    guarded = Run(NonFiniteGuard(delayed=delayed), **settings).fit()
    assert same(guarded.state, unguarded(optimizer, clip, 1, range(6)))
    assert guarded.trainer.callback_metrics["train/skipped"] == 0


STEPS = [(1, None), (1, 0.1), (2, None), (2, 0.1)]
"""Batches per step, and where gradients are clipped."""

SKIPPING = [
    (fault, *way, *STEPS[number % 4])  # each fault in each way, and each of both with each kind of step
    for number, (fault, way) in enumerate(itertools.product(FAULTS, WAYS))
]


@pytest.mark.parametrize(("fault", "optimizer", "delayed", "accumulate", "clip"), SKIPPING)
def test_a_run_skips_as_if_the_batches_of_the_step_did_not_exist(
    fault: str, optimizer: str, delayed: bool | None, accumulate: int, clip: float | None
) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer, "gradient_clip_val": clip}
    settings |= {"accumulate_grad_batches": accumulate}
    guard = NonFiniteGuard(max_skipped=2, delayed=delayed)
    run = Run(guard, batches=10, faults={0: fault, 5: fault}, **settings).fit()
    lost = {0, 5} if accumulate == 1 else {0, 1, 4, 5}
    left = tuple(batch for batch in range(10) if batch not in lost)
    assert same(run.state, unguarded(optimizer, clip, accumulate, left))
    assert guard.skipped == ([1, 6] if accumulate == 1 else [1, 3])
    assert run.trainer.callback_metrics["train/skipped"] == 2
    assert run.trainer.global_step == 10 // accumulate


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("optimizer", "delayed"), WAYS)
def test_without_a_budget_the_first_one_stops_the_run(fault: str, optimizer: str, delayed: bool | None) -> None:
    states = States()
    run = Run(NonFiniteGuard(delayed=delayed), states, faults={2: fault}, optimizer=optimizer)
    with pytest.raises(UserError, match=r"at step 3: .*rally\.mp4 frame 104"):
        run.fit()
    assert same(states.before[3] if delayed else run.state, states.before[2])
    assert len(states.before) == (4 if delayed else 3)
    assert all(torch.isfinite(value).all() for value in run.state)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "input",
            "non-finite loss at step 2: loss = nan, square = nan, extra = #; "
            "the input itself is not finite: x; samples: rally.mp4 frame 102. The step was not taken.",
        ),
        (
            "loss",
            "non-finite loss at step 2: loss = inf, square = #, extra = inf; "
            "samples: rally.mp4 frame 102, rally.mp4 frame 103. The step was not taken.",
        ),
        (
            "gradient",
            "non-finite gradient at step 2: gradients of 4 of 6 parameters, nearest the loss norm.bias, norm.weight, "
            "conv.bias and 1 more; loss = #, square = #, extra = #; "
            "samples: rally.mp4 frame 102, rally.mp4 frame 103. The step was not taken.",
        ),
        (
            "statistics",
            "non-finite running statistics at step 2: aside.running_mean, aside.running_var; "
            "loss = #, square = #, extra = #; samples: rally.mp4 frame 102, rally.mp4 frame 103.",
        ),
    ],
)
@pytest.mark.parametrize(("optimizer", "delayed"), [("adam", None), ("fused adamw", True)])
def test_the_message_says_what_and_where(fault: str, said: str, optimizer: str, delayed: bool | None) -> None:
    with pytest.raises(UserError) as error:
        Run(NonFiniteGuard(delayed=delayed), faults={1: fault}, optimizer=optimizer).fit()
    assert said in re.sub(r"(?<== )[0-9.]+\b", "#", str(error.value))


def test_a_term_outside_of_the_loss_does_not_count() -> None:
    class Informed(Net):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
            return super().training_step(batch, batch_idx) | {"recall": torch.tensor(math.nan)}

    guard = NonFiniteGuard()
    run = Run(guard)
    run.module = Informed()
    run.fit()
    assert guard.skipped == []


def test_of_accumulated_batches_the_bad_one_is_named_with_its_undivided_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Run(NonFiniteGuard(max_skipped=2), batches=8, faults={1: "input", 6: "gradient"}, accumulate_grad_batches=2).fit()
    first, second = (line for line in capsys.readouterr().out.splitlines() if "non-finite" in line)
    assert "x; samples: rally.mp4 frame 102. Left out, 1 of 2 such steps." in first
    assert "frame 100" not in first
    assert "loss at step 1" in first
    assert "gradient at step 4" in second
    for sample in (112, 113, 114, 115):  # the sum of both gradients does not tell
        assert f"frame {sample}" in second
    terms = [dict(part.split(" = ") for part in text.split(", ")[:3]) for text in second.split("; ")[1::2]]
    assert [float(term["loss"]) for term in terms] == pytest.approx(
        [float(term["square"]) + 0.5 for term in terms], rel=1e-5
    )


def test_the_budget_holds_over_restarts(tmp_path: Path) -> None:
    faults = dict.fromkeys((1, 3, 8, 10), "loss")
    path = tmp_path / "a.ckpt"
    first = Run(NonFiniteGuard(max_skipped=3), batches=5, faults=faults).fit()
    first.trainer.save_checkpoint(path)
    guard = NonFiniteGuard(max_skipped=3)
    again = Run(guard, batches=12, faults=faults, max_epochs=2)
    with pytest.raises(UserError) as error:
        again.fit(ckpt_path=path, weights_only=True)
    assert "non-finite loss at step 9" in str(error.value)
    assert "The run left out 4 steps (2, 4, 7, 9), where max_skipped is 3" in str(error.value)
    with pytest.raises(UserError, match=r"The run left out 2 steps \(2, 4\), where max_skipped is 1"):
        Run(NonFiniteGuard(max_skipped=1), max_epochs=2).fit(ckpt_path=path, weights_only=True)


def test_a_checkpoint_knows_the_step_whose_outcome_is_not_read_yet(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    Run(NonFiniteGuard(max_skipped=1, delayed=True), Save(), faults={2: "loss"}, optimizer="fused adamw").fit()
    states = [torch.load(tmp_path / f"{step}.ckpt", weights_only=True)["callbacks"] for step in (2, 3, 4)]
    assert [state["NonFiniteGuard"]["skipped"] for state in states] == [[], [3], [3]]


@pytest.mark.parametrize(("optimizer", "delayed"), WAYS)
def test_overflows_that_end_are_the_scalers_own(optimizer: str, delayed: bool | None) -> None:
    guard, states = NonFiniteGuard(max_overflows=2, delayed=delayed), States()
    run = Run(
        guard, states, **_half(2.0**10), faults={0: "gradient", 1: "gradient", 3: "gradient"}, optimizer=optimizer
    )
    run.fit()
    assert guard.skipped == []
    assert [same(states.before[i], states.before[i + 1]) for i in range(5)] == [True, True, False, True, False]
    assert run.trainer.precision_plugin.scaler.get_scale() == 2.0**7  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", ["input", "loss", "statistics"])
@pytest.mark.parametrize(("optimizer", "delayed"), WAYS)
def test_under_a_scaler_all_else_counts(fault: str, optimizer: str, delayed: bool | None) -> None:
    guard, states = NonFiniteGuard(max_skipped=1, delayed=delayed), States()
    run = Run(guard, states, **_half(1.0), faults={2: fault}, optimizer=optimizer).fit()
    assert guard.skipped == [3]
    assert [same(states.before[i], states.before[i + 1]) for i in range(5)] == [False, False, True, False, False]
    assert all(torch.isfinite(value).all() for value in run.state)


@pytest.mark.parametrize(
    ("scale", "allowed", "step", "last"), [(4.0, 20, 4, "0.5"), (2.0**16, 3, 4, "8192"), (2.0**16, 20, 18, "0.5")]
)
@pytest.mark.parametrize(("optimizer", "delayed"), [("adam", None), ("fused adamw", True)])
def test_a_scaler_that_runs_away_is_noticed(
    scale: float, allowed: int, step: int, last: str, optimizer: str, delayed: bool | None
) -> None:
    guard = NonFiniteGuard(max_skipped=100, max_overflows=allowed, delayed=delayed)
    run = Run(guard, **_half(scale), batches=20, faults=dict.fromkeys(range(20), "gradient"), optimizer=optimizer)
    with pytest.raises(UserError, match=f"at step {step}, {step} on end, at a loss scale of {last};.*norm.bias.*bf16"):
        run.fit()


def _half(scale: float) -> dict[str, Any]:
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))]}


def test_fields_of_a_batch_need_no_names() -> None:
    class Nameless(Net):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
            return super().training_step({"x": batch[0], "index": batch[1], "fault": batch[2]}, batch_idx)

    run = Run(NonFiniteGuard(), faults={1: "input"})
    run.module = Nameless()
    run.data.collate_fn = lambda samples: [
        torch.stack(part) for part in zip(*(s.values() for s in samples), strict=True)
    ]
    with pytest.raises(UserError, match="the input itself is not finite: 0; batch 1 rows 0"):
        run.fit()


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UserError, match="max_skipped: found -1, expected"):
        NonFiniteGuard(max_skipped=-1)


class Ranked(Net):
    """Of every two batches rank 0 has the first, rank 1 the second."""

    def __init__(self, optimizer: str, batches: Sequence[int], faults: dict[int, str]) -> None:
        super().__init__(optimizer)
        self.batches, self.faults = batches, faults

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return loader(self.batches[self.trainer.global_rank :: 2], self.faults)


class Save(Callback):
    """Writes what each rank has at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(state_of(pl_module, trainer), self.folder / f"{trainer.global_rank}.pt")


def _on_two_ranks(
    guard: NonFiniteGuard, folder: Path, optimizer: str, batches: Sequence[int], faults: dict[int, str]
) -> list[list[Tensor]]:
    folder.mkdir(exist_ok=True)
    run = Run(guard, Save(folder), strategy="ddp_fork", devices=2, use_distributed_sampler=False)
    run.trainer.fit(Ranked(optimizer, batches, faults))
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(("optimizer", "delayed"), [("adam", None), ("fused adamw", True)])
def test_two_ranks_skip_and_stop_together(
    tmp_path: Path, optimizer: str, delayed: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """An infinite term leaves the gradients finite, so one rank alone knows of it; so does an infinite mean."""
    faults = {3: "loss", 8: "loss", 11: "statistics"}
    skipping = NonFiniteGuard(max_skipped=3, delayed=delayed)
    found = _on_two_ranks(skipping, tmp_path / "skip", optimizer, range(12), faults)
    said = [line for line in capfd.readouterr().out.splitlines() if "non-finite" in line]
    assert len(said) == 3
    assert "at step 2: rank 1: loss = inf" in said[0]
    assert "samples: rally.mp4 frame 106, rally.mp4 frame 107. Left out, 1 of 3" in said[0]
    assert "at step 5: rank 0: loss = inf" in said[1]
    assert "running statistics at step 6: aside.running_mean, aside.running_var; rank 0: loss = " in said[2]
    clean = [0, 1, 4, 5, 6, 7]
    expected = _on_two_ranks(NonFiniteGuard(), tmp_path / "clean", optimizer, clean, {})
    assert all(map(same, found, expected))
    with pytest.raises(ProcessRaisedException, match=r"UserError: non-finite loss at step 2: rank 1: .* frame 106"):
        _on_two_ranks(NonFiniteGuard(delayed=delayed), tmp_path, optimizer, range(12), faults)
