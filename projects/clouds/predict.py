"""Scene of any size -> mask of the same size, in flat memory.

scene -> tiles, read ahead -> batches -> network -> probabilities, blended -> rows -> mask, probability, overlay
"""

import glob
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from common.data.progress import progress_bar
from common.data.scenes import SUFFIXES, Scene, open_scene
from common.data.standardize import Standardizer
from common.data.tiles import Box
from common.data.write_rows import TIFFS, write_rows
from common.errors import UserError
from common.files import atomic_path, sweep
from projects.clouds.graph import NO_DATA
from projects.clouds.module import CloudModule
from projects.clouds.overlay import overlay_image
from projects.clouds.preview import Preview, reduction, sample

OVERLAY_PX = 2048
"""Most pixels along a side of an overlay."""


@dataclass(frozen=True)
class Predicted:
    """Result for one scene.

    Attributes:
        mask: file of uint8: 1 cloud, 0 clear, 255 where the scene has no value.
        probability: file of float32, 0..1, NaN where the scene has no value; None if it was not asked for.
        overlay: picture of the scene with its clouds; None if it was not asked for.
        size_hw: (height, width) of the scene in pixels.
        cloud: share of the pixels with a value that are cloud; NaN where there is none.
        missing: share of the pixels without a value.
        seconds: time taken.
    """

    mask: Path
    probability: Path | None
    overlay: Path | None
    size_hw: tuple[int, int]
    cloud: float
    missing: float
    seconds: float


def find_inputs(source: str) -> list[Path]:
    """The scenes that a user names: a file, all of a folder by their suffixes, or a glob; sorted.

    Raises:
        UserError: when there is none, or two whose results would have the same name.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in path.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES]
        said = f"expected files like {', '.join(SUFFIXES)}"
    else:
        found = [Path(name) for name in glob.glob(source, recursive=True) if Path(name).is_file()]  # noqa: PTH207 - a path
        said = "expected a scene, a folder of scenes or a pattern such as 'scenes/*.npy'"
    if not found:
        raise UserError(f"input: no scene at {source}; {said}. Check the path.")
    names = [name for file in found for name in {result.stem for result in results_of(file, Path())}]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"input: results of several scenes would be called {double}; rename one of these scenes")
    return sorted(found)


def predict_file(  # noqa: PLR0913 - what a user may ask for
    module: CloudModule,
    source: Path,
    *,
    output: Path,
    batch_size: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    band_names: Sequence[str] | None = None,
    probability: bool = False,
    overlay: bool = True,
    progress: bool = True,
) -> Predicted:
    """Writes the mask of one scene, named and made like the scene's own file, into a folder.

    A `.npy` gives a `.npy`, a GeoTIFF a GeoTIFF in the same place on the earth, a PNG or JPEG a PNG. Files appear when
    they are complete; after an error or an interrupt none does.

    Args:
        module: is moved to `device` and put in inference mode.
        source: the scene.
        output: folder of the results, made if need be.
        batch_size: tiles per call of the network.
        device: where the network runs.
        autocast: lower precision for the network; None for its own.
        band_names: of the file's channels, where the file does not say.
        probability: whether to write `<name>_probability` too.
        overlay: whether to draw `<name>_overlay.png`.
        progress: whether to show a bar with tiles per second.

    Raises:
        UserError: when the scene cannot be read, lacks a band, or lies where its result would be written.
    """
    started = perf_counter()
    scene = open_scene(source, bands=module.bands, band_names=band_names)
    mask, likely, picture = results_of(source, output)
    if output.resolve() == source.parent.resolve():
        raise UserError(f"{source}: lies in the folder of the results, which could overwrite it; give another --output")
    if output.is_dir():
        sweep(output, below=False)
    module.to(device).eval()
    _warn_of_other_units(module, scene)
    counts, reduced = np.zeros(3, dtype=np.int64), _Reduced(scene.size_hw)
    with (
        write_rows(mask, scene.size_hw, np.uint8, missing=NO_DATA, like=source) as write_mask,
        write_rows(likely, scene.size_hw, np.float32, missing=np.nan, like=source)
        if probability
        else nullcontext(_drop) as write_likely,
        _bar(source.name, len(module.grid(scene.size_hw)), shown=progress) as advance,
        torch.inference_mode(),
        torch.autocast(device.type, autocast, enabled=autocast is not None),
    ):
        for top, values in module.predict_rows(scene, batch_size=batch_size, advance=advance):
            rows = mask_of(values, module.threshold)
            write_mask(top, rows)
            write_likely(top, values)
            counts += [np.count_nonzero(rows == value) for value in (0, 1, NO_DATA)]
            reduced.add(top, rows)
    clear, cloud, missing = counts.tolist()
    return Predicted(
        mask,
        likely if probability else None,
        _draw(picture, scene, reduced) if overlay else None,
        scene.size_hw,
        cloud=cloud / (clear + cloud) if clear + cloud else math.nan,
        missing=missing / counts.sum(),
        seconds=perf_counter() - started,
    )


def _drop(top: int, rows: np.ndarray) -> None:
    """Writes nothing."""


def results_of(source: Path, output: Path) -> tuple[Path, Path, Path]:
    """Files of the mask, the probability and the overlay of a scene."""
    mask = output / f"{source.stem}{_suffix(source)}"
    probability = output / f"{source.stem}_probability{'.tif' if mask.suffix in TIFFS else '.npy'}"
    return mask, probability, output / f"{source.stem}_overlay.png"


def _warn_of_other_units(module: CloudModule, scene: Scene) -> None:
    """Says so where a scene's values are nothing like those of training."""
    height, width = scene.size_hw
    values = torch.from_numpy(sample(scene, Box(0, height, 0, width), 256))
    seen, known = Standardizer(len(module.bands)), deepcopy(module.standardizer).cpu()
    seen.partial_fit(values[:, torch.isfinite(values).all(dim=0)], channel_dim=0)
    if seen.unlike(known):
        print(
            f"warning: {scene.path}: its values, {seen.mean.mean():.4g} on average, are far from those of training, "
            f"{known.mean.mean():.4g}; is its unit another (reflectance 0..1, or times 10000)? Do not trust the mask"
        )


def mask_of(probability: Float[np.ndarray, "rows width"], threshold: float) -> UInt8[np.ndarray, "rows width"]:
    """1 cloud, 0 clear, `NO_DATA` where the probability is NaN."""
    return np.where(np.isnan(probability), NO_DATA, probability >= threshold).astype(np.uint8)


class _Reduced:
    """A mask with as many rows and columns left out as the picture of its scene."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.step = reduction(Box(0, size_hw[0], 0, size_hw[1]), OVERLAY_PX)
        self._rows: list[np.ndarray] = []

    def add(self, top: int, rows: UInt8[np.ndarray, "rows width"]) -> None:
        self._rows.append(rows[-top % self.step :: self.step, :: self.step].copy())

    @property
    def mask(self) -> UInt8[np.ndarray, "rows width"]:
        return np.concatenate(self._rows)


def _draw(path: Path, scene: Scene, reduced: _Reduced) -> Path:
    height, width = scene.size_hw
    rgb = Preview(scene).draw(Box(0, height, 0, width), most_px=OVERLAY_PX)
    with atomic_path(path) as temporary:
        Image.fromarray(overlay_image(rgb, reduced.mask == 1, reduced.mask == NO_DATA)).save(temporary, format="PNG")
    return path


def _suffix(source: Path) -> str:
    suffix = source.suffix.lower()
    return suffix if suffix == ".npy" or suffix in TIFFS else ".png"


@contextmanager
def _bar(name: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    with progress_bar(shown, "tiles") as bar:
        task = bar.add_task(name, total=total)
        yield lambda tiles: bar.advance(task, tiles)
