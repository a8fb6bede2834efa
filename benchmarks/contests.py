"""One contestant's epochs over shuffled frames: ours, a peer, or nothing but copying or decoding."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jpegs import Decoded, Jpegs
from peers import PEERS, Room, Windows, loader
from processes import ram

from common.data.cache import CachedRecords
from common.data.loader import BatchLoader, Mode
from common.data.plan import EpochSampler, ReadPlan
from common.data.samples import Field, RecordSamples

BATCH = 16
WORKERS = 2
SEED = 0
DECODED_ALONE = 240  # frames: two seconds


class Setting(NamedTuple):
    """What is measured.

    Attributes:
        folder: in shared memory.
        epochs: measured, after the first.
    """

    size_hw: tuple[int, int]
    jpegs: Jpegs
    decoded: Decoded
    folder: Path
    epochs: int
    modes: Sequence[Mode]

    @property
    def frame_bytes(self) -> int:
        return self.size_hw[0] * self.size_hw[1] * 3


class Found(NamedTuple):
    """What a contestant did.

    Attributes:
        rate: samples per second.
        hit_ratio: share of the reads that were served from memory.
        ram: bytes that its processes took, files in shared memory included.
        beside: other figures from the same epochs.
    """

    rate: float
    hit_ratio: float
    ram: float
    beside: dict[str, float]


class Work(NamedTuple):
    """What is loaded from a decoder that is slower than memory.

    Attributes:
        frames: number of different frames.
        span: neighbouring frames per sample.
        batch: samples.
    """

    frames: int
    span: int = 1
    batch: int = BATCH

    @property
    def samples(self) -> int:
        return self.frames - self.span + 1

    @property
    def budget(self) -> int:
        return self.frames // 2


# Everything cached


def ours_cached(setting: Setting, mode: Mode) -> Found:
    """Epochs of ours and, in turn with them, of the bare gather by one thread and by two."""
    rates: dict[str, list[float]] = {"ours": [], "gather": [], "gather_2_threads": []}
    frames = setting.decoded.frames
    buffer, sampler = np.zeros((BATCH, *frames.shape[1:]), np.uint8), _sampler(len(frames))
    before = ram()
    work = Work(len(frames))
    batches, cache = our_loader(setting.decoded, setting, work, sampler, mode, budget=2 * frames.nbytes)
    cache.fill(workers=WORKERS, progress=False)
    with closing(cache), closing(batches), ThreadPoolExecutor(WORKERS) as pool:
        for epoch in range(setting.epochs + 1):
            rates["ours"].append(epoch_rate(batches, sampler, epoch))
            order = sampler.indices()
            rates["gather"].append(_timed(partial(_gather, frames, order, buffer, map)))
            rates["gather_2_threads"].append(_timed(partial(_gather, frames, order, buffer, pool.map)))
        medians = {name: statistics.median(each[1:]) for name, each in rates.items()}
        return Found(medians.pop("ours"), cache.stats().hit_ratio, ram() - before, medians)


def peer_cached(setting: Setting, name: str) -> dict[int, float]:
    """Rate of a peer by number of workers; they share what was put in before they were forked."""
    count = len(setting.decoded.frames)
    with TemporaryDirectory(dir=setting.folder) as folder:
        room = Room(count, setting.frame_bytes, count * setting.frame_bytes, 1, Path(folder), warm=True)
        dataset, rates = PEERS[name].make(setting.decoded, room), dict[int, float]()
        for workers in (0, WORKERS):
            sampler = _sampler(count)
            batches = loader(dataset, sampler, batch=BATCH, workers=workers)
            found = [epoch_rate(batches, sampler, epoch) for epoch in range(setting.epochs + 1)]
            rates[workers] = statistics.median(found[1:])
        return rates


def _gather(frames: np.ndarray, order: np.ndarray, buffer: np.ndarray, run: Callable[..., Iterable[None]]) -> int:
    """Copies all frames, batch by batch, into one buffer."""
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH].tolist()
        list(run(lambda row, number: np.copyto(buffer[row], frames[number]), range(len(chosen)), chosen))
    return len(order)


# Half cached


def ours_half(setting: Setting, work: Work, mode: Mode, hit_s: float) -> Found:
    """Epochs of ours, and what was to be expected of each from its hit ratio and the decoder before and after it.

    Args:
        setting: see there.
        work: see there.
        mode: of the workers.
        hit_s: seconds per frame with everything cached.
    """
    before, rates, expected = ram(), list[float](), list[float]()
    sampler = _sampler(work.samples)
    batches, cache = our_loader(setting.jpegs, setting, work, sampler, mode, budget=work.budget * setting.frame_bytes)
    with closing(cache), closing(batches):
        epoch_rate(batches, sampler, 0)
        start, decode_s = cache.stats(), decode_seconds(setting, mode)
        for epoch in range(1, setting.epochs + 1):
            earlier, decode_s_before = cache.stats(), decode_s
            rates.append(epoch_rate(batches, sampler, epoch))
            misses = 1 - cache.stats().since(earlier).hit_ratio
            decode_s = decode_seconds(setting, mode)
            expected.append(1 / (misses * (decode_s + decode_s_before) / 2 + hit_s) / work.span)
        share = statistics.median(rate / other for rate, other in zip(rates, expected, strict=True))
        beside = {"of_predicted": share, "predicted": statistics.median(expected)}
        return Found(statistics.median(rates), cache.stats().since(start).hit_ratio, ram() - before, beside)


def peer_half(setting: Setting, work: Work, name: str, workers: int) -> Found:
    """Epochs of a peer with half of the frames' bytes, over all its processes."""
    before, decoded = ram(), get_context("fork").Value("q", 0)
    with TemporaryDirectory(dir=setting.folder) as folder:
        budget = work.budget * setting.frame_bytes
        room = Room(work.frames, setting.frame_bytes, budget, max(workers, 1), Path(folder), warm=False)
        sampler = _sampler(work.samples)
        dataset = PEERS[name].make(_Counted(setting.jpegs, decoded), room)
        if work.span > 1:
            dataset = Windows(dataset, work.span)
        batches = loader(dataset, sampler, batch=work.batch, workers=workers)
        epoch_rate(batches, sampler, 0)
        cold = decoded.value
        rates = [epoch_rate(batches, sampler, epoch) for epoch in range(1, setting.epochs + 1)]
        hit_ratio = 1 - (decoded.value - cold) / (setting.epochs * work.samples * work.span)
        files = sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*") if path.is_file())
        return Found(statistics.median(rates), hit_ratio, ram() - before + files, {})


def decode_seconds(setting: Setting, mode: Mode) -> float:
    """Per frame, with as many threads or processes as load, and nothing else to do."""
    pool: Executor = ThreadPoolExecutor(WORKERS)
    if mode != "threads":
        pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("fork"))
    few = np.random.default_rng(SEED).permutation(len(setting.jpegs.paths))[:DECODED_ALONE].tolist()
    with pool:
        list(pool.map(partial(_decode, setting.jpegs), few[: 2 * WORKERS]))  # starts the processes
        started = perf_counter()
        list(pool.map(partial(_decode, setting.jpegs), few, chunksize=1 if mode == "threads" else 8))
        return (perf_counter() - started) / len(few)


def _decode(jpegs: Jpegs, number: int) -> int:
    return jpegs(number).nbytes


class _Counted:
    def __init__(self, read: Callable[[int], np.ndarray], decoded: Any) -> None:
        self.read, self.decoded = read, decoded

    def __call__(self, number: int) -> np.ndarray:
        with self.decoded.get_lock():
            self.decoded.value += 1
        return self.read(number)


# Ours


class FrameSource:
    """Frames as records; see `common.data.samples.RecordSource`."""

    dtype, content = np.uint8, "benchmark"

    def __init__(self, read: Callable[[int], np.ndarray], shape: tuple[int, ...]) -> None:
        self.read, self.count, self.shape = read, shape[0], shape[1:]

    def __len__(self) -> int:
        return self.count

    def read_many(self, records: Sequence[int]) -> Iterable[np.ndarray]:
        return map(self.read, records)


class FrameSamples(RecordSamples):
    """Neighbouring frames."""

    @property
    def fields(self) -> dict[str, Field]:
        return {"frame": Field((self.reads.shape[1], *self.source.shape), np.uint8)}

    def fetch(self, epoch: int, indices: np.ndarray, out: Any) -> None:
        self.gather(epoch, indices, out["frame"])


def our_loader(
    read: Callable[[int], np.ndarray], setting: Setting, work: Work, sampler: EpochSampler, mode: Mode, *, budget: int
) -> tuple[BatchLoader, CachedRecords]:
    """As the data module makes them."""
    source = FrameSource(read, (work.frames, *setting.size_hw, 3))
    samples = FrameSamples(source, np.arange(work.samples)[:, None] + np.arange(work.span))
    batches = BatchLoader(samples, sampler, batch_size=work.batch, workers=WORKERS, mode=mode)
    in_flight = (batches.ahead + 1) * work.batch
    cache = samples.cache(ReadPlan(samples.reads, sampler, in_flight=in_flight), budget=budget, folder=None)
    return batches, cache


# Time


def epoch_rate(batches: Iterable[Any], sampler: EpochSampler, epoch: int) -> float:
    """Samples per second of one epoch; a byte of each is looked at."""
    sampler.set_epoch(epoch)

    def run() -> int:
        seen = 0
        for batch in batches:
            frames = batch["frame"] if isinstance(batch, dict) else batch
            int(frames.flatten(1)[:, 0].sum())
            seen += len(frames)
        return seen

    return _timed(run)


def _timed(run: Callable[[], int]) -> float:
    """What it returns, per second."""
    started = perf_counter()
    return run() / (perf_counter() - started)


def _sampler(count: int) -> EpochSampler:
    return EpochSampler(count, seed=SEED, shuffle=True)
