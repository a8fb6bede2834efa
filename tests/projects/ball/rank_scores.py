"""Scores of the first windows by Lightning's validate loop, on 1, 2 and 3 processes.

    python rank_scores.py RALLIES STORE FOLDER COUNT...

writes a file RANK_of_WORLD.json for each: {COUNT: {name: value}} in batches of 8; below "fit" what each epoch of a
short training with EarlyStopping and ReduceLROnPlateau ended with; below "10 by 3" the scores in batches of 3.
"""

import json
import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import ReduceLROnPlateau

from projects.ball.data import BallData, BallWindowDataset
from projects.ball.folds import ClipWindows
from projects.ball.module import BallModule
from projects.ball.nets import BallNet
from projects.ball.windows import select

SIZE_HW = (32, 64)
SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}
Scores = dict[str, float]


def module() -> BallModule:
    torch.manual_seed(0)
    net = lambda channels: BallNet(channels, encoder="tu-test_byobnet", head_channels=8, options=SHALLOW)  # noqa: E731
    optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)  # noqa: E731
    plateau = lambda made: ReduceLROnPlateau(made, monitor="val/loss", patience=0, threshold=1.0)  # noqa: E731
    return BallModule(net=net, optimizer=optimizer, scheduler=plateau, size_hw=SIZE_HW, sigma=2.0, threshold=0.01)


def data(rallies: Path, store: Path) -> BallData:
    made = BallData(root=str(rallies), store=str(store), size_hw=SIZE_HW, batch_size=8, cache=0)
    made.prepare_data()
    made.setup("validate")
    made.prepare_data = lambda: None  # type: ignore[method-assign] # once is enough for many validations
    return made


def first(dataset: Any, windows: int) -> BallWindowDataset:
    """The first windows of a data set; every seventh is without a label."""
    parts, left = list[ClipWindows](), windows
    for clip, of_clip in dataset.parts:
        few = select(of_clip, np.arange(min(left, len(of_clip.frames))))
        few.labelled[::7] = False
        parts += [ClipWindows(clip, few)] if len(few.frames) else []
        left -= len(few.frames)
    assert not left
    frames, anchor = dataset.source._frames, dataset.anchor
    return BallWindowDataset(parts, frames=frames, size_hw=SIZE_HW, anchor=anchor, seed=0, content=f"first {windows}")


def trainer(world: int, **settings: Any) -> lightning.Trainer:
    warnings.simplefilter("ignore")
    return lightning.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", use_distributed_sampler=False,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def seen(trainer: lightning.Trainer) -> Scores:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def scores(made: BallData, *, world: int, counts: Sequence[int]) -> dict[int, Scores]:
    """The scores of the first windows, for each of these numbers of them."""
    network, dataset, found = module(), made.datasets["train"], {}
    validation = trainer(world)
    for windows in counts:
        made.datasets = {"val": first(dataset, windows)}
        validation.validate(network, datamodule=made, verbose=False)
        found[windows] = seen(validation)
    made.datasets = {"train": dataset}
    return found


def trained(made: BallData, *, world: int) -> list[Scores]:
    """What each epoch of a short training ended with, the learning rate among it."""
    dataset, epochs = made.datasets["train"], list[Scores]()

    class Note(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            validation = {name: value for name, value in seen(trainer).items() if name.startswith("val/")}
            epochs.append(validation | {"rate": rate})

    made.datasets = {"train": first(dataset, 12), "val": first(dataset, 5)}
    stopping = EarlyStopping(monitor="val/loss", patience=1, min_delta=1e9)
    trainer(world, max_epochs=4, callbacks=[stopping, Note()]).fit(module(), datamodule=made)
    return epochs


def run(made: BallData, counts: Sequence[int], place: tuple[int, int], port: int, result: Path) -> None:
    """One process of some, which meet at a port."""
    rank, world = place
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    found: dict[Any, Any] = dict(scores(made, world=world, counts=counts))
    found["fit"] = trained(made, world=world)
    for made.batch_size in (1, 3):
        found[f"10 by {made.batch_size}"] = scores(made, world=world, counts=[10])[10]
    result.write_text(json.dumps(found))


def main(rallies: str, store: str, folder: str, *counts: str) -> None:
    """Forks, as each fresh process would spend ten seconds on imports; safe with a single thread."""
    torch.set_num_threads(1)
    windows = [int(count) for count in counts]
    made, fork = data(Path(rallies), Path(store)), multiprocessing.get_context("fork")
    for world in (1, 2, 3):
        with (
            socket.socket() as held
        ):  # bound for as long, so that nobody else gets it; listening, it would be in the way
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
            files = [Path(folder) / f"{rank}_of_{world}.json" for rank in range(world)]
            ranks = [fork.Process(target=run, args=(made, windows, (r, world), port, files[r])) for r in range(world)]
            for rank in ranks:
                rank.start()
            for rank in ranks:
                rank.join()
        if any(rank.exitcode for rank in ranks):
            sys.exit(f"of {world} ranks: {[rank.exitcode for rank in ranks]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
