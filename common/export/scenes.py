"""Masks of scenes of any size by an exported segmentation network, with onnxruntime and NumPy alone.

    scene -> tiles -> batches -> onnxruntime -> probabilities, blended -> rows -> mask

It answers as the network's own prediction in PyTorch does, as the tiles, their overlap and the threshold are in the
file's metadata.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np

from common.data.scenes import Scene, open_scene
from common.data.tiles import Grid, fill_tile, make_grid, untile_rows
from common.data.write_rows import TIFFS, write_rows
from common.errors import UserError
from common.export.plan import read_plan
from common.export.runner import Runner, refuse_doubles, whole_number
from common.export.session import Session


@dataclass(frozen=True)
class Done:
    """Result for one scene.

    Attributes:
        mask: file of uint8.
        size_hw: (height, width) of the scene.
        found: share of the pixels with a value that are 1; NaN where there is none.
        missing: share of the pixels without a value.
        seconds: time taken.
    """

    mask: Path
    size_hw: tuple[int, int]
    found: float
    missing: float
    seconds: float


class Network:
    """An exported network and its plan.

    Args:
        session: with an input (batch, bands, height, width) and an output `probability` or `mask`, both
            (batch, height, width). Without probabilities, overlapping tiles vote with their masks.

    Raises:
        UserError: when the file is of another kind.
    """

    def __init__(self, session: Session) -> None:
        self._session, self.path = session, session.path
        self.plan = read_plan(session.metadata, session.path)
        self.graded = "probability" in session.outputs
        self._output = "probability" if self.graded else "mask"
        if self._output not in session.outputs:
            raise UserError(f"{self.path}: has the outputs {[*session.outputs]}; expected 'probability' or 'mask'")
        if (shape := session.shape)[1:2] != [len(self.plan.bands)] or len(shape) != 4:
            raise UserError(
                f"{self.path}: its input is {shape}; expected batch, {len(self.plan.bands)} bands, height, width"
            )

    @property
    def threshold(self) -> float:
        """Smallest value of what `__call__` returns that is a 1 in the mask."""
        return self.plan.threshold if self.graded else 0.5

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Probabilities or votes of tiles: (n, bands, h, w) float32 -> (n, h, w) float32, NaN where a band has none."""
        (values,) = self._session(tiles, [self._output])
        known = np.isfinite(tiles).all(axis=1)
        return np.where(known, values, np.float32(np.nan)).astype(np.float32, copy=False)


def predict_scene(
    network: Network,
    source: Path,
    output: Path,
    *,
    batch_size: int = 4,
    tile_hw: tuple[int, int] | None = None,
    band_names: Sequence[str] | None = None,
    probability: bool = False,
) -> Done:
    """Writes the mask of one scene, named and made like the scene's own file, into a folder; memory is a strip's.

    Args:
        network: the exported network.
        source: the scene.
        output: folder of the results, made if need be.
        batch_size: tiles per call of the network.
        tile_hw: (height, width) of the tiles; the network's own by default.
        band_names: of the file's channels, where neither it nor the network says.
        probability: whether to write `<name>_probability` too, float32, NaN where the scene has no value.

    Raises:
        UserError: when the scene cannot be read, lacks a band, or lies where its result would be written.
    """
    started, plan = perf_counter(), network.plan
    scene = open_scene(source, bands=plan.bands, band_names=band_names or plan.band_names)
    grid = make_grid(scene.size_hw, tile_hw or plan.tile, overlap_hw=plan.overlap, edge="pad")
    mask, likely = result_paths(source, output)
    found = missing = 0
    with ExitStack() as files:
        writers = [files.enter_context(write_rows(mask, scene.size_hw, np.uint8, missing=plan.nodata, like=source))]
        if probability:
            writers += [files.enter_context(write_rows(likely, scene.size_hw, np.float32, missing=np.nan, like=source))]
        for top, rows in untile_rows(_answers(network, scene, grid, batch_size), grid, blend=plan.blend):
            unknown = np.isnan(rows)
            marks = np.where(unknown, plan.nodata, rows >= network.threshold).astype(np.uint8)
            for write, values in zip(writers, (marks, rows), strict=False):
                write(top, values)
            found, missing = found + int((marks == 1).sum()), missing + int(unknown.sum())
    pixels = scene.size_hw[0] * scene.size_hw[1]
    share = found / (pixels - missing) if pixels > missing else float("nan")
    return Done(mask, scene.size_hw, share, missing / pixels, perf_counter() - started)


def result_paths(source: Path, output: Path) -> tuple[Path, Path]:
    """Where the mask and the probability of a scene go.

    Raises:
        UserError: when that is the scene itself.
    """
    suffix = source.suffix.lower()
    kept = suffix if suffix in (".npy", *TIFFS) else ".png"
    mask = output / f"{source.stem}{kept}"
    likely = output / f"{source.stem}_probability{kept if kept in TIFFS else '.npy'}"
    if source.resolve() in (mask.resolve(), likely.resolve()):
        raise UserError(f"{source}: lies in the folder of the results, which would overwrite it; give another --output")
    return mask, likely


def _answers(network: Network, scene: Scene, grid: Grid, batch_size: int) -> Iterator[np.ndarray]:
    numbers = iter(range(len(grid)))
    while batch := list(islice(numbers, batch_size)):
        parts = (scene.read_float(grid.box(number)) for number in batch)
        yield from network(np.stack([fill_tile(part, grid.tile_hw, fill="reflect") for part in parts]))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tile", type=whole_number, nargs=2, metavar=("H", "W"), help="size of a tile; the network's")
    parser.add_argument("--band_names", help="of the scenes' channels where they do not say, such as B4,B3,B2,B8")
    parser.add_argument(
        "--probability", "--confidence", action="store_true", help="write <name>_probability too, NaN without data"
    )


def _run(session: Session, options: argparse.Namespace) -> None:
    network = Network(session)
    if options.probability and not network.graded:
        raise UserError(f"{network.path}: has no output 'probability'; leave out --probability")
    refuse_doubles([result_paths(scene, options.output)[0] for scene in options.files], "scenes")
    for scene in options.files:
        done = predict_scene(
            network,
            scene,
            options.output,
            batch_size=options.batch,
            tile_hw=tuple(options.tile) if options.tile else None,
            band_names=options.band_names.split(",") if options.band_names else None,
            probability=options.probability,
        )
        missing = f", {done.missing:.1%} without data" if done.missing else ""
        size, share = f"{done.size_hw[0]} x {done.size_hw[1]}", f"{done.found:.1%} {network.plan.classes[1]}"
        print(f"{done.mask}: {size}, {share}{missing}, {done.seconds:.1f} s", flush=True)


RUNNER = Runner(
    about="writes the masks of scenes", files="scenes, such as scene.npy", add_arguments=_add_arguments, run=_run
)
