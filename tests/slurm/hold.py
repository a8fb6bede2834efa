"""Callbacks that make a training of a second last until a cluster's warning comes, or its time is up."""

import time
from typing import Any

from lightning.pytorch.callbacks import Callback

from common.signals import request


class Hold(Callback):
    """Waits behind a step until the run is asked to stop; a run that goes on from there has it behind it.

    Args:
        step: number of optimizer steps.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            print(f"holding at step {self.step}", flush=True)
            limit = time.monotonic() + 3600
            while not request.asked():
                assert time.monotonic() < limit, "nobody is left to ask"
                time.sleep(0.05)


class Elapse(Callback):
    """Lets an hour pass behind a step, for the clock that knows `--trainer.max_time`.

    Args:
        step: number of optimizer steps.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            assert request.deadline is not None, "no limit of time"
            request.deadline -= 3600
