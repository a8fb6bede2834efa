"""A tiny training over several processes in which some ranks come to harm, as the words after the file's name say.

Without words: a server that starts such trainings, by forking, so that torch is imported once. Each line it reads is a
JSON list of a file for the output, a port for the ranks and the words, which it answers with a process number; or such
a number, which it answers with the status of that process, or null while it runs.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies.launchers import subprocess_script
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from common.watch.callback import Watch, watched

STEPS = 6


def nothing() -> None: ...


def raise_error() -> None:
    raise ValueError("boom")


def raise_user_error() -> None:
    raise UserError("data.root: found nothing, expected films; give --data.root FOLDER")


def stop_for_ever() -> None:
    threading.Event().wait()


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def leave() -> None:
    raise SystemExit(85)


HARMS: dict[str, Callable[[], None]] = {
    "error": raise_error,
    "mistake": raise_user_error,
    "deadlock": stop_for_ever,
    "kill": send(signal.SIGKILL),
    "crash": send(signal.SIGSEGV),
    "stop": send(signal.SIGSTOP),
    "leave": leave,
    "interrupt": send(signal.SIGINT),
    "nothing": nothing,
}


class Samples(Dataset[Tensor]):
    def __init__(self, harm: Callable[[str], None]) -> None:
        self.harm = harm

    def __len__(self) -> int:
        return 2 * STEPS

    def __getitem__(self, index: int) -> Tensor:
        if index >= 2:
            self.harm("read")
        return torch.full((2,), float(index))


class Module(LightningModule):
    def __init__(self, harm: Callable[[str], None]) -> None:
        super().__init__()
        self.layer, self.harm = nn.Linear(2, 1), harm

    def setup(self, stage: str) -> None:
        self.harm("setup")

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        if index == 2:
            self.harm("step")
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.harm("validation")
        self.log("val/loss", self.layer(batch).mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(words: Sequence[str]) -> None:
    """Trains: RANKS, the rank that comes to harm, what happens to it, where, workers, timeout in seconds."""
    ranks, unlucky, harm, place, workers, timeout_s = words
    rank = os.environ.get("LOCAL_RANK", "0")

    def befall(here: str) -> None:
        if here == place and rank in unlucky.split(","):
            HARMS[harm]()

    with watched():
        befall("import")
        trainer = Trainer(
            accelerator="cpu",
            devices=int(ranks),
            max_epochs=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
        Watch(timeout_s=float(timeout_s), phase_timeout_s=20 * float(timeout_s)).attach(trainer)
        samples = Samples(befall)
        train = DataLoader(samples, num_workers=int(workers))
        befall("before")
        trainer.fit(Module(befall), train, DataLoader(Samples(lambda place: None)))
        befall("after")


class Forked:
    """What the launcher needs of `subprocess.Popen`, by forking instead of starting Python and importing torch."""

    def __init__(self, words: Sequence[str], env: dict[str, str], **_: Any) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.clear()
            os.environ.update(env)
            finish(lambda: main(sys.argv[1:]))

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def finish(run: Callable[[], None]) -> None:
    """Runs and exits as the interpreter would."""
    status = 0
    try:
        run()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(output: str, port: int, words: list[str]) -> int:
    """Forks a session of its own that trains; the ranks below rank 0 are forked too."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv[1:] = words
        os.environ["MASTER_PORT"] = str(port)
        subprocess_script.subprocess = SimpleNamespace(Popen=Forked)
        finish(lambda: main(words))
    return pid


def serve() -> None:
    """Answers until there are no more questions."""
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            pid, status = os.waitpid(question, os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "null", flush=True)
        else:
            print(start(*question), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:]) if sys.argv[1:] else finish(serve)
