"""Share of the reads that the cache serves from memory, beside the best possible and beside caches that see nothing.

    python benchmarks/bench_policy.py

The cache itself is driven, with small records and with the plan of each epoch; the ranks of a node take their batches
in turn. The first epoch fills it and is left out. The limit is Belady's MIN with bypass that knows all reads of all
epochs and starts with the best records (`policies.best_from_any_start`). Where sizes vary, shares are of bytes, and the
limit may hold records in part. A row shows the worst of four budgets (shares of all records); the JSON holds all.
The cache is told of five batches in flight per rank, as the data module tells it with two workers. Its budget is of
records; its notes on them and the rests of pages come on top, and are shown.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from policies import PEERS, best_from_any_start
from table import Results, arguments, results_folder
from workloads import BATCH, Workload, batches, workloads

from common.data.cache import CachedRecords
from common.data.plan import EpochSampler, ReadPlan

BUDGETS = (0.25, 0.5, 0.75, 0.9)
SEED = 0
AHEAD = 5  # batches per rank that may be in work: two by each of two workers and the one being used
MEAN_BYTES = 1 << 17
ROW = 64  # bytes; records are arrays of such rows, of which a hit copies one byte


class Case(NamedTuple):
    """One row of the JSON.

    Attributes:
        budget: share of the records' bytes that fits.
        sizes: bytes of each record.
    """

    workload: Workload
    world: int
    varying: bool
    budget: float
    sizes: np.ndarray

    @property
    def name(self) -> str:
        ranks = "1 rank" if self.world == 1 else f"{self.world} ranks"
        return f"{self.workload.name}, {'varying' if self.varying else 'equal'}, {ranks}"

    @property
    def capacity(self) -> int:
        return round(self.budget * int(self.sizes.sum()))


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    results = Results("policy")
    chosen = cases(quick=options.quick)
    epochs = 2 if options.quick else 4
    with ProcessPoolExecutor(1 if options.quick else 2) as pool:
        shares = list(pool.map(measure, chosen, [epochs] * len(chosen)))
    report(results, list(zip(chosen, shares, strict=True)))
    results.finish(results_folder(options))


def cases(*, quick: bool) -> list[Case]:
    """Every workload with every kind of sizes, number of ranks and budget."""
    found = list[Case]()
    budgets, worlds = ((0.5,), (2,)) if quick else (BUDGETS, (1, 2, 4))
    for workload, varying, world in product(workloads(quick=quick), (False, True), worlds):
        sizes = record_sizes(workload.records, varying=varying)
        found += [Case(workload, world, varying, budget, sizes) for budget in budgets]
    return found


def record_sizes(records: int, *, varying: bool) -> np.ndarray:
    """Bytes: all the same, or log-normal, from an eighth of the mean to eight times it."""
    if not varying:
        return np.full(records, MEAN_BYTES)
    drawn = np.random.default_rng(SEED).lognormal(np.log(MEAN_BYTES), 0.7, records)
    return np.clip(drawn, MEAN_BYTES // 8, MEAN_BYTES * 8).astype(np.int64) // ROW * ROW


def measure(case: Case, epochs: int) -> dict[str, float]:
    """Share of the bytes read after the first epoch that was in memory: ours, the limit, the peers."""
    steps = list(batches(case.workload, epochs=range(epochs), seed=SEED, world=case.world))
    reads = [int(record) for step in steps for record in case.workload.reads[step.samples].ravel()]
    cold = case.workload.reads.size
    sizes = case.sizes.tolist()
    total = sum(sizes[record] for record in reads[cold:])
    limit = best_from_any_start(reads[cold:], sizes, case.capacity)
    peers = {name: sum(policy(reads, sizes, case.capacity)[cold:]) / total for name, policy in PEERS.items()}
    decoded, memory = run_ours(case, epochs)
    ours = {"ours": 1 - decoded / total, "on_top": memory / case.capacity - 1}
    return {**ours, "Belady": sum(limit) / total, **peers}


def run_ours(case: Case, epochs: int) -> tuple[int, int]:
    """Bytes that our cache had decoded after the first epoch, counted by the function that decodes; bytes it took."""
    decoded = 0

    def read(record: int) -> np.ndarray:
        nonlocal decoded
        decoded += int(case.sizes[record])
        return np.full((case.sizes[record] // ROW, ROW), record % 251, dtype=np.uint8)

    workload = case.workload
    sampler = EpochSampler(len(workload.reads), seed=SEED, shuffle=workload.shuffle)
    plan = ReadPlan(workload.reads, sampler, in_flight=AHEAD * BATCH * case.world)
    shapes = np.stack([case.sizes // ROW, np.full(len(case.sizes), ROW)], axis=1)
    shape = shapes if case.varying else tuple(shapes[0].tolist())
    cache = CachedRecords(read, len(shapes), shape, np.uint8, budget=case.capacity)
    cache.announce(plan)
    epoch, cold = -1, 0
    for step in batches(workload, epochs=range(epochs), seed=SEED, world=case.world):
        if step.epoch != epoch:
            epoch = step.epoch
            cold = decoded if epoch == 1 else cold
            plan.announce(epoch)
        reads = workload.reads[step.samples]
        times = np.repeat(plan.times(epoch, step.samples), reads.shape[1])
        first_bytes = np.empty((reads.size, 1, 1), dtype=np.uint8)
        cache.gather(reads.ravel(), first_bytes, times=times, corners=np.zeros((reads.size, 2), dtype=np.int64))
        if (first_bytes.ravel() != reads.ravel() % 251).any():
            raise AssertionError("the cache gives other bytes than were decoded")
    memory = cache.pages.sizes.size
    cache.close()
    return decoded - cold, memory


def report(results: Results, found: Sequence[tuple[Case, dict[str, float]]]) -> None:
    """The worst budget of each row, then the worst of all beside the peers."""
    for name in dict.fromkeys(case.name for case, _ in found):
        rows = [(case, shares) for case, shares in found if case.name == name]
        case, shares = min(rows, key=lambda row: row[1]["ours"] / row[1]["Belady"])
        ratio = shares["ours"] / shares["Belady"]
        results.add(name, ratio, "of Belady", bar=0.97, least=True, budget=case.budget, **_ratios(shares))
    for peer in PEERS:
        case, shares = min(found, key=lambda row: row[1]["ours"] / row[1][peer])
        ratio = shares["ours"] / shares[peer]
        label = f"/ {peer.replace('_', ' ')}, worst of all: {case.name}"
        results.add(label, ratio, "x", bar=1, least=True, budget=case.budget, **_ratios(shares))
    on_top = max(shares["on_top"] for _, shares in found)
    results.add(f"memory on top of the budget, records of {MEAN_BYTES >> 10} KiB", on_top, "of budget")
    for case, shares in found:
        results.add(f"{case.name}, at {case.budget:g}", shares["ours"], "of bytes", shown=False, **shares)


def _ratios(shares: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in shares.items() if name != "on_top"}


if __name__ == "__main__":
    main()
