"""A scene of 4 x 4096 x 4096 float32 through a network in tiles of 512 that overlap by a quarter, beside libraries.

    taskset -c 2,3 python benchmarks/bench_tiles.py

The identity network shows what cutting and blending cost. MONAI and tiler blend as we do (MONAI raises weights below
.001 to that); kornia takes a mean, and empatches something else (see the error of its mean), so what they do is less:
bars are held against the first two, and all are shown. The first call is that of a new process that has imported NumPy
and torch, and includes the import of the library. Extra memory is the peak of the resident set during that call, less
the scene and the result.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from table import Results, arguments, race, results_folder
from tile_peers import WAYS, Tiling, gaussian, identity, installed, random_scene
from torch import nn

from common.data.tiles import cut, make_grid

SAME = ("monai", "tiler")
"""Peers with the same blend."""

LEAST = {"monai": 1e-3, "kornia": 1, "empatches": 1}
"""The least weight of each, by its documentation; 1 is a mean."""


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    warnings.simplefilter("ignore")  # kornia's about padding
    results = Results("tiles")
    side, tiling = (320, Tiling(64, 16)) if options.quick else (4096, Tiling(512, 128))
    peers = installed(quick=options.quick)
    scene = random_scene(side)
    measure_identity(results, scene, tiling, peers, rounds=2 if options.quick else 12)
    if not options.quick:
        measure_first_calls(results, side, tiling, peers)
    measure_network(results, scene, tiling, peers, rounds=1 if options.quick else 3)
    measure_errors(results, peers)
    results.finish(results_folder(options))


def measure_identity(results: Results, scene: np.ndarray, tiling: Tiling, peers: list[str], *, rounds: int) -> None:
    ways = {name: WAYS[name] for name in ("ours", *peers)}
    slow = {name: run for name, run in ways.items() if name not in ("ours", "monai")}
    runners = {name: lambda way=way: way(scene, identity, tiling) for name, way in ways.items()}
    tensor = torch.from_numpy(scene)
    copies = {
        "numpy_copy": scene.copy,
        "torch_clone": tensor.clone,
        "torch_into_large_pages": lambda: torch.from_numpy(np.empty_like(scene)).copy_(tensor),
    }
    seconds = race(rounds, **copies, **{name: run for name, run in runners.items() if name not in slow})
    seconds |= race(min(rounds, 2), **{name: runners[name] for name in slow})
    beside = {name: seconds[name] for name in peers}
    results.add("identity network", seconds["ours"], "s", **beside)
    if same := [beside[name] for name in peers if name in SAME]:
        results.add("identity / best peer with the same blend", seconds["ours"] / min(same), "x", bar=0.7)
    copied = {name: seconds[name] for name in copies}
    plain = min(seconds["numpy_copy"], seconds["torch_clone"])
    results.add("identity / bare copy, the quicker of NumPy's and torch's", seconds["ours"] / plain, "x", bar=1.3)
    results.add("the quickest copy", min(copied.values()), "s", **copied)


def measure_first_calls(results: Results, side: int, tiling: Tiling, peers: list[str]) -> None:
    found = {name: _alone(name, side, tiling) for name in ("ours", *peers)}
    first = {name: values["first"] for name, values in found.items()}
    extra = {name: values["extra"] / 1e6 for name, values in found.items()}
    results.add("first call", first["ours"], "s", **{name: first[name] for name in peers})
    results.add("extra memory", extra["ours"], "MB", **{name: extra[name] for name in peers})
    if same := [name for name in peers if name in SAME]:
        quickest, leanest = (min(values[name] for name in same) for values in (first, extra))
        results.add("first call / best peer with the same blend", first["ours"] / quickest, "x", bar=0.1)
        results.add("extra memory / best peer with the same blend", extra["ours"] / leanest, "x", bar=0.7)


def _alone(name: str, side: int, tiling: Tiling) -> dict[str, float]:
    program = Path(__file__).with_name("tile_peers.py")
    command = [sys.executable, str(program), name, str(side), *map(str, tiling)]
    best: dict[str, float] = {}
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        best = {key: min(value, best.get(key, value)) for key, value in found.items()}
    return best


def measure_network(results: Results, scene: np.ndarray, tiling: Tiling, peers: list[str], *, rounds: int) -> None:
    """Three convolutions, beside themselves on the same tiles with nothing read and nothing blended."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv2d(32, 4, 3, padding=1), nn.Sigmoid()).eval()
    pair = tiling.overlap, tiling.overlap
    grid = make_grid(scene.shape[-2:], (tiling.tile, tiling.tile), overlap_hw=pair, edge="snap")
    tensor = torch.from_numpy(scene)[None]

    @torch.inference_mode()
    def alone() -> None:
        for number in range(len(grid)):
            network(cut(tensor, grid, number))

    names = ["ours", *(name for name in peers if name == "monai")]
    seconds = race(
        rounds, alone=alone, **{name: lambda name=name: WAYS[name](scene, network, tiling) for name in names}
    )
    beside = {f"of_{name}": seconds[name] / seconds["alone"] for name in names[1:]}
    results.add("three convolutions / they alone", seconds["ours"] / seconds["alone"], "x", bar=1.1, **beside)
    results.add("three convolutions alone", seconds["alone"] / len(grid), "s/tile")


def measure_errors(results: Results, peers: list[str]) -> None:
    """Largest difference from the scene after an identity, and from the mean where each tile is a random number."""
    random, tiling = np.random.default_rng(0), Tiling(64, 16)
    names = ["ours", *peers]
    for height, width in ((203, 317), (37, 50)):
        scene = random.random((4, height, width), dtype=np.float32)
        found = {name: _error(WAYS[name](scene.copy(), identity, tiling), scene) for name in names}
        beside = {name: found[name] for name in peers}
        results.add(f"error after an identity, {height} x {width}", found["ours"], "", bar=0.0, **beside)
    numbers = random.random(16)
    side = 4 * tiling.tile - 3 * tiling.overlap
    blank = np.zeros((4, side, side), dtype=np.float32)
    found = {}
    for name in names:
        tiles = iter(numbers.tolist())
        blended = WAYS[name](blank, lambda batch, tiles=tiles: batch + next(tiles), tiling)
        weights = np.clip(gaussian(tiling.tile), LEAST.get(name, 0), 1)
        found[name] = _error(blended, _mean(numbers, weights, side, tiling))
    beside = {name: found[name] for name in peers}
    results.add("error of the mean where tiles disagree", found["ours"], "", bar=1e-6, **beside)


def _mean(numbers: np.ndarray, weights: np.ndarray, side: int, tiling: Tiling) -> np.ndarray:
    total, count = np.zeros((side, side)), np.zeros((side, side))
    stride = tiling.tile - tiling.overlap
    for place, number in enumerate(numbers.tolist()):
        top, left = (stride * step for step in divmod(place, 4))
        there = np.s_[top : top + tiling.tile, left : left + tiling.tile]
        total[there] += weights * number
        count[there] += weights
    return total / count


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """1 where the sizes differ."""
    return float(np.abs(found - expected).max()) if found.shape[-2:] == expected.shape[-2:] else 1.0


if __name__ == "__main__":
    main()
