"""The watch begins where Lightning starts the processes of a run, before they wait for each other."""

import faulthandler
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch._C._distributed_c10d import TCPStore  # torch.distributed has it too, hidden from type checkers

from common.watch.link import connect, listen
from common.watch.member import Mark, Member
from common.watch.processes import announce_launcher, die_with_parent, end_children_with_me
from common.watch.sentry import Settings

_ROOT = Path(__file__).resolve().parents[2]
_DEAF = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


class WatchedLauncher(_SubprocessScriptLauncher):
    """Starts the processes of this machine as Lightning's launcher does, without the observer that kills rank 0.

    Lightning's observer kills rank 0 as soon as another rank ends, which then cannot say why.

    Args:
        plain: the launcher whose place it takes.
        started: called on all ranks each time that they enter a run, with the processes started here, by rank.
    """

    def __init__(
        self,
        plain: _SubprocessScriptLauncher,
        started: Callable[[lightning.Trainer, Mapping[int, subprocess.Popen[Any]]], None],
    ) -> None:
        super().__init__(plain.cluster_environment, plain.num_processes, plain.num_nodes)
        self._started = started

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: lightning.Trainer | None = None, **kwargs: Any
    ) -> Any:
        """Starts the processes, joins the watch, and calls `function`."""
        assert trainer is not None
        if not self.cluster_environment.creates_processes_externally:
            announce_launcher()
            self._call_children_scripts()  # from here on, Lightning takes them for somebody else's, unobserved
        first = trainer.global_rank + 1
        self._started(trainer, dict(enumerate(self.procs, first)))
        return super().launch(function, *args, trainer=trainer, **kwargs)


def join(
    trainer: lightning.Trainer,
    mark: Callable[[], Mark],
    *,
    launched: Mapping[int, subprocess.Popen[Any]],
    timeout_s: float,
    phase_timeout_s: float,
) -> Member:
    """Joins this rank to the watch; rank 0 starts the sentry.

    Args:
        trainer: of several ranks.
        mark: says where this rank is.
        launched: processes that this one has started, by rank.
        timeout_s: seconds without progress inside of a loop.
        phase_timeout_s: the same elsewhere, and for all to join.
    """
    rank, environment = trainer.global_rank, trainer.strategy.cluster_environment  # type: ignore[attr-defined]
    store = _open_store(environment, rank, phase_timeout_s)
    key = f"watch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"  # torchrun's store outlives an attempt
    sentry = None
    if rank == 0:
        token, listener = secrets.token_hex(), listen(environment.main_address)
        settings = Settings(listener.fileno(), token, trainer.world_size, timeout_s, phase_timeout_s)
        sentry = _start_sentry(settings)
        store.set(key, json.dumps([listener.getsockname()[1], token]))
        listener.close()
    port, token = json.loads(store.get(key))
    link = connect(environment.main_address, port, timeout_s)
    member = Member(rank, link, token=token, mark=mark, launched=launched, sentry=sentry)
    member.kept = store  # rank 0's serves the others, and the process group as well
    member.start()
    die_with_parent(False)  # the sentry sees to it, after its last word
    end_children_with_me()
    faulthandler.enable()  # a crash in native code shows where
    return member


def _start_sentry(settings: Settings) -> subprocess.Popen[bytes]:
    """The sentry's process, deaf to signals from its first moment: they are meant for the ranks, which then leave."""
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "common.watch.sentry", json.dumps(asdict(settings))]
    environment = os.environ | {"PYTHONPATH": path}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF)
    try:
        return subprocess.Popen(command, pass_fds=[settings.descriptor], stdin=subprocess.DEVNULL, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _open_store(environment: ClusterEnvironment, rank: int, timeout_s: float) -> TCPStore:
    """The store by which the process group will find itself, opened earlier: a failure may come before the group."""
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun
    return TCPStore(
        environment.main_address,
        environment.main_port,
        is_master=rank == 0 and not served,
        wait_for_workers=False,
        multi_tenant=True,
        timeout=timedelta(seconds=timeout_s),
    )
