"""A small ball training, killed at random moments and started again with the same command until it ends with status 0.

    make soak                                      # 20 runs, and Lightning alone in the same soak
    python benchmarks/soak.py --runs 100 --seed 7  # more, others; with --quick three, without peers

Each kill is -9 (60%), TERM (30%) or USR1 (10%), at a moment drawn anew, a quarter of them while a checkpoint is
written; before a restart, with probability .3, the newest checkpoint is cut short or one of its bits flipped. TMPDIR is
on another file system than the runs. A run is equal if all that its last checkpoint says, its best checkpoint, and each
cell of `metrics.csv` but `data/*`, are those of a run that was never killed. Starts are forked from a process that has
imported everything; two of the runs are commands of their own. Every second run loads with two threads.

The peers: the same module and data with Lightning's own Trainer, CSVLogger and `ckpt_path="last"`. "one callback" is
ModelCheckpoint(monitor, save_last=True, every_n_train_steps); "two callbacks" has a second one, without monitor, that
also saves when stopped; "undamaged" is that, only killed. A peer's run is equal if its last weights and optimizer are.
"""

import random
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any, NamedTuple

from killing import SIGNALS, Kills, Start, live, lost_steps
from noting import PHASES
from subjects import EVERY, KINDS, STEPS, Kind, Places
from table import Results, arguments, results_folder

from projects.ball import synthetic

DAMAGE = 0.3
OURS, COMMAND = "ours", "command"
PEERS = {"one callback": True, "two callbacks": True, "two callbacks undamaged": False}
"""Subjects beside ours, and whether their checkpoints are damaged."""


class Run(NamedTuple):
    """What became of a run.

    Attributes:
        faults: everything that is not as in the run that was never killed; empty if equal.
        rows: of metrics.csv lost, doubled.
        left: temporary files that nobody removed.
        in_tmpdir: those in TMPDIR.
        saves: number and seconds.
    """

    starts: list[Start]
    faults: list[str]
    rows: tuple[int, int]
    left: list[str]
    in_tmpdir: list[str]
    saves: tuple[int, float]

    @property
    def stuck(self) -> bool:
        return self.starts[-1].status is None

    @property
    def dead(self) -> bool:
        """Whether it could not go on."""
        return self.starts[-1].status not in (0, None)

    @property
    def lost(self) -> int:
        """Steps done in vain."""
        return sum(lost for lost, _ in lost_steps(self.starts, EVERY)) + self.dead * self.starts[-1].step


@dataclass(frozen=True)
class Job:
    """A run to be killed."""

    kind: Kind
    number: int
    places: Places
    reference: Places
    kills: Kills
    seed: str


def main(args: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(args)
    results = Results("soak")
    disk, memory = (Path(mkdtemp(prefix="soak-", dir=root)) for root in (options.folder, options.temporary))
    try:
        synthetic.write_dataset(disk / "data", rallies={"training": 4, "test": 1}, workers=1, progress=False)
        apart = disk.stat().st_dev != memory.stat().st_dev
        results.add("TMPDIR on another file system than the runs", float(apart), "", bar=1, least=True)
        _report(results, _soak(options, disk, memory))
    finally:
        for folder in (disk, memory) if not options.keep else (memory,):
            shutil.rmtree(folder, ignore_errors=True)
    results.finish(results_folder(options))


def _parser() -> ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, help="of each subject; 20 by default, 3 for --quick")
    parser.add_argument("--commands", type=int, help="runs that are commands of their own; 2 by default, 0 for --quick")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--seconds", type=float, default=180, help="after which a process is stuck")
    parser.add_argument("--lanes", type=int, default=2, help="runs at the same time")
    parser.add_argument("--folder", type=Path, help="for the runs, on a disk; the system's temporary one by default")
    parser.add_argument("--temporary", type=Path, default=Path("/dev/shm"), help="for TMPDIR, on another file system")
    parser.add_argument("--keep", action="store_true", help="do not remove the runs")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    return parser


def _soak(options: Namespace, disk: Path, memory: Path) -> dict[str, list[Run]]:
    """All runs by subject."""
    few = options.quick
    runs = options.runs or (3 if few else 20)
    commands = (0 if few else 2) if options.commands is None else options.commands
    counts = {OURS: runs - commands, COMMAND: commands} | dict.fromkeys(() if few or options.no_peers else PEERS, runs)
    jobs = [job for name, count in counts.items() if count for job in _jobs(name, count, options, (disk, memory))]
    references = {job.kind.name: job.reference for job in jobs if job.kind.name in (OURS, COMMAND)}
    if len(references) == 2 and (faults := KINDS[OURS].compare(references[OURS], references[COMMAND]).faults):
        sys.exit(f"a fork does not train as a command does: {faults}")
    with ProcessPoolExecutor(options.lanes, mp_context=get_context("fork")) as pool:
        found = list(pool.map(_run, jobs))
    named: dict[str, list[Run]] = {name: [] for name in counts}
    for job, run in zip(jobs, found, strict=True):
        named[job.kind.name].append(run)
    return named


def _jobs(name: str, count: int, options: Namespace, roots: tuple[Path, Path]) -> list[Job]:
    """Trains once without a kill; the runs to be held against it."""
    kind = KINDS[name]
    reference = Places.make(roots, f"{name} reference")
    quiet = Kills(0, 0, 0, options.seconds, most=0)
    lives, seconds = [], list[float]()
    for places in (reference, Places.make(roots, f"{name} again")):  # the second start finds the data decoded
        started = perf_counter()
        lives += live(kind.subject(places), places.folder, random.Random(0), quiet)
        seconds.append(perf_counter() - started)
    ended = [one.status for one in lives] == [0, 0]
    if not ended or (faults := kind.compare(reference, places).faults):
        said = (places.folder / "log").read_text()[-3000:]
        sys.exit(f"{name}: two runs that nobody killed: {faults if ended else lives}; the second one said\n{said}")
    print(f"{name}: {seconds[1]:.1f} s without a kill", flush=True)
    damage, most = DAMAGE * PEERS.get(name, True), 4 if options.quick else 60
    kills = Kills(kind.lead_s, (seconds[-1] - kind.lead_s) / 2, damage, options.seconds, most)
    made = [Places.make(roots, f"{name} {number}", threads=2 * (number % 2)) for number in range(count)]
    return [Job(kind, n, places, reference, kills, f"{options.seed} {n}") for n, places in enumerate(made)]


def _run(job: Job) -> Run:
    places = job.places
    starts = live(job.kind.subject(places), places.folder, random.Random(job.seed), job.kills)
    faults, rows = job.kind.compare(job.reference, places) if starts[-1].status == 0 else (["not finished"], (0, 0))
    if job.kind.name in (OURS, COMMAND):
        faults = [*faults, *_misbehaved(starts)]
    run = Run(starts, faults, rows, places.left(), places.left_in_tmpdir(), places.note().saves)
    print(*run.left, *run.in_tmpdir, sep="\n", end="\n" if run.left or run.in_tmpdir else "")
    print(f"{job.kind.name} {job.number}: {len(starts)} starts, {'; '.join(faults)[:2000] or 'equal'}", flush=True)
    if faults and job.kind.name in (OURS, COMMAND):
        print(*starts, (places.folder / "log").read_text()[-3000:], sep="\n", flush=True)
    return run


def _misbehaved(starts: Sequence[Start]) -> list[str]:
    """What ours must not do on its way."""
    statuses = [f"exit status {one.status} in {one.phase}" for one in starts if one.status not in _ALLOWED]
    lost = [f"lost {lost} steps of at most {most}" for lost, most in lost_steps(starts, EVERY) if lost > most]
    return statuses + lost


_BY_SIGNAL = [-number for number in SIGNALS[1:]]  # of a process that has no handlers yet, or any more
_ALLOWED = (0, 85, -SIGNALS[0], *_BY_SIGNAL)


def _report(results: Results, found: dict[str, list[Run]]) -> None:
    ours = found[OURS] + found[COMMAND]
    peers = {name.replace(" ", "_"): found[name] for name in PEERS if name in found}
    starts = [start for run in ours for start in run.starts]

    for name, unit, of, bar in _MEASURES:
        results.add(name, of(ours), unit, bar=bar, **_each(of, peers))
    equal = _each(_equal, peers)
    results.add("equal to the run that was never killed", _equal(ours), "runs", bar=len(ours), least=True, **equal)
    by_signal, by_phase = Counter(start.signal for start in starts), Counter(one.phase for one in starts if one.signal)
    for number in SIGNALS:
        results.add(f"kills by {number.name}", by_signal[number], "")
    for phase in PHASES:
        results.add(f"kills in {phase}", by_phase[phase], "")
    bare = sum(one.status in _BY_SIGNAL for one in starts)
    results.add("ended by TERM or USR1 where nothing catches them", bare, "starts")
    odd = sum(one.status not in _ALLOWED for one in starts)
    results.add("exit status neither 0, 85 nor a signal's", odd, "starts", bar=0)


def _each(of: Callable[[list[Run]], float], peers: Mapping[str, list[Run]]) -> dict[str, Any]:
    return {peer: of(runs) for peer, runs in peers.items()}


def _equal(runs: Sequence[Run]) -> int:
    return sum(not run.faults for run in runs)


def _save_ms(runs: Sequence[Run]) -> float:
    count, seconds = (sum(column) for column in zip(*(run.saves for run in runs), strict=True))
    return 1e3 * seconds / count


def _false_ends(runs: Sequence[Run]) -> int:
    """How often a process said that it was done and was not."""
    return sum(start.status == 0 for run in runs for start in run.starts[:-1])


def _most_lost(runs: Sequence[Run]) -> int:
    return max((lost for run in runs for lost, _ in lost_steps(run.starts, EVERY)), default=0)


_MEASURES: list[tuple[str, str, Callable[[list[Run]], float], float | None]] = [
    ("runs killed", "", len, None),
    ("restarts", "", lambda runs: sum(len(run.starts) - 1 for run in runs), None),
    ("checkpoints damaged", "", lambda runs: sum(bool(start.damaged) for run in runs for start in run.starts), None),
    ("stuck", "runs", lambda runs: sum(run.stuck for run in runs), 0),
    ("could not go on", "runs", lambda runs: sum(run.dead for run in runs), 0),
    ("said 0, unfinished", "times", _false_ends, 0),
    ("rows of metrics.csv lost by runs that ended", "", lambda runs: sum(run.rows[0] for run in runs), 0),
    ("rows of metrics.csv doubled by runs that ended", "", lambda runs: sum(run.rows[1] for run in runs), 0),
    ("temporary files left beside the runs", "", lambda runs: sum(len(run.left) for run in runs), 0),
    ("files left in TMPDIR", "", lambda runs: sum(len(run.in_tmpdir) for run in runs), None),
    ("most steps lost at once", "steps", _most_lost, 2 * EVERY),
    ("steps done in vain", "share", lambda runs: sum(run.lost for run in runs) / (STEPS * len(runs)), None),
    ("a save", "ms", _save_ms, None),
]


if __name__ == "__main__":
    main()
