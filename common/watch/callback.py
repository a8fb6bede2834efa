"""What a run does to be watched: marks of progress, its failure, its end.

with watched():
    trainer = Trainer(devices=4, ...)
    Watch().attach(trainer)
    trainer.fit(...)
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from subprocess import Popen
from typing import Any, ClassVar

import lightning
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from common.signals import UNFINISHED
from common.watch.launch import WatchedLauncher, join
from common.watch.member import Mark, Member
from common.watch.processes import follow_launcher

PLANNED = (None, 0, UNFINISHED)
"""Statuses of an exit that is no failure: finished, or unfinished and to be run again."""

MARGIN_S = 300.0
"""Seconds by which the collectives' own timeout is longer than the watch's, which says more."""


def _mark(place: str, patient: bool | None = None) -> Callable[..., None]:
    """A hook that marks progress; `patient` stays as it was where it is None."""

    def hook(self: "Watch", *_: Any, **__: Any) -> None:
        self.advance(place, patient)

    return hook


class Watch(Callback):
    """Has all ranks of a run end when one fails, ends or hangs; the last line of output says which and why.

    A batch costs 15 microseconds on the host and no communication. A single process is not watched.

    Args:
        timeout_s: seconds without progress of any rank inside of a loop, from its second batch on.
        phase_timeout_s: the same elsewhere: all processes starting, preparing data, a loop's first batch (which
            compiles and fills caches), writing a checkpoint.
    """

    _active: ClassVar["Watch | None"] = None  # one per process

    def __init__(self, *, timeout_s: float = 600.0, phase_timeout_s: float = 3600.0) -> None:
        self.timeout_s, self.phase_timeout_s = timeout_s, phase_timeout_s
        self._last: Mark = (0, "the start", True)
        self._member: Member | None = None

    def attach(self, trainer: lightning.Trainer) -> None:
        """Watches what a new trainer of several ranks will run, whoever starts them: Lightning, SLURM, torchrun."""
        launcher = trainer.strategy.launcher
        if trainer.world_size == 1 or not isinstance(launcher, _SubprocessScriptLauncher):
            return
        trainer.strategy._launcher = WatchedLauncher(launcher, self._begin)
        if hasattr(trainer.strategy, "_timeout"):
            trainer.strategy._timeout = timedelta(seconds=max(self.timeout_s, self.phase_timeout_s) + MARGIN_S)
        trainer.callbacks.insert(0, self)  # type: ignore[attr-defined]  # the first to hear of an exception

    def advance(self, place: str, patient: bool | None = None) -> None:
        """Marks progress.

        Args:
            place: where, in words, such as "training".
            patient: whether the next mark may be long in coming; as before where it is None.
        """
        count, _, before = self._last
        self._last = (count + 1, place, before if patient is None else patient)
        if self._member is not None and patient not in (None, before):  # the limit changes: no second to lose
            self._member.link.send(mark=self._last)

    def on_exception(self, trainer: lightning.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Says at once why this rank fails, before loggers close."""
        if self._member is not None and not isinstance(exception, SystemExit):
            self._member.fail(exception)

    def _begin(self, trainer: lightning.Trainer, launched: Mapping[int, Popen[Any]]) -> None:
        if self._member is None:
            limits = {"timeout_s": self.timeout_s, "phase_timeout_s": self.phase_timeout_s}
            self._member = join(trainer, lambda: self._last, launched=launched, **limits)
            Watch._active = self

    setup = _mark("setup", True)
    on_train_start = on_train_epoch_start = _mark("the start of training", True)
    on_train_batch_start = _mark("the start of a training batch")
    on_before_backward = _mark("the loss of a training batch")
    on_train_batch_end = _mark("the end of a training batch", False)
    on_train_epoch_end = on_train_end = _mark("the end of training", True)
    on_save_checkpoint = _mark("writing a checkpoint", True)
    on_validation_start = _mark("the start of validation", True)
    on_validation_batch_start = _mark("the start of a validation batch")
    on_validation_batch_end = _mark("the end of a validation batch", False)
    on_validation_epoch_end = on_validation_end = _mark("the end of validation", True)
    on_test_start = _mark("the start of the test", True)
    on_test_batch_start = _mark("the start of a test batch")
    on_test_batch_end = _mark("the end of a test batch", False)
    on_test_epoch_end = on_test_end = _mark("the end of the test", True)
    on_predict_start = _mark("the start of prediction", True)
    on_predict_batch_start = _mark("the start of a prediction batch")
    on_predict_batch_end = _mark("the end of a prediction batch", False)
    on_predict_epoch_end = on_predict_end = teardown = _mark("the end of the run", True)


def note_progress(place: str) -> None:
    """Marks progress in a long phase, such as preparing data; nothing in a run that is not watched."""
    if Watch._active is not None:
        Watch._active.advance(place)


@contextmanager
def watched() -> Iterator[None]:
    """Around all that a process does: says goodbye at its end, or why it fails.

    With several ranks, an error does not leave this block: the process ends here, once the first cause is known.
    """
    follow_launcher()
    try:
        yield
    except BaseException as error:
        _end(error)
        raise
    _end(None)


def _end(error: BaseException | None) -> None:
    member = Watch._active._member if Watch._active is not None else None
    planned = error is None or (isinstance(error, SystemExit) and error.code in PLANNED)
    if member is not None and planned:
        member.leave(int(getattr(error, "code", None) or 0))
    elif member is not None and error is not None:
        member.end(error)


def _forget() -> None:
    """In a forked child: the link is its parent's; open here, it would hide the parent's end."""
    if Watch._active is not None and Watch._active._member is not None:
        Watch._active._member.link.close()
        Watch._active = None


os.register_at_fork(after_in_child=_forget)
