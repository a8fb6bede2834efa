"""What a network that was trained on tiles says of a larger image: whole scenes beside tiles of several overlaps.

    python benchmarks/whole_scene.py [--run runs/clouds/latest] [--picture projects/clouds/whole.png]

Scores are pooled over the test scenes of a run; `differs` is the share of pixels whose mask is another than that of the
run's own tiling. Below, one tile is repeated 3 x 3: away from its borders the middle copy should say what the tile says
alone, as far as the network sees no farther than that.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from common.data.tiles import Blend, make_grid
from common.figures import heat, panel
from common.reopen import find_run, run_data, run_module
from common.tiled import predict_rows
from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.module import CloudModule

TITLES = (
    "Scene",
    "Tiles\nprobability of cloud",
    "Whole scene\nprobability of cloud",
    "Difference\nof the probabilities, five times",
)

SHOWN = 2  # scenes in the picture


@dataclass(frozen=True)
class Way:
    """How a scene is given to the network: in tiles that overlap by a share, or whole."""

    name: str
    tile_hw: tuple[int, int] | None
    overlap: float = 0.0
    blend: Blend = "crop"


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/clouds/latest"))
    parser.add_argument("--picture", type=Path, default=Path("projects/clouds/whole.png"))
    options = parser.parse_args(args)
    run = find_run(options.run, project="clouds")
    module = run_module(run, CloudModule).eval()
    data = run_data(run, CloudData, bands=module.bands, tile_hw=module.tile_hw)
    data.prepare_data()
    data.setup("test")
    scenes = data.datasets["test"]
    assert isinstance(scenes, WholeScenes)
    with torch.inference_mode():
        maps = compare(module, scenes)
        repeat(module, scenes)
    draw(options.picture, scenes, maps)


def ways(module: CloudModule) -> list[Way]:
    """The run's own first."""
    tile = module.tile_hw
    half = tile[0] // 2, tile[1] // 2
    return [
        Way(f"tiles {tile[0]}, overlap {module.overlap:g}, {module.blend}", tile, module.overlap, module.blend),
        Way(f"tiles {tile[0]}, no overlap", tile),
        Way(f"tiles {tile[0]}, overlap .5, hann", tile, 0.5, "hann"),
        Way(f"tiles {half[0]}, overlap .25, hann", half, 0.25, "hann"),
        Way("whole scene at once", None),
    ]


def compare(module: CloudModule, scenes: WholeScenes) -> dict[str, list[np.ndarray]]:
    """Prints the table; the first and the last way's maps."""
    table = Table(title=f"{len(scenes)} test scenes", title_justify="left")
    for heading in ("", "IoU", "differs", "ms / megapixel"):
        table.add_column(heading, justify="right" if heading else "left")
    targets = [scenes.target(index) for index in range(len(scenes))]
    maps: dict[str, list[np.ndarray]] = {}
    for way in ways(module):
        started = perf_counter()
        maps[way.name] = [predict(module, scenes, index, way) for index in range(len(scenes))]
        seconds = perf_counter() - started
        said, own = ([values >= module.threshold for values in maps[name]] for name in (way.name, next(iter(maps))))
        megapixels = sum(target.size for target in targets) / 1e6
        differs = sum(int((a != b).sum()) for a, b in zip(said, own, strict=True)) / megapixels / 1e6
        table.add_row(way.name, f"{iou(said, targets):.4f}", f"{differs:.3%}", f"{1000 * seconds / megapixels:.0f}")
    Console().print(table)
    return maps


def predict(module: CloudModule, scenes: WholeScenes, index: int, way: Way) -> np.ndarray:
    scene = scenes.scenes[index].scene
    tile_hw = way.tile_hw or scene.size_hw
    overlap_hw = int(way.overlap * tile_hw[0]), int(way.overlap * tile_hw[1])
    grid = make_grid(scene.size_hw, tile_hw, overlap_hw=overlap_hw, edge="pad")
    network: Callable[..., torch.Tensor] = lambda tiles, numbers: module.probability(tiles)  # noqa: E731 - a line
    rows = predict_rows(scene.read_float, network, grid, batch_size=4, blend=way.blend)
    return np.concatenate([values[0] for _, values in rows])


def iou(said: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    counted = [(a[t != 255], t[t != 255] == 1) for a, t in zip(said, targets, strict=True)]
    return sum(int((a & b).sum()) for a, b in counted) / max(sum(int((a | b).sum()) for a, b in counted), 1)


def repeat(module: CloudModule, scenes: WholeScenes) -> None:
    """One tile, and the same tile 3 x 3: by how much the middle differs, by distance from its border."""
    height, width = module.tile_hw
    box = scenes.scenes[0].box._replace(bottom=height, right=width)
    tile = torch.from_numpy(scenes.read_float(0, box))[None]
    alone = module.probability(tile)[0, 0]
    middle = module.probability(tile.repeat(1, 1, 3, 3))[0, 0, height : 2 * height, width : 2 * width]
    away = (middle - alone).abs()
    for margin in (0, 8, 16, 32, 64):
        inner = away[margin : height - margin, margin : width - margin]
        if inner.numel():
            print(f"one tile repeated 3 x 3: {margin:3} px from its border on, at most {inner.max():.4f} apart")


def draw(path: Path, scenes: WholeScenes, maps: dict[str, list[np.ndarray]]) -> None:
    tiles, whole = (list(maps.values())[way] for way in (0, -1))
    rows = [
        [scenes.rgb(index), heat(tiles[index]), heat(whole[index]), heat(5 * abs(tiles[index] - whole[index]))]
        for index in range(min(len(scenes), SHOWN))
    ]
    captions = [scenes.scenes[index].name for index in range(len(rows))]
    panel(rows, column_titles=TITLES, row_captions=captions, path=path, cell_hw=(220, 300))
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
