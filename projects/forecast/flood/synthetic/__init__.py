"""Simulated floods in PARFLOOD's layout, by a shallow-water scheme over random lowlands.

terrain and inflow -> scenario -> solver (physics) -> files, here. `reference` runs the scheme on beds of others.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rich.progress import track

from common.data.filelists import FILELISTS, SPLITS, write_filelists
from common.data.manifest import claim
from common.errors import UserError
from common.files import atomic_folder, sweep
from common.pool import in_processes
from projects.forecast.flood.surfer import write_grid
from projects.forecast.flood.synthetic.scenario import CELL_M, random_scenario

FORMAT = 1  # to be raised by every change of the maps
SIMULATIONS: Mapping[str, int] = MappingProxyType({"train": 24, "val": 4, "test": 4})
MINUTES_PER_FRAME = 60.0  # PARFLOOD's files do not say it
SMALLEST = 8  # cells of a side
HEADER_BYTES = 56  # of a DSBB grid; its values are float32


def write_dataset(
    root: Path,
    *,
    simulations: Mapping[str, int] = SIMULATIONS,
    size_hw: tuple[int, int] = (48, 48),
    hours: int = 24,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> None:
    """Writes simulated dike breaches as PARFLOOD lays them out, with lists of what is for training and test.

    `<root>/<simulation>/flood.BTM` is the bed in metres, `flood<number>.DEP`, `.VVX` and `.VVY` are depth (m), eastward
    and northward velocity (m/s), every `MINUTES_PER_FRAME` from frame 0, which is dry or has a film of water in the
    breach. All are binary Surfer grids (DSBB): float32, rows from south to north, cells of 100 m, 1.70141e38 outside of
    the basin. `<root>/filelists/{train,val,test}.csv`: names of simulations, written last.

    Folders are whole or absent, and whole ones are kept, so that a run killed at any moment goes on where it stopped.
    The same arguments give the same bytes, whatever the number of workers.

    Args:
        root: folder to fill; made when missing.
        simulations: number per split, "train", "val" and "test".
        size_hw: rows and columns of the maps.
        hours: length of each simulation; there is a frame more.
        seed: whole number >= 0.
        workers: processes that compute.
        progress: whether to show a progress bar.

    Raises:
        UserError: `root` holds another data set, or an argument is out of range.
    """
    _check(simulations, size_hw, hours=hours, seed=seed, workers=workers)
    planned = {
        split: [_Simulation(root, split, number, size_hw, hours, seed) for number in range(count)]
        for split, count in simulations.items()
    }
    request = {"size_hw": list(size_hw), "hours": hours, "simulations": dict(simulations)}
    folders = [FILELISTS, *(one.name for part in planned.values() for one in part)]
    claim(root, {"format": FORMAT, "seed": seed, **request}, folders)
    sweep(root, below=False)
    missing = [one for part in planned.values() for one in part if not one.complete()]
    for one in missing:  # none, or what somebody damaged
        shutil.rmtree(root / one.name, ignore_errors=True)
    done = in_processes([one.write for one in missing], workers)
    for _ in track(done, "simulating floods", total=len(missing), disable=not (progress and missing)):
        pass
    write_filelists(root, {split: [one.name for one in part] for split, part in planned.items()}, overwrite=True)


@dataclass(frozen=True)
class _Simulation:
    root: Path
    split: str
    number: int
    size_hw: tuple[int, int]
    hours: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.split}_{self.number + 1:03}"

    def complete(self) -> bool:
        """Whether all files are there, as long as they should be."""
        bytes_each = HEADER_BYTES + 4 * self.size_hw[0] * self.size_hw[1]
        kinds = [f"flood{hour:04}.{kind}" for hour in range(self.hours + 1) for kind in ("DEP", "VVX", "VVY")]
        files = [self.root / self.name / file for file in ("flood.BTM", *kinds)]
        return all(file.is_file() and file.stat().st_size == bytes_each for file in files)

    def write(self) -> None:
        """Simulates, and writes the folder."""
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), self.number])  # no flood is in two splits
        scenario = random_scenario(rng, self.size_hw, number=self.number, hours=self.hours)
        result = scenario.run([MINUTES_PER_FRAME * hour for hour in range(self.hours + 1)])
        with atomic_folder(self.root / self.name) as folder:
            self._write_grid(folder / "flood.BTM", scenario.bed)
            for hour, maps in enumerate(zip(result.depth, result.vx, result.vy, strict=True)):
                for kind, values in zip(("DEP", "VVX", "VVY"), maps, strict=True):
                    self._write_grid(folder / f"flood{hour:04}.{kind}", values)

    def _write_grid(self, file: Path, values: np.ndarray) -> None:
        height, width = self.size_hw
        x_limits, y_limits = ((CELL_M / 2, CELL_M * (side - 0.5)) for side in (width, height))
        write_grid(file, values, x_limits=x_limits, y_limits=y_limits)


def _check(simulations: Mapping[str, int], size_hw: tuple[int, int], *, hours: int, seed: int, workers: int) -> None:
    for split, count in simulations.items():
        if split not in SPLITS or count < 0:
            expected = ", ".join(map(repr, SPLITS))
            raise UserError(f"simulations: found {split!r}: {count}; give a number >= 0 for {expected}")
    if min(size_hw) < SMALLEST or hours < 1:
        raise UserError(
            f"size_hw and hours: found {size_hw} and {hours}; give sides of {SMALLEST} or more, and an hour"
        )
    if seed < 0 or workers < 1:
        raise UserError(f"seed and workers: found {seed} and {workers}; give a seed >= 0 and at least 1 worker")
