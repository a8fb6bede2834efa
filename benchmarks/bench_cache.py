"""What a cache of frames holds, what a hit costs beside a memcpy, and what planning an epoch costs.

    taskset -c 2,3 python benchmarks/bench_cache.py

Held: samples of 9 consecutive frames of 512 x 512 in the same bytes, by our cache of frames and by a dict of samples.
The field notes' figure for the latter is 700 to 800 samples in 5 GB. Hit: `gather` of 16 records in random order, less
10 us a record, beside np.copyto of the same records from an array in shared memory into the same buffer. Plan: a
million windows of 9 frames.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from table import Results, arguments, race, results_folder
from workloads import BATCH, clip_windows

from common.data.cache import CachedRecords
from common.data.plan import EpochSampler, ReadPlan
from common.data.slab import shared_folder

FRAMES = 9
RECORDS = {"64 kB": (256, 256), "288 x 512 x 3": (288, 512, 3), "720 x 1280 x 3": (720, 1280, 3)}
PLANNED = "288 x 512 x 3"
FREE_S = 10e-6
NOTED_BYTES = 5_000_000_000


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    results = Results("cache")
    report_held(results, quick=options.quick)
    hit_s = {name: report_hit(results, name, shape, quick=options.quick) for name, shape in RECORDS.items()}
    report_plan(results, hit_s[PLANNED], quick=options.quick)
    results.finish(results_folder(options))


def report_held(results: Results, *, quick: bool) -> None:
    """Bar 4."""
    size, budget = (64, 10_000_000) if quick else (512, 200_000_000)
    frame_bytes = size * size * 3
    fits = budget // frame_bytes
    windows = clip_windows(1, 2 * fits, frames=FRAMES, stride=1)
    ours, theirs = windows_of_records(windows, size, budget), windows_of_samples(windows, size, budget)
    scale = NOTED_BYTES / budget * frame_bytes / (512 * 512 * 3)
    held = {"cache_of_samples": theirs * scale, "notes_from": 700, "notes_to": 800}
    results.add("held in 5 GB: samples of 9 frames of 512 x 512", ours * scale, "samples", **held)
    edges = FRAMES * (1 - (FRAMES - 1) / fits)  # the first eight frames of a clip begin no window of their own
    results.add("held: records / samples (9 less a clip's ends)", ours / theirs, "x", bar=edges, least=True)


def windows_of_records(windows: np.ndarray, size: int, budget: int) -> int:
    """Windows whose frames are all in our cache, once it is full; counted by what is not decoded again."""
    decoded = 0

    def read(number: int) -> np.ndarray:
        nonlocal decoded
        decoded += 1
        return np.full((size, size, 3), number % 251, dtype=np.uint8)

    whole = 0
    with closing(CachedRecords(read, int(windows.max()) + 1, (size, size, 3), np.uint8, budget)) as cache:
        cache.fill(progress=False)
        cache.announce(ReadPlan(windows, EpochSampler(len(windows), shuffle=False)))  # so that looking changes nothing
        out = np.empty((FRAMES, size, size, 3), np.uint8)
        for window in windows:
            before = decoded
            cache.gather(window, out)
            whole += decoded == before
    return whole


def windows_of_samples(windows: np.ndarray, size: int, budget: int) -> int:
    """Samples in a dict of the same bytes."""
    held = dict[int, np.ndarray]()
    for number, window in enumerate(windows):
        sample = np.empty((FRAMES, size, size, 3), np.uint8)
        sample[:] = (window % 251)[:, None, None, None]
        if (len(held) + 1) * sample.nbytes > budget:
            break
        held[number] = sample
    return len(held)


def report_hit(results: Results, name: str, shape: tuple[int, ...], *, quick: bool) -> float:
    """Bar 5, first half; seconds of a hit."""
    nbytes = int(np.prod(shape))
    count = 4 * BATCH if quick else max(12 * BATCH, (512 << 20) // nbytes // BATCH * BATCH)
    order = np.random.default_rng(0).permutation(count)
    buffer, batches = np.zeros((BATCH, *shape), np.uint8), order.reshape(-1, BATCH)
    with TemporaryDirectory(dir=shared_folder(), prefix="bench-") as folder:
        path = Path(folder) / "records"
        array = np.asarray(np.memmap(path, np.uint8, mode="w+", shape=(count, *shape)))
        array[:] = np.arange(count, dtype=np.uint8).reshape(-1, *(1 for _ in shape))
        plan = ReadPlan(np.arange(count)[:, None], EpochSampler(count, shuffle=True))
        with closing(CachedRecords(array.__getitem__, count, shape, np.uint8, 2 * array.nbytes)) as cache:
            cache.announce(plan)
            plan.announce(0)
            times = [plan.times(0, batch) for batch in batches]
            cache.fill(progress=False)

            def gather() -> None:
                for batch, when in zip(batches, times, strict=True):
                    cache.gather(batch, buffer, times=when)

            def copy() -> None:
                for batch in batches:
                    for row, record in enumerate(batch):
                        np.copyto(buffer[row], array[record])

            started = perf_counter()
            gather()  # checks each record's checksum, once per process
            first = perf_counter() - started
            seconds = race(2 if quick else 9, gather=gather, copy=copy)
    hit_s, copy_s = seconds["gather"] / count, seconds["copy"] / count
    results.add(f"hit, {name}", hit_s * 1e6, "us", memcpy=copy_s * 1e6, first_hit_in_a_process=first / count * 1e6)
    results.add(f"(hit - 10 us) / memcpy, {name}", max(hit_s - FREE_S, 0) / copy_s, "x", bar=1.3)
    return hit_s


def report_plan(results: Results, hit_s: float, *, quick: bool) -> None:
    """Bar 5, second half."""
    clips = 4 if quick else 4000
    windows = clip_windows(clips, 258, frames=FRAMES, stride=1)
    plan = ReadPlan(windows, EpochSampler(len(windows), shuffle=True))
    with TemporaryDirectory(dir=shared_folder(), prefix="bench-") as folder:
        plan.share(Path(folder) / "records")
        plan.announce(0)
        started = perf_counter()
        plan.announce(1)  # makes that of epoch 2 and leaves it to the other processes; that of epoch 1 is there
        plan_s = perf_counter() - started
    results.add(f"plan of an epoch, {len(windows):,} windows of {FRAMES}", plan_s, "s")
    share = plan_s / (windows.size * hit_s)
    results.add(f"plan / reading the epoch from memory, {PLANNED}", share, "x", bar=0.01)


if __name__ == "__main__":
    main()
