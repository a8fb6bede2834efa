"""Loading shuffled frames through our cache and loader, beside other caches behind torch's DataLoader.

    taskset -c 2,3 python benchmarks/bench_loader.py

JPEG frames of 1280 x 720, decoded to 2.8 MB each, in batches of 16. Everything cached, 2000 frames: also beside a loop
that copies frames from shared memory into one batch buffer, and the same with two threads, which nothing that fills
batches can beat by much. Half cached, 1200 frames, and 300 frames in windows of 9: all get the same bytes for records,
counted over all their processes, and our rate is also held against what its hit ratio and the decoder alone predict.
Each contestant runs in a process of its own, which ends with it. Rates are medians of three epochs; the first one,
which fills the caches, is left out. Needs 12.2 GB of memory.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from contests import WORKERS, Found, Setting, Work, ours_cached, ours_half, peer_cached, peer_half
from jpegs import Decoded, Jpegs, write_frames
from peers import PEERS, installed
from processes import isolated
from table import Results, arguments, results_folder

from common.data.loader import Mode
from common.data.memory import free_memory, show_bytes
from common.data.slab import free_space, job_name, shared_folder
from common.errors import UserError

MODES: tuple[Mode, ...] = ("threads", "fork", "spawn")


def main(args: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the JPEG frames, written if absent; temporary by default")
    options = parser.parse_args(args)
    results = Results("loader")
    job_name()  # before processes are forked: their memory has the job's name
    names = installed(quick=options.quick)
    with TemporaryDirectory() as files, TemporaryDirectory(dir=shared_folder(), prefix="bench-") as memory:
        setting = prepare(options, options.data or Path(files), Path(memory))
        hit_s = measure_cached(results, setting, names)
        for work in (Work(64), Work(32, 3, 2)) if options.quick else (Work(1200), Work(300, 9, 2)):
            measure_half(results, setting, names, hit_s, work=work)
    results.finish(results_folder(options))


def prepare(options: Namespace, data: Path, memory: Path) -> Setting:
    """Writes the frames, after a look at the memory."""
    count, size_hw = (64, (72, 128)) if options.quick else (2000, (720, 1280))
    needed = int(2.2 * count * size_hw[0] * size_hw[1] * 3)
    free = min(free_memory().free, free_space(shared_folder()))
    if needed > free:
        raise UserError(f"bench_loader: {show_bytes(needed)} needed in {shared_folder()}, {show_bytes(free)} free")
    jpegs = Jpegs(write_frames(data / f"{size_hw[1]}x{size_hw[0]}", count, size_hw, workers=WORKERS))
    decoded = Decoded(memory / "decoded.bin", (count, *size_hw, 3))
    epochs, modes = (1, MODES[:2]) if options.quick else (3, MODES)
    return Setting(size_hw, jpegs, decoded, memory, epochs, modes)


def measure_cached(results: Results, setting: Setting, names: Sequence[str]) -> dict[Mode, float]:
    """Bar 2; seconds per sample of ours by mode."""
    isolated("decoding all frames", setting.decoded.fill, setting.jpegs, workers=WORKERS)
    peers: dict[str, dict[int, float]] = {
        name: isolated(f"all cached: {name}", peer_cached, setting, name) for name in names
    }
    ours: dict[Mode, Found] = {
        mode: isolated(f"all cached: ours, {mode}", ours_cached, setting, mode) for mode in setting.modes
    }
    setting.decoded.path.unlink()
    for mode, found in ours.items():
        results.add(f"all cached: ours, {mode}", found.rate, "samples/s", **found.beside)
    for name, rates in peers.items():
        results.add(f"all cached: {name}", max(rates.values()), "samples/s", **_by_workers(rates))
    best = max(found.rate for found in ours.values())
    best_peer = max(rate for rates in peers.values() for rate in rates.values())
    limit = max(found.beside["gather_2_threads"] for found in ours.values()) / best_peer
    results.add("all cached: ours / best peer", best / best_peer, "x", bar=5, least=True, gather_2_threads=limit)
    shares = {mode: found.rate / found.beside["gather"] for mode, found in ours.items()}
    results.add("all cached: ours / bare gather", max(shares.values()), "x", bar=0.8, least=True, **shares)
    return {mode: 1 / found.rate for mode, found in ours.items()}


def measure_half(
    results: Results, setting: Setting, names: Sequence[str], hit_s: dict[Mode, float], *, work: Work
) -> None:
    """Bar 3."""
    what = "half cached" if work.span == 1 else f"half cached, windows of {work.span}"
    peers: dict[str, dict[int, Found]] = {
        name: {
            workers: isolated(f"{what}: {name}, {workers} workers", peer_half, setting, work, name, workers)
            for workers in (0, WORKERS)
        }
        for name in names
        if PEERS[name].partial
    }
    ours: dict[Mode, Found] = {
        mode: isolated(f"{what}: ours, {mode}", ours_half, setting, work, mode, hit_s[mode]) for mode in setting.modes
    }
    for mode, found in ours.items():
        results.add(f"{what}: ours, {mode}", found.rate, "samples/s", **_facts(found))
    for name, contests in peers.items():
        rates = _by_workers({workers: found.rate for workers, found in contests.items()})
        winner = max(contests.values(), key=lambda found: found.rate)
        results.add(f"{what}: {name}", winner.rate, "samples/s", **rates, **_facts(winner))
    best = max(found.rate for found in ours.values())
    best_peer = max(found.rate for contests in peers.values() for found in contests.values())
    limit = max(found.beside["predicted"] for found in ours.values()) / best_peer
    results.add(f"{what}: ours / best peer", best / best_peer, "x", bar=1.5, least=True, decoder_alone=limit)
    shares = {mode: found.beside["of_predicted"] for mode, found in ours.items()}
    results.add(f"{what}: ours / predicted", max(shares.values()), "x", bar=0.9, least=True, **shares)


def _by_workers(rates: dict[int, float]) -> dict[str, float]:
    return {f"{workers}_workers": rate for workers, rate in rates.items()}


def _facts(found: Found) -> dict[str, float]:
    return {"hit_ratio": found.hit_ratio, "GB": found.ram / 1e9, **found.beside}


if __name__ == "__main__":
    main()
