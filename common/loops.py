"""Lightning's training loops, made to go on after any batch exactly as if nothing had happened.

Lightning 2.6 resumes in the middle of an epoch only from inside a hook, in which the step's row is not logged yet;
skips a validation that a stop interrupted; and leaves the epoch's schedulers and running means out afterwards. Here
there are three places to stop at, each with all its bookkeeping done: after a batch, before a validation (where a stop
during the validation returns to), and after an epoch.
"""

from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor

from common.ranks import gather_from_ranks


@runtime_checkable
class Places(Protocol):
    """Who is told where the run could be left."""

    def before_batch(self) -> None:
        """A batch is about to be fetched."""
        ...

    def after_batch(self) -> None:
        """A batch, its optimizer step and its row are done."""
        ...

    def after_validation(self) -> None:
        """A validation in the middle of an epoch is done."""
        ...

    def after_epoch(self) -> None:
        """An epoch, its validation and its rows are done."""
        ...


class EpochLoop(_TrainingEpochLoop):
    """The batches of an epoch."""

    places: Places | None = None
    validation_pending = False

    @property
    def done(self) -> bool:
        """Whether the epoch is over, its validation too."""
        return super().done and not (self.restarting and self.validation_pending)

    def advance(self, data_fetcher: Any) -> None:
        """One batch; none where the run was left before a validation."""
        if self.restarting and self.validation_pending:
            self.val_loop.restarting = False  # it starts over
            return
        self._restarting = False  # what Lightning would make up for was done before saving
        if self.places is not None:
            self.places.before_batch()
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validation where it is due, and a place to stop at before or after."""
        validating = self.validation_pending = self._should_check_val_fx(data_fetcher)
        if validating and self.places is not None:
            self.places.after_batch()
        super().on_advance_end(data_fetcher)
        self.validation_pending = False
        if self.places is None or self._is_training_done:  # then the epoch's end follows
            return
        if validating:
            self.places.after_validation()
        else:
            self.places.after_batch()

    def on_save_checkpoint(self) -> dict[str, Any]:
        """Lightning's state, and whether a validation comes next."""
        return super().on_save_checkpoint() | {"validation_pending": self.validation_pending}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Takes the state up."""
        super().on_load_checkpoint(state_dict)
        self.validation_pending = state_dict.get("validation_pending", False)

    def _broadcast_sigterm_tensor(self) -> None:
        """Nothing: ranks agree on a stop through `Places`; Lightning would make each device wait at each batch."""


class FitLoop(_FitLoop):
    """The epochs."""

    @property
    def done(self) -> bool:
        """Whether training is over, the end of its last epoch too."""
        return super().done and not (self.restarting and self.epoch_loop.batch_progress.current.ready > 0)

    def advance(self) -> None:
        """One epoch."""
        super().advance()
        self._restarting = False  # else the schedulers of a resumed epoch would not step

    def setup_data(self) -> None:
        """The loader, at the place it was left also where a schedule has asked for its length already."""
        super().setup_data()
        self._load_combined_loader_states()

    def on_advance_end(self) -> None:
        """The epoch's end, and a place to stop at behind it."""
        super().on_advance_end()
        loop = self.epoch_loop
        for progress in (loop.batch_progress, loop.scheduler_progress, loop.automatic_optimization.optim_progress):
            progress.reset_on_run()  # so that what is saved now starts with a new epoch
        places = getattr(loop, "places", None)
        if places is not None:
            places.after_epoch()


def install_loops(trainer: lightning.Trainer) -> None:
    """Exchanges a new trainer's training loops for these."""
    old, inner = trainer.fit_loop, trainer.fit_loop.epoch_loop
    fit = FitLoop(trainer, min_epochs=old.min_epochs, max_epochs=old.max_epochs)
    fit.epoch_loop = EpochLoop(trainer, min_steps=inner.min_steps, max_steps=inner.max_steps)
    trainer.fit_loop = fit


def running_means(trainer: lightning.Trainer) -> list[list[dict[str, Any]]]:
    """What the present epoch has added up so far of the values that training logs, by rank."""
    found = []
    for metric in trainer.fit_loop.epoch_loop._results.values():
        meta = metric.meta
        if metric.is_tensor and meta.on_epoch and not metric.has_reset:
            said = {name: getattr(meta, name) for name in _SAID} | {"reduce_fx": meta.reduce_fx.__name__}
            count = metric.cumulated_batch_size if meta.is_mean_reduction else torch.tensor(0)
            said |= {"sync_dist": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}
            last = metric._forward_cache if meta.on_step else None
            state = {"value": metric.value, "count": count, "last": metric.value if last is None else last}
            found.append(said | {name: _host(value) for name, value in state.items()})
    return gather_from_ranks(found)


def restore_running_means(trainer: lightning.Trainer, saved: list[list[dict[str, Any]]]) -> None:
    """Goes on adding up where `running_means` was called; on the same number of ranks."""
    results, connector = trainer.fit_loop.epoch_loop._results, trainer._logger_connector
    device = trainer.strategy.root_device
    for one in saved[trainer.global_rank] if len(saved) == trainer.world_size else []:
        said = {name: said for name, said in one.items() if name not in ("value", "count", "last")}
        value = one["value"].to(device)
        results.log(**said, value=value, batch_size=1, sync_dist_fn=trainer.strategy.reduce)
        metric = results[f"{one['fx']}.{one['name']}"]
        metric.value, metric._forward_cache = value, one["last"].to(device)
        if metric.meta.is_mean_reduction:
            metric.cumulated_batch_size = one["count"].to(device)
    connector._first_loop_iter = True  # else the first batch would start the sums afresh


_SAID = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "add_dataloader_idx")


def _host(value: Tensor) -> Tensor:
    return value.detach().cpu().clone()
