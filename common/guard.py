"""Non-finite losses and gradients: kept from weights, optimizer and norm layers, skipped within a budget, named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, distributed, nn
from torch.optim import SGD, Adam, Optimizer

from common.errors import UserError
from common.faults import SeenBatch, by_rank, listed, worst_parameters
from common.nets.statistics import RunningStatistics
from common.ranks import gather_from_ranks, sum_over_ranks


@dataclass
class _Step:
    """An optimizer step, and what judging it takes.

    Attributes:
        number: from 1; the trainer's `global_step` after it.
        found: on the host, the same on all ranks: what `NonFiniteGuard._look` returns.
        arrived: when `found` has; None if it is there.
        batches: of this rank.
        parameters: that have a gradient.
        fresh: those of them that a fused optimizer has no state of yet.
        norms: largest absolute value of each gradient; None if they are known to be finite.
        statistics: running statistics as the forward pass left them.
    """

    number: int
    found: Tensor
    arrived: torch.cuda.Event | None
    batches: list[SeenBatch]
    parameters: list[nn.Parameter]
    fresh: list[nn.Parameter]
    norms: Tensor | None
    statistics: list[Tensor]

    def read(self) -> tuple[bool, bool, float]:
        """Whether it was left out by the guard, by the scaler; the loss scale. Waits for the device."""
        if self.arrived is not None:
            self.arrived.synchronize()
        bad, overflown, scale = self.found.tolist()
        return bool(bad), bool(overflown), scale


class NonFiniteGuard(Callback):
    """Keeps non-finite numbers out of a run: a step with any is not taken, but named and counted, or ends the run.

    After the backward pass, before clipping, it looks at the loss, the gradients and the running statistics of norm
    layers; what is not finite in the input shows in one of them. If any rank finds anything, all ranks leave weights,
    optimizer and running statistics as they were before the step, accumulated gradients included. The learning rate's
    schedule goes on. Terms that `training_step` returns beside its `loss` are shown; they do not decide.

    On a GPU with a fused optimizer (torch's Adam, AdamW, SGD with `fused: true`) the device itself leaves the step out
    and the host reads of it one step later, so that it never waits; a stop comes one step late. No other optimizer can
    do that: the host then waits for the GPU in each step, and says so at the start.

    Under 16-mixed the scaler leaves out steps whose gradients overflow, and lowers its scale. These do not count, and
    leave the running statistics alone too; where they do not end, the run does.

    Args:
        max_skipped: steps that the run may leave out, over all its restarts; 0 stops at the first.
        max_overflows: consecutive steps that the scaler may leave out, at scales of 1 or more.
        delayed: whether the host reads one step later, with a fused optimizer; None where it would have to wait.
    """

    def __init__(self, max_skipped: int = 0, *, max_overflows: int = 20, delayed: bool | None = None) -> None:
        if max_skipped < 0:
            raise UserError(f"guard.max_skipped: found {max_skipped}, expected a number of steps, 0 or more")
        self.max_skipped, self.max_overflows, self.delayed = max_skipped, max_overflows, delayed
        self.skipped: list[int] = []
        self._restart()

    def _restart(self) -> None:
        self._overflows = 0
        self._seen: list[SeenBatch] = []
        self._step: _Step | None = None
        self._unread: list[_Step] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses how to leave a step out."""
        if not pl_module.automatic_optimization:
            raise UserError(f"{type(pl_module).__name__}: NonFiniteGuard expects automatic optimization")
        if len(self.skipped) > self.max_skipped:
            raise UserError(
                f"{self._history()} Look at these steps, then raise --guard.max_skipped or start another run."
            )
        self._restart()
        optimizer, on_gpu = trainer.optimizers[0], pl_module.device.type == "cuda"
        self._statistics = RunningStatistics(pl_module)
        self._scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        self._fused = isinstance(optimizer, Adam | SGD) and all(group["fused"] for group in optimizer.param_groups)
        self._late = self._fused and (on_gpu if self.delayed is None else self.delayed)
        self._one = torch.ones((), device=pl_module.device)
        if on_gpu and not self._fused and self._scaler is None and trainer.is_global_zero:
            name = type(optimizer).__name__
            print(f"{name} is not fused: looking for NaN waits for the GPU in each step; `fused: true` avoids it")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Notes the batch and, before the first of a step, the running statistics."""
        if not self._seen:
            self._statistics.keep()
        self._seen.append(SeenBatch(batch_idx, batch))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Notes the loss."""
        self._seen[-1].loss = loss

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Looks for non-finite numbers and, where there are any, spoils the step on all ranks."""
        pairs = [(p, g) for group in optimizer.param_groups for p in group["params"] if (g := p.grad) is not None]
        parameters, gradients = [parameter for parameter, _ in pairs], [gradient for _, gradient in pairs]
        norms = _largest(gradients) if self._late else None
        statistics = self._statistics.now()
        found = self._look(gradients if norms is None else [norms], statistics)
        if trainer.world_size > 1:
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        bad = found[0] if self._scaler is None else found[:2].amax()
        if self._late or bad:
            norms = _largest(gradients) if norms is None else norms
            self._statistics.put_back(statistics, where=bad > 0)
            self._spoil(optimizer, parameters, bad)
        fresh = _without_state(optimizer, parameters) if self._fused else []
        on_host, arrived = _fetch(found) if self._late else (found, None)
        self._step = _Step(trainer.global_step + 1, on_host, arrived, self._seen, parameters, fresh, norms, statistics)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judges the step, or the one before."""
        terms = {name: value for name, value in outputs.items() if isinstance(value, Tensor) and value.numel() == 1}
        self._seen[-1].terms = terms
        if self._step is None:  # gradients accumulate
            return
        vars(trainer.optimizers[0]).pop("found_inf", None)
        leave = 1 if self._late and not self._step.fresh else 0
        self._unread.append(self._step)
        self._step, self._seen = None, []
        self._judge(trainer, leave)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs how many steps the run has left out so far."""
        self._judge(trainer)
        pl_module.log("train/skipped", float(len(self.skipped)), rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        """The numbers of the steps left out, those included that are yet to be reported."""
        return {"skipped": [*self.skipped, *(step.number for step in self._unread if step.read()[0])]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.skipped = list(state_dict["skipped"])

    def _look(self, gradients: list[Tensor], statistics: list[Tensor]) -> Tensor:
        """Three numbers on the device: 1 if anything is not finite, else 0; 1 if gradients that a scaler takes care of
        are not, else 0; its loss scale, or 0.
        """
        found = torch.zeros(3, device=self._one.device)
        others = [seen.loss for seen in self._seen if seen.loss is not None]
        others += [flat for flat in statistics if flat.is_floating_point()]
        if self._scaler is None:
            self._mark(found[0], others + gradients)
        else:
            self._mark(found[0], others)
            self._mark(found[1], gradients)
            found[2] = self._scaler.scale(self._one)
        return found

    def _mark(self, found: Tensor, tensors: list[Tensor]) -> None:
        """Sets `found` to 1 if anything is not finite; multiplies by one in place, which changes no bit."""
        if tensors:  # three times faster than norms
            torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, self._one)

    def _spoil(self, optimizer: Any, parameters: Sequence[nn.Parameter], bad: Tensor) -> None:
        """Makes the step do nothing where `bad`, 0 or 1 on the device, is 1."""
        if not self._fused:
            for parameter in parameters:
                parameter.grad = None
        elif self._scaler is None:
            optimizer.found_inf = bad
        elif parameters:  # the scaler sets `found_inf` by the gradients
            parameters[0].grad.mul_(torch.where(bad > 0, torch.nan, 1.0))  # type: ignore[union-attr] # has one

    def _judge(self, trainer: Trainer, leave: int = 0) -> None:
        """Reads what was found, but for the last `leave` steps."""
        while len(self._unread) > leave:
            step = self._unread.pop(0)
            bad, overflown, scale = step.read()
            if not bad and not overflown:
                self._overflows = 0
                continue
            for parameter in step.fresh:  # fused SGD left uninitialised memory in its first momentum
                trainer.optimizers[0].state.pop(parameter, None)
            if bad:
                self._count_skipped(trainer, step)
            else:
                self._count_overflow(trainer, step, scale)

    def _count_skipped(self, trainer: Trainer, step: _Step) -> None:
        self.skipped.append(step.number)
        fault = self._report(trainer, step)
        if len(self.skipped) > self.max_skipped:
            raise UserError(
                f"{fault} {self._history() if self.max_skipped else 'The step was not taken.'} A lower learning rate "
                f"or --trainer.gradient_clip_val 1 often helps; else look at these samples. "
                f"--guard.max_skipped, now {self.max_skipped}, is the number of such steps that a run may leave out."
            )
        if trainer.is_global_zero:
            print(f"{fault} Left out, {len(self.skipped)} of {self.max_skipped} such steps.", flush=True)

    def _count_overflow(self, trainer: Trainer, step: _Step, scale: float) -> None:
        self._overflows += 1
        if self._overflows <= self.max_overflows and scale >= 1:
            return
        where = worst_parameters(trainer.lightning_module, step.parameters, step.norms)
        raise UserError(
            f"gradients under 16-mixed are not finite at step {step.number}, {self._overflows} on end, at a loss scale "
            f"of {scale:g}; a lower one will not help: {where}. Try --trainer.precision bf16-mixed, a lower learning "
            f"rate, or float32 in that layer."
        )

    def _report(self, trainer: Trainer, step: _Step) -> str:
        """What is not finite and in which samples, on all ranks, which know their own losses only."""
        losses = sum_over_ranks([sum(not seen.finite for seen in step.batches)])[0]
        suspects = [seen for seen in step.batches if not (losses and seen.finite)]
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        for seen in suspects:  # Lightning divides the loss for the mean over accumulated batches
            seen.terms = {
                name: value * trainer.accumulate_grad_batches if name == "loss" else value
                for name, value in seen.terms.items()
            }
        samples = by_rank(gather_from_ranks("; ".join(seen.describe(dataset) for seen in suspects)))
        if losses:
            return f"non-finite loss at step {step.number}: {samples}."
        layers = gather_from_ranks(self._statistics.not_finite(step.statistics))
        broken = listed(sorted({layer for own in layers for layer in own}))
        where = broken or worst_parameters(trainer.lightning_module, step.parameters, step.norms)
        kind = "running statistics" if broken else "gradient"
        return f"non-finite {kind} at step {step.number}: {where}; {samples}."

    def _history(self) -> str:
        steps = listed(self.skipped, shown=5)
        return f"The run left out {len(self.skipped)} steps ({steps}), where max_skipped is {self.max_skipped}."


def _largest(gradients: list[Tensor]) -> Tensor | None:
    """Largest absolute value of each gradient, NaN where there is one; None without gradients."""
    return torch.stack(torch._foreach_norm(gradients, torch.inf)) if gradients else None


def _without_state(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters that a fused optimizer is about to make a state for."""
    stateless = isinstance(optimizer, SGD) and not any(group["momentum"] for group in optimizer.param_groups)
    if stateless or len(optimizer.state) >= len(parameters):
        return []
    return [parameter for parameter in parameters if parameter not in optimizer.state]


def _fetch(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the host, pinned, and when it will be there; None for now."""
    if not tensor.is_cuda:
        return tensor, None
    copy, arrived = tensor.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return copy, arrived
