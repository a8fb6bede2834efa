"""Scores of one and more floods by Lightning's loops, on 1 and 2 processes."""

import json
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import multiprocessing

from projects.forecast.curriculum import Curriculum
from projects.forecast.flood.data import FloodData
from projects.forecast.flood.module import FloodModule
from projects.forecast.flood.samples import MapSamples, Windows
from projects.forecast.nets.interface import ForecastNet
from projects.forecast.nets.vqvae import VQVAE

COUNTS = (1, 5)
"""Of floods, in batches of 2: the second of two ranks has none, or one fewer than the first."""

PATIENCE_S = 600.0
Scores = dict[str, float]


def net(*args: int) -> ForecastNet:
    return VQVAE(*args, widths=[8, 8], blocks=1, stride=2, latent_channels=4, codes=8)


def module() -> FloodModule:
    torch.manual_seed(0)
    stages = Curriculum(begins=[0.0, 0.5], steps=[1, 2], lead=[0, 2])
    optimizer = lambda p: torch.optim.AdamW(p, lr=1e-3)  # noqa: E731
    return FloodModule(net=net, optimizer=optimizer, horizon=4, curriculum=stages, futures=2)


def data(floods: Path) -> FloodData:
    made = FloodData(root=str(floods), horizon=4, minutes_per_frame=60.0, batch_size=2, eval_batch_size=2, cache=0)
    made.setup("test")
    return made


def first(samples: Any, count: int) -> MapSamples:
    """The first samples, over and over; of every other one the last steps are not known."""
    numbers = np.arange(count) % len(samples)
    windows = samples.windows
    known = windows.known[numbers].copy()
    known[1::2, -3:] = False
    chosen = Windows(windows.simulation[numbers], windows.records[numbers], known)
    return MapSamples(samples.source, chosen, past=samples.past, seed=0)


def trainer(world: int, **settings: Any) -> lightning.Trainer:
    warnings.simplefilter("ignore")
    return lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", use_distributed_sampler=False,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def seen(trainer: lightning.Trainer) -> Scores:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def scores(made: FloodData, *, world: int) -> dict[Any, Any]:
    network, whole = module(), dict(made.datasets)
    network.training_mean.fit((torch.from_numpy(run), torch.from_numpy(known)) for run, known in made.training_runs())
    found: dict[Any, Any] = {}
    testing = trainer(world)
    for floods in COUNTS:
        made.datasets = whole | {"test": first(whole["test"], floods)}
        testing.test(network, datamodule=made, verbose=False)
        found[floods] = seen(testing)
    made.datasets = whole | {"val": first(whole["val"], 3)}
    training = trainer(world, max_epochs=2, limit_train_batches=3)
    training.fit(network, datamodule=made)
    found["fit"] = {name: value for name, value in seen(training).items() if name.startswith("val/")}
    found["weights"] = sum(float(values.double().abs().sum()) for values in network.net.state_dict().values())
    return found


def write_scores(rank: int, world: int, made: FloodData, place: tuple[int, Path]) -> None:
    """One process of some, which meet at a port."""
    port, folder = place
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    (folder / f"{rank}_of_{world}.json").write_text(json.dumps(scores(made, world=world)))


def scores_of_ranks(floods: Path, folder: Path, world: int) -> list[dict[str, Any]]:
    """What each of some processes finds.

    Forked, as each fresh one would spend ten seconds on imports; safe with the single thread of conftest.py.
    """
    with socket.socket() as port:  # bound for as long, so that nobody else gets it; listening, it would be in the way
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind(("127.0.0.1", 0))
        place = (port.getsockname()[1], folder)
        words = (world, data(floods), place)
        ranks = multiprocessing.start_processes(write_scores, words, nprocs=world, join=False, start_method="fork")
        try:
            assert any(ranks.join(PATIENCE_S) for _ in range(world)), "a rank hangs"  # each until one more has ended
        finally:
            for process in ranks.processes:
                process.kill()
    return [json.loads((folder / f"{rank}_of_{world}.json").read_text()) for rank in range(world)]
