"""Scores of one and more pictures by Lightning's loops, on 1 and 2 processes."""

import json
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import multiprocessing

from projects.pose.data import PoseData
from projects.pose.datasets import Part, PoseSamples
from projects.pose.dead_stages import DeadStages
from projects.pose.module import PoseModule
from tests.projects.pose.answers import Answers
from tests.projects.pose.fish import small_net

COUNTS = (1, 5)
"""Of pictures, in batches of 2: the second of two ranks has none, or one fewer than the first."""

PATIENCE_S = 600.0
SIZE_HW = (64, 96)
Scores = dict[str, float]


def module(skeleton: str) -> PoseModule:
    torch.manual_seed(0)
    return PoseModule(
        net=small_net, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2), skeleton=skeleton, size_hw=SIZE_HW
    )


def data(fish: Path) -> PoseData:
    made = PoseData(root=str(fish), skeleton=str(fish / "fish.yaml"), size_hw=SIZE_HW, batch_size=2, cache=0)
    made.setup("fit")
    return made


def first(samples: Any, count: int) -> PoseSamples:
    """The first samples; the truth is of all."""
    part = samples.part
    some = Part(part.images[:count], part.ground_truth, part.file, [])
    return PoseSamples(some, skeleton=samples.skeleton, size_hw=SIZE_HW, seed=0)


def trainer(world: int, **settings: Any) -> lightning.Trainer:
    warnings.simplefilter("ignore")
    return lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", use_distributed_sampler=False,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def seen(trainer: lightning.Trainer) -> Scores:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def scores(made: PoseData, skeleton: str, *, world: int) -> dict[Any, Any]:
    whole, found = dict(made.datasets), dict[Any, Any]()
    network, validation = module(skeleton), trainer(world)
    network.mean_pose.fit(whole["train"].people())  # type: ignore[attr-defined]
    Answers(network, first(whole["val"], max(COUNTS)), noise=0.15)
    for pictures in COUNTS:
        made.datasets = whole | {"val": first(whole["val"], pictures)}
        validation.validate(network, datamodule=made, verbose=False)
        found[pictures] = seen(validation)
    network = module(skeleton)
    made.datasets = whole | {"val": first(whole["val"], 3)}
    training = trainer(world, max_epochs=2, callbacks=[DeadStages(patience=1)])
    training.fit(network, datamodule=made)
    found["fit"] = {name: value for name, value in seen(training).items() if not name.endswith("_step")}  # of own rows
    found["weights"] = sum(float(values.double().abs().sum()) for values in network.state_dict().values())
    return found


def write_scores(rank: int, world: int, made: PoseData, skeleton: str, place: tuple[int, Path]) -> None:
    """One process of some, which meet at a port."""
    port, folder = place
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    (folder / f"{rank}_of_{world}.json").write_text(json.dumps(scores(made, skeleton, world=world)))


def scores_of_ranks(fish: Path, folder: Path, world: int) -> list[dict[str, Any]]:
    """What each of some processes finds.

    Forked, as each fresh one would spend ten seconds on imports; safe with the single thread of conftest.py.
    """
    with socket.socket() as port:  # bound for as long, so that nobody else gets it; listening, it would be in the way
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind(("127.0.0.1", 0))
        place = (port.getsockname()[1], folder)
        words = (world, data(fish), str(fish / "fish.yaml"), place)
        ranks = multiprocessing.start_processes(write_scores, words, nprocs=world, join=False, start_method="fork")
        try:
            assert any(ranks.join(PATIENCE_S) for _ in range(world)), "a rank hangs"  # each until one more has ended
        finally:
            for process in ranks.processes:
                process.kill()
    return [json.loads((folder / f"{rank}_of_{world}.json").read_text()) for rank in range(world)]
