"""A scene of 4 x 4096 x 4096 float32 through a network in tiles of 512 that overlap by a quarter, beside libraries.

    taskset -c 2,3 python benchmarks/bench_tiles.py

The identity network shows what cutting and blending cost. MONAI and tiler blend with the same weights as we do; kornia
and empatches have no weights, so what they do is less. The first call is that of a new process and includes the imports
of the library (torch's own are not counted). Extra memory is the peak of the resident set during that call above the
scene and the result. The round trip is the largest difference from the scene after an identity network, on a scene
whose size is no multiple of anything, and with values that are 0 where tiles overlap for whom 0 means empty.
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
from tile_peers import WAYS, Tiling, identity, installed, random_scene
from torch import nn

from common.data.tiles import cut, make_grid

WEIGHTED = ("monai", "tiler")
"""Peers with the same blend."""


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
    measure_round_trips(results, peers)
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
    weighted = [beside[name] for name in peers if name in WEIGHTED]
    if weighted:
        results.add("identity / best peer with the same blend", seconds["ours"] / min(weighted), "x", bar=0.7)
    copied = {name: seconds[name] for name in copies}
    plain = min(seconds["numpy_copy"], seconds["torch_clone"])
    results.add("identity / bare copy, the quicker of NumPy's and torch's", seconds["ours"] / plain, "x", bar=1.3)
    results.add("the quickest copy", min(copied.values()), "s", **copied)


def measure_first_calls(results: Results, side: int, tiling: Tiling, peers: list[str]) -> None:
    found = {name: _alone(name, side, tiling) for name in ("ours", *peers)}
    first = {name: values["first"] for name, values in found.items()}
    extra = {name: values["extra"] / 1e6 for name, values in found.items()}
    beside = {name: first[name] for name in peers}
    results.add("first call", first["ours"], "s", **beside)
    if peers:
        results.add("first call / quickest peer's", first["ours"] / min(beside.values()), "x", bar=0.1)
    if "monai" in peers:
        results.add("first call / MONAI's", first["ours"] / first["monai"], "x", bar=0.1)
    results.add("extra memory", extra["ours"], "MB", **{name: extra[name] for name in peers})
    if peers:
        leanest = min(extra[name] for name in peers)
        results.add("extra memory / leanest peer's", extra["ours"] / leanest, "x", bar=0.7)


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


def measure_round_trips(results: Results, peers: list[str]) -> None:
    random = np.random.default_rng(0)
    tiling = Tiling(64, 16)
    scenes = {
        "uniform 0..1": random.random((4, 203, 317), dtype=np.float32),
        "with zeros": random.random((4, 203, 317), dtype=np.float32) * (random.random((203, 317)) < 0.5),
        "smaller than a tile": random.random((4, 37, 50), dtype=np.float32),
    }
    for kind, scene in scenes.items():
        errors = {name: _error(name, scene.astype(np.float32), tiling) for name in ("ours", *peers)}
        beside = {name: value for name in peers if (value := errors[name]) is not None}
        own = errors["ours"]
        if own is not None:
            results.add(f"round trip, {kind}", own, "largest difference", bar=0.0, **beside)


def _error(name: str, scene: np.ndarray, tiling: Tiling) -> float | None:
    try:
        found = WAYS[name](scene.copy(), identity, tiling)
    except Exception as error:  # of a peer, whatever it is
        print(f"round trip of {scene.shape}: {name} fails: {type(error).__name__}: {error}"[:200])
        return None
    if found.shape != scene.shape:
        print(f"round trip of {scene.shape}: {name} returns {found.shape}")
        return None
    return float(np.abs(found - scene).max())


if __name__ == "__main__":
    main()
