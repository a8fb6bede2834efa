"""A callback that makes a training of a second last until a cluster's warning comes."""

import time
from typing import Any

from lightning.pytorch.callbacks import Callback

from common.signals import request


class Hold(Callback):
    """Waits, behind each of some steps, until the run is asked to stop; once, as a resumed run is past the step.

    Args:
        steps: rising numbers of optimizer steps.
    """

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self.held = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.held = next((step for step in self.steps if step > trainer.global_step), -1)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.held:
            print(f"holding at step {self.held}", flush=True)
            limit = time.monotonic() + 150  # where nobody is left to ask
            while not request.asked() and time.monotonic() < limit:
                time.sleep(0.05)
