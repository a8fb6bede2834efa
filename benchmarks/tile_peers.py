"""Ways to put a scene through a network tile by tile: ours, and libraries that do it.

python benchmarks/tile_peers.py NAME SIDE TILE OVERLAP     # first call and memory of one, in a process of its own
"""

import gc
import json
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Scene = np.ndarray
"""(channels, height, width)."""

Network = Callable[[Tensor], Tensor]
"""Maps (n, channels, h, w) to as many maps."""


class Tiling(NamedTuple):
    tile: int
    overlap: int


def ours(scene: Scene, network: Network, tiling: Tiling) -> np.ndarray:
    """One tile at a time, which is not copied on its way to the network."""
    from common.data.tiles import make_grid  # noqa: PLC0415 - the first call pays for it, as the peers' do
    from common.tiled import predict_scene  # noqa: PLC0415

    pair = tiling.overlap, tiling.overlap
    edge = "snap" if min(scene.shape[-2:]) >= tiling.tile else "pad"
    grid = make_grid(scene.shape[-2:], (tiling.tile, tiling.tile), overlap_hw=pair, edge=edge)
    return predict_scene(
        lambda box: scene[:, box.top : box.bottom, box.left : box.right],
        lambda tiles, _: network(tiles),
        grid,
        batch_size=1,
        blend="gaussian",
    )


def monai(scene: Scene, network: Network, tiling: Tiling) -> np.ndarray:
    """Gaussian weights, one tile at a time, its fastest; it weights what the network returns in place, so an identity
    must return a copy."""
    from monai.inferers import sliding_window_inference  # noqa: PLC0415

    with torch.inference_mode():
        found = sliding_window_inference(
            torch.from_numpy(scene)[None],
            (tiling.tile, tiling.tile),
            1,
            lambda tiles: network(tiles).clone() if network is identity else network(tiles),
            overlap=tiling.overlap / tiling.tile,
            mode="gaussian",
        )
    return found[0].numpy()


def tiler(scene: Scene, network: Network, tiling: Tiling) -> np.ndarray:
    """Our window, float32 sums, no count of visits."""
    from tiler import Merger, Tiler  # noqa: PLC0415

    tile = scene.shape[0], tiling.tile, tiling.tile
    cutter = Tiler(scene.shape, tile, overlap=(0, tiling.overlap, tiling.overlap), channel_dimension=0)
    weights = np.broadcast_to(gaussian(tiling.tile), tile).astype(np.float32)
    merger = Merger(cutter, window=weights, save_visits=False)
    with torch.inference_mode():
        for number, piece in cutter(scene):
            merger.add(number, network(torch.from_numpy(piece)[None])[0].numpy())
    return merger.merge()


def empatches(scene: Scene, network: Network, tiling: Tiling) -> np.ndarray:
    """`avg`, its only blend: each tile counts as much as all before it together."""
    from empatches import EMPatches  # noqa: PLC0415

    cutter = EMPatches()
    share = tiling.overlap / tiling.tile
    pieces, places = cutter.extract_patches(scene.transpose(1, 2, 0), tiling.tile, overlap=share)
    with torch.inference_mode():
        done = [network(torch.from_numpy(piece).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy() for piece in pieces]
    return cutter.merge_patches(done, places, mode="avg").transpose(2, 0, 1)


def kornia(scene: Scene, network: Network, tiling: Tiling) -> np.ndarray:
    """No weights: a mean."""
    from kornia.contrib import combine_tensor_patches, extract_tensor_patches  # noqa: PLC0415

    side, stride, size_hw = tiling.tile, tiling.tile - tiling.overlap, scene.shape[-2:]
    with torch.inference_mode():
        pieces = extract_tensor_patches(torch.from_numpy(scene)[None], side, stride, allow_auto_padding=True)[0]
        done = torch.cat([network(piece[None]) for piece in pieces])[None]
        return combine_tensor_patches(done, size_hw, side, stride, allow_auto_unpadding=True)[0].numpy()


def gaussian(tile: int) -> np.ndarray:
    """MONAI's weights, and ours, (tile, tile)."""
    bell = np.exp(-0.5 * (8 * ((np.arange(tile) + 0.5) / tile - 0.5)) ** 2)
    return bell[:, None] * bell


def identity(tiles: Tensor) -> Tensor:
    return tiles


WAYS = {way.__name__: way for way in (ours, monai, tiler, empatches, kornia)}
SLOW = ("monai", "kornia")
"""Imports of many seconds."""


def installed(*, quick: bool) -> list[str]:
    """Names of the peers at hand; says which are not."""
    names = list[str]()
    for name in list(WAYS)[1:]:
        if find_spec(name) is None:
            print(f"not measured: {name} is not installed; `pip install -e '.[bench]'` brings all peers")
        elif quick and name in SLOW:
            print(f"not measured: {name}: --quick does not wait for its import")
        else:
            names.append(name)
    return names


def random_scene(side: int) -> Scene:
    return np.random.default_rng(0).random((4, side, side), dtype=np.float32)


def main(name: str, side: int, tiling: Tiling) -> None:
    """Prints seconds of the first call, imports included, and bytes above the scene and the result at its peak."""
    scene = random_scene(side)
    started = perf_counter()
    WAYS[name](scene[:, : tiling.tile, : tiling.tile], identity, tiling)  # imports, and one tile
    imported = perf_counter() - started
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, started = memory("VmRSS"), perf_counter()
    result = WAYS[name](scene, identity, tiling)
    seconds = imported + perf_counter() - started
    print(json.dumps({"first": seconds, "extra": memory("VmHWM") - before - result.nbytes}))


def memory(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), Tiling(*map(int, sys.argv[3:5])))
