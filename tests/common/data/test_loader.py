"""Batches: the same bytes for any number of workers and ranks, and across a stop in the middle of an epoch."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common.data import ring as ring_module
from common.data.cache import CachedRecords
from common.data.loader import BatchLoader, Last, Mode
from common.data.plan import EpochSampler, ReadPlan, sample_seeds
from common.data.samples import Field, RecordSamples, Samples
from common.errors import UserError

LENGTH, RECORDS, SHAPE = 53, 60, (6, 5, 3)


class Frames:
    """Records whose bytes are a function of their number."""

    shape, dtype, content = SHAPE, np.uint8, "test frames"

    def __len__(self) -> int:
        return RECORDS

    def read_many(self, records: Any) -> list[np.ndarray]:
        return [np.random.default_rng(record).integers(0, 256, SHAPE).astype(np.uint8) for record in records]


class Windows(RecordSamples):
    """Three frames and random numbers that depend on the sample's seed."""

    fields: Mapping[str, Field] = {  # type: ignore[assignment]
        "frames": Field((3, *SHAPE), np.uint8),
        "noise": Field((4,), np.float32),
        "index": Field((), np.int64),
    }

    def __init__(self) -> None:
        super().__init__(Frames(), np.arange(LENGTH)[:, None] + np.array([0, 2, 5]))

    def fetch(self, epoch: int, indices: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        self.gather(epoch, indices, out["frames"])
        for row, seed in enumerate(sample_seeds(indices, seed=7, epoch=epoch)):
            out["noise"][row] = np.random.default_rng(seed).random(4)
        out["index"][:] = indices


def made(*, workers: int = 0, mode: Mode = "threads", rank: int = 0, world: int = 1, budget: int = 4000) -> BatchLoader:
    samples = Windows()
    sampler = EpochSampler(LENGTH, seed=3, shuffle=True, rank=rank, world=world, equal=True)
    samples.cache(ReadPlan(samples.reads, sampler), budget=budget, folder=None)
    return BatchLoader(samples, sampler, batch_size=4, workers=workers, mode=mode)


def stream(loader: BatchLoader, epochs: range = range(2)) -> list[dict[str, Tensor]]:
    """All batches, copied."""
    found = []
    for epoch in epochs:
        loader.batch_sampler.sampler.set_epoch(epoch)
        found += [{name: value.clone() for name, value in batch.items()} for batch in loader]
    loader.close()
    return found


def same(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
        for left, right in zip(one, other, strict=True)
    )


@cache
def alone(rank: int = 0, world: int = 1) -> list[dict[str, Tensor]]:
    """Three epochs, read without workers."""
    return stream(made(rank=rank, world=world), range(3))


@pytest.mark.parametrize(("workers", "mode", "world"), [(1, "threads", 2), (3, "threads", 1), (3, "fork", 2)])
def test_the_stream_is_the_same_for_any_workers(workers: int, mode: Mode, world: int) -> None:
    for rank in range(world):
        expected = alone(rank, world)[: 28 // world]
        assert same(stream(made(workers=workers, mode=mode, rank=rank, world=world)), expected)


def test_ranks_share_the_samples_of_one() -> None:
    noise = {int(index): batch["noise"][row] for batch in alone()[:14] for row, index in enumerate(batch["index"])}
    shared = [alone(rank, 2)[:7] for rank in range(2)]
    indices = [int(index) for batches in shared for batch in batches for index in batch["index"]]
    assert len(set(indices)) == len(indices) == LENGTH // 2 * 2
    for batches in shared:
        for batch in batches:
            for row, index in enumerate(batch["index"].tolist()):
                assert torch.equal(batch["noise"][row], noise[index])


@pytest.mark.parametrize(("stop", "workers"), [(0, 2), (1, 0), (7, 2), (13, 0), (14, 2)])
def test_a_stopped_epoch_goes_on_with_the_next_batch(stop: int, workers: int) -> None:
    loader = made(workers=workers)
    loader.batch_sampler.sampler.set_epoch(1)
    seen = [
        {name: value.clone() for name, value in batch.items()} for _, batch in zip(range(stop), loader, strict=False)
    ]
    state = loader.state_dict()
    loader.close()
    assert state == {"epoch": 1, "batches": stop}
    resumed = made(workers=workers)
    resumed.load_state_dict(state)
    rest = stream(resumed, range(1, 3) if stop < 14 else range(2, 3))
    assert same(seen + rest, alone()[14:])


def test_a_loader_left_early_starts_anew() -> None:
    loader = made(workers=3)
    for _ in range(3):
        next(iter(loader))
    assert same(stream(loader, range(1)), alone()[:14])


@settings(max_examples=50)
@given(
    length=st.integers(1, 40), batch_size=st.integers(1, 9), world=st.integers(1, 3),
    last=st.sampled_from(["short", "drop", "pad"]),
)  # fmt: skip
def test_its_length_is_the_number_of_its_batches(length: int, batch_size: int, world: int, last: Last) -> None:
    sampler = EpochSampler(length, shuffle=False, rank=world - 1, world=world)
    loader = BatchLoader(Numbers(length), sampler, batch_size=batch_size, last=last)
    batches = list(loader)
    assert len(batches) == len(loader)
    read = [int(index) for batch in batches for index in batch["index"][batch["valid"]]]
    expected = list(range(length))[world - 1 :: world]
    assert read == expected[: len(loader) * batch_size]
    assert last == "drop" or read == expected
    if last != "short":
        assert all(len(batch["index"]) == batch_size for batch in batches)


@pytest.mark.parametrize(("workers", "mode"), [(0, "threads"), (2, "threads"), (2, "fork")])
@pytest.mark.parametrize(("length", "world"), [(1, 3), (7, 2), (9, 2), (17, 3)])
def test_ranks_of_an_evaluation_meet_in_every_batch(workers: int, mode: Mode, length: int, world: int) -> None:
    ranks = []
    for rank in range(world):
        sampler = EpochSampler(length, shuffle=False, rank=rank, world=world)
        loader = BatchLoader(Numbers(length), sampler, batch_size=2, workers=workers, mode=mode, last="pad")
        ranks.append([(batch["index"].clone(), batch["valid"].clone()) for batch in loader])
        loader.close()
    assert len({len(batches) for batches in ranks}) == 1
    counted = [int(index) for batches in ranks for indices, valid in batches for index in indices[valid]]
    assert sorted(counted) == list(range(length))


def test_samples_without_a_loader_are_valid() -> None:
    batch = Numbers(5).batch(0, [3, 1])
    assert (batch["index"].tolist(), batch["valid"].tolist()) == ([3, 1], [True, True])


class Numbers(Samples):
    """Samples that are their index."""

    fields: Mapping[str, Field] = {"index": Field((), np.int64)}  # type: ignore[assignment]

    def __init__(self, length: int, bad: int = -1) -> None:
        self.length, self.bad = length, bad

    def __len__(self) -> int:
        return self.length

    def fetch(self, epoch: int, indices: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        if self.bad in indices:
            raise UserError("frame 5 of rally.mp4 cannot be decoded")
        out["index"][:] = indices


@pytest.mark.parametrize(("workers", "mode"), [(0, "threads"), (2, "threads"), (2, "fork")])
def test_a_users_mistake_arrives_as_it_was_said(workers: int, mode: Mode) -> None:
    loader = BatchLoader(Numbers(30, bad=17), EpochSampler(30, shuffle=False), batch_size=4, workers=workers, mode=mode)
    with pytest.raises(UserError) as raised:
        list(loader)
    assert str(raised.value) == "frame 5 of rally.mp4 cannot be decoded"
    loader.close()


def test_no_room_for_the_buffers_is_said_before_it_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "free_space", lambda folder: 1000)
    with pytest.raises(UserError, match=r"buffers of 4 samples need 17 kB, 1\.0 kB free; use threads"):
        next(iter(made(workers=6, mode="fork")))


def test_images_are_not_copied_and_labels_are() -> None:
    loader = BatchLoader(Pictures(), EpochSampler(40, shuffle=False), batch_size=4)
    batches = list(loader)
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(40))
    assert all(
        batch["image"].data_ptr() == batches[0]["image"].data_ptr() for batch in batches
    )  # one buffer, used again


class Pictures(Numbers):
    """With something too large to copy."""

    fields: Mapping[str, Field] = {"index": Field((), np.int64), "image": Field((200, 200), np.uint8)}  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(40)


class Recorder(lightning.LightningModule):
    """Learns a little from the batches and notes what it saw."""

    def __init__(self, seen: Path) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 1), seen

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        with self.seen.open("a") as file:
            file.write(f"{self.current_epoch} {batch_idx} {batch['index'].tolist()}\n")
        return self.layer(batch["noise"]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(folder: Path, **settings: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", devices=1, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=3, use_distributed_sampler=False, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Trained without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    lightning.seed_everything(0, verbose=False)
    recorder = Recorder(folder / "seen")
    trained(folder, enable_checkpointing=False).fit(recorder, made())
    return recorder


@pytest.mark.parametrize("step", [14, 17])
def test_a_checkpoint_holds_the_position(step: int, whole: Recorder, tmp_path: Path) -> None:
    lightning.seed_everything(0, verbose=False)
    first = Recorder(tmp_path / "parts")
    saving = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "saved", every_n_train_steps=step, save_top_k=-1)
    trained(tmp_path, callbacks=[saving, StopAt(step)]).fit(first, made(workers=2))
    second = Recorder(tmp_path / "parts")
    checkpoint = next((tmp_path / "saved").glob(f"*step={step}.ckpt"))
    trained(tmp_path, enable_checkpointing=False).fit(second, made(), ckpt_path=checkpoint, weights_only=True)
    assert second.seen.read_text() == whole.seen.read_text()
    assert torch.equal(second.layer.weight, whole.layer.weight)


class StopAt(lightning.Callback):
    """Ends training after this many steps, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.min_steps = None


def test_no_worker_outlives_its_loader() -> None:
    before = set(psutil.Process().children())
    loader = made(workers=2, mode="fork")
    next(iter(loader))
    assert len(set(psutil.Process().children()) - before) == 2
    loader.close()
    assert set(psutil.Process().children()) <= before


class Labelled(Dataset[tuple[np.ndarray, int]]):
    """The example of `common.data.cache`."""

    def __init__(self, records: CachedRecords, targets: range) -> None:
        self.records, self.targets = records, targets

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        return self.records[key], self.targets[key[1]]


def test_a_plain_dataset_is_wrapped_in_ten_lines() -> None:
    photos = Frames()
    records = CachedRecords(lambda i: photos.read_many([i])[0], RECORDS, SHAPE, np.uint8, budget=RECORDS // 2 * 90)
    sampler = EpochSampler(RECORDS, shuffle=True)
    records.announce(ReadPlan(np.arange(RECORDS)[:, None], sampler))
    loader = DataLoader(Labelled(records, range(RECORDS)), batch_size=7, sampler=sampler, num_workers=2)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        before, seen = records.stats(), list[int]()
        for images, indices in loader:
            seen += indices.tolist()
            np.testing.assert_array_equal(images.numpy(), photos.read_many(indices.tolist()))
        assert sorted(seen) == list(range(RECORDS))
    assert records.stats().since(before).hit_ratio > 0.4  # 0.5 in the exact order of the plan; textbook finds 0.15


class FakeGpu:
    """Stands for torch.cuda: notes what is page-locked, and when a copy was waited for."""

    def __init__(self) -> None:
        self.events, self.locked = list[str](), list[int]()

    def cudaHostRegister(self, start: int, size: int, flags: int) -> int:  # noqa: N802 - the runtime's name
        self.locked.append(start)
        return 0

    def cudaHostUnregister(self, start: int) -> None:  # noqa: N802
        self.locked.remove(start)

    def record_event(self) -> "FakeEvent":
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def synchronize(self) -> None:
        self.gpu.events.append("waited")


def test_a_buffer_waits_for_its_copy_to_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: gpu)
    loader = BatchLoader(Pictures(), EpochSampler(40, shuffle=False), batch_size=4)  # 10 batches, 3 buffers
    for number, batch in enumerate(loader):
        assert batch["image"].shape == (4, 200, 200)
        assert len(gpu.locked) == 1
        assert gpu.events == ["waited"] * max(0, number - 2)  # the third buffer before has been copied
    loader.close()
    del loader, batch
    assert gpu.locked == []
