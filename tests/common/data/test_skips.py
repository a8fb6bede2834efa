"""Training samples that cannot be read: skipped within a budget, the same ones always, all ranks in step."""

import multiprocessing
import pickle
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.datamodule import PlannedDataModule
from common.data.loader import BatchLoader, Mode
from common.data.plan import EpochSampler
from common.data.report import Problem
from common.data.samples import Field, RecordSamples
from common.data.skips import Skips
from common.errors import BadRecordError, UserError

LENGTH = 40


class Numbers:
    """Records that are their number; some are damaged."""

    shape, dtype = (1,), np.int64

    def __init__(self, bad: frozenset[int]) -> None:
        self.bad, self.content = bad, f"numbers but {sorted(bad)}"

    def __len__(self) -> int:
        return LENGTH

    def read_many(self, records: Any) -> list[np.ndarray]:
        for record in records:
            if record in self.bad:
                raise BadRecordError(Path(f"{record // 10}.bin"), f"number {record} is damaged")
        return [np.array([record]) for record in records]


class Pairs(RecordSamples):
    """A number and its predecessor."""

    fields: Mapping[str, Field] = {"numbers": Field((2, 1), np.int64), "index": Field((), np.int64)}  # type: ignore[assignment]

    def __init__(self, bad: frozenset[int]) -> None:
        super().__init__(Numbers(bad), (np.arange(LENGTH)[:, None] + [0, -1]).clip(0))

    def fetch(self, epoch: int, indices: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        self.gather(epoch, indices, out["numbers"])
        out["index"][:] = indices


def made(
    bad: set[int], *, share: float = 0.5, workers: int = 0, mode: Mode = "threads", rank: int = 0, world: int = 1
) -> BatchLoader:
    sampler = EpochSampler(LENGTH, seed=1, shuffle=True, rank=rank, world=world, equal=True)
    skips = Skips(share=share, samples=LENGTH, shown=rank == 0)
    return BatchLoader(Pairs(frozenset(bad)), sampler, batch_size=4, workers=workers, mode=mode, skips=skips)


def batches_of(loader: BatchLoader, epoch: int = 0) -> list[dict[str, Tensor]]:
    loader.batch_sampler.sampler.set_epoch(epoch)
    try:
        return [{name: value.clone() for name, value in batch.items()} for batch in loader]
    finally:
        loader.close()


@pytest.mark.parametrize(("workers", "mode"), [(0, "threads"), (3, "threads"), (2, "fork")])
def test_a_bad_sample_is_replaced_by_one_of_its_batch(
    workers: int, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = made({7, 30}, workers=workers, mode=mode)
    batches = batches_of(loader)
    sampler = loader.batch_sampler.sampler
    for batch, order in zip(batches, sampler.indices().reshape(-1, 4).tolist(), strict=True):
        bad = [index in (7, 8, 30, 31) for index in order]
        assert batch["valid"].tolist() == [not each for each in bad]
        whole = order[bad.index(False)]
        assert batch["index"].tolist() == [whole if each else index for index, each in zip(order, bad, strict=True)]
        assert torch.equal(batch["numbers"][:, 0, 0], batch["index"])
    assert loader.skips is not None and loader.skips.count == 4
    batches_of(loader, epoch=1)
    assert loader.skips.count == 4  # of this epoch
    said = sorted(capsys.readouterr().out.splitlines())
    assert said == [  # once, in two epochs
        "skipped: 0.bin: sample 7 (Pairs 7): number 7 is damaged",
        "skipped: 0.bin: sample 8 (Pairs 8): number 7 is damaged",
        "skipped: 3.bin: sample 30 (Pairs 30): number 30 is damaged",
        "skipped: 3.bin: sample 31 (Pairs 31): number 30 is damaged",
    ]


def test_whole_data_is_the_same_with_and_without_the_permission_to_skip() -> None:
    allowed = made(set())
    strict = BatchLoader(Pairs(frozenset()), allowed.batch_sampler.sampler, batch_size=4)
    for one, other in zip(batches_of(allowed), batches_of(strict), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in (*one, *other))
        assert one["valid"].all()


@pytest.mark.parametrize(("stop", "workers"), [(1, 2), (3, 0), (9, 2)])
def test_a_resumed_epoch_skips_the_same_samples(stop: int, workers: int) -> None:
    bad = {3, 7, 12, 30}
    whole, first = made(bad), made(bad, workers=workers)
    expected = batches_of(whole)
    seen = [
        {name: value.clone() for name, value in batch.items()} for _, batch in zip(range(stop), first, strict=False)
    ]
    state = first.state_dict()
    first.close()
    resumed = made(bad, workers=workers)
    resumed.load_state_dict(state)
    seen += batches_of(resumed)
    assert all(torch.equal(one[name], two[name]) for one, two in zip(seen, expected, strict=True) for name in one)
    assert resumed.skips is not None and whole.skips is not None
    assert resumed.skips.count == whole.skips.count == 8


@pytest.mark.parametrize(("workers", "mode"), [(0, "threads"), (2, "threads"), (2, "fork")])
def test_more_than_the_budget_ends_the_run_and_lists_the_files(workers: int, mode: Mode) -> None:
    assert len(batches_of(made({7, 30}, share=0.1, workers=workers, mode=mode))) == 10
    with pytest.raises(UserError) as raised:
        batches_of(made({7, 30}, share=0.09, workers=workers, mode=mode))
    message = str(raised.value)
    assert message.startswith("skip_damaged: 4 of 40 training samples of this epoch could not be read; expected at ")
    assert "most 3.6, a share of 0.09" in message
    assert re.search(r"skipped: 2 x sample that cannot be read in 0\.bin: sample 7 .*damaged; sample 8 ", message)
    assert "skipped: 2 x sample that cannot be read in 3.bin" in message


def test_ranks_agree_every_sixteen_batches_and_after_the_last() -> None:
    skips = Skips(share=0.01, samples=100, shown=False)
    for batches in (1, 15):
        skips.add([Problem(Path("a.bin"), "sample", f"sample {batches}")])
        skips.after_batch(batches, of=40)
    assert (skips.count, skips.so_far) == (0, 2)
    with pytest.raises(UserError, match="skip_damaged: 2 of 100"):
        skips.after_batch(16, of=40)
    skips.begin(1)  # of an epoch that goes on
    skips.add([Problem(Path("a.bin"), "sample", "sample 39")])
    skips.after_batch(39, of=40)
    with pytest.raises(UserError, match="skip_damaged: 2 of 100"):
        skips.after_batch(40, of=40)


@pytest.mark.parametrize(("workers", "mode"), [(0, "threads"), (2, "threads"), (2, "fork")])
def test_a_batch_in_which_nothing_can_be_read_ends_the_run(workers: int, mode: Mode) -> None:
    with pytest.raises(UserError, match=r"no sample of a batch of 4 can be read, the first because of \d\.bin: number"):
        batches_of(made(set(range(LENGTH)), share=1.0, workers=workers, mode=mode))


def test_without_permission_the_first_one_is_an_error() -> None:
    loader = BatchLoader(Pairs(frozenset({7})), EpochSampler(LENGTH, shuffle=False), batch_size=4)
    with pytest.raises(BadRecordError, match=r"^0\.bin: number 7 is damaged$"):
        batches_of(loader)


def rank_result(rank: int, folder: Path, share: float, bad: set[int]) -> None:
    """One of two ranks: the batches it got, and how it ended."""
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", timedelta(seconds=60), rank=rank, world_size=2
    )
    loader = made(bad, share=share, rank=rank, world=2)
    batches, said = 0, ""
    try:
        for _ in loader:
            batches += 1
    except UserError as error:
        said = str(error)
    assert loader.skips is not None
    (folder / str(rank)).write_bytes(pickle.dumps((batches, said, loader.skips.count)))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("share", [0.25, 0.2])
def test_ranks_count_together_and_stop_together(share: float, tmp_path: Path) -> None:
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    bad = {2, 7, 18, 25, 30}  # two samples each
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=rank_result, args=(rank, tmp_path, share, bad)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        rank.kill()
    one, other = (pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in range(2))
    assert one == other
    batches, said, count = one
    assert count == 10
    assert batches == (5 if share == 0.25 else 4)
    assert said.startswith("" if share == 0.25 else "skip_damaged: 10 of 40 training samples of this epoch")


class PairData(PlannedDataModule):
    """The pairs, whose cache holds all records."""

    def __init__(self, bad: set[int], **settings: Any) -> None:
        super().__init__(batch_size=4, num_workers=0, seed=1, cache="10MB", **settings)
        self.bad = frozenset(bad)

    def setup(self, stage: str) -> None:
        self.datasets = {"train": Pairs(self.bad), "val": Pairs(frozenset()), "test": Pairs(self.bad)}


class Weight(lightning.LightningModule):
    """Adds up the valid numbers that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), list[int]()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen += batch["index"][batch["valid"]].tolist()
        return self.weight.sum()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer() -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip


def test_training_goes_on_without_the_damaged_and_a_test_does_not() -> None:
    module, data = Weight(), PairData({7, 30}, skip_damaged=0.1)
    trainer().fit(module, datamodule=data)
    assert sorted(module.seen) == sorted(2 * [index for index in range(LENGTH) if index not in (7, 8, 30, 31)])
    with pytest.raises(BadRecordError, match="number 7 is damaged"):
        trainer().test(module, datamodule=data, verbose=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"^0\.bin: number 7 is damaged$"),
        ({"skip_damaged": 0.09}, "skip_damaged: 4 of 40 training samples"),
        ({"skip_damaged": 1.5}, r"skip_damaged: found 1\.5; expected a share of the training samples, 0\.\.1"),
    ],
)
def test_training_ends_at_the_first_or_at_too_many(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trainer().fit(Weight(), datamodule=PairData({7, 30}, **settings))


def test_a_bad_record_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(BadRecordError(Path("a.mp4"), "frame 3 of 9 cannot be decoded")))
    assert isinstance(error, UserError)
    assert (str(error), error.path) == ("a.mp4: frame 3 of 9 cannot be decoded", Path("a.mp4"))
