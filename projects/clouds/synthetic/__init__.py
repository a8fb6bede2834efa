"""Satellite scenes with exact cloud masks in the layout of the Sentinel-2 Cloud Mask Catalogue.

noise, sun and bands (facts) -> ground, lands and clouds -> light (physics) -> scene (reflectance, mask) -> files, here.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rich.progress import track

from common.data.manifest import claim
from common.errors import UserError
from common.files import atomic_path, sweep, write_text
from projects.clouds.bands import BANDS
from projects.clouds.synthetic.lands import LANDS
from projects.clouds.synthetic.scene import Product, random_product, random_scene

FORMAT = 2  # to be raised by every change of the pixels or the masks
FOLDERS = ("subscenes", "masks", "filelists")
SCENES: Mapping[str, int] = MappingProxyType({"train": 8, "val": 2, "test": 3})
SIZES_HW = ((1022, 1022), (509, 760), (777, 1301), (613, 845))  # the catalogue's, and odd ones
SUBSCENES = (1, 1, 2)  # of each product, in turn
# a split's place here is part of its seeds; its first land and weather differ, so that tests are no copies of training
SPLITS: Mapping[str, tuple[int, int]] = MappingProxyType({"train": (0, 0), "val": (4, 2), "test": (1, 0)})
SKIES = ("fair", "broken", "veiled", "clear", "mixed", "overcast")


def write_dataset(
    root: Path,
    *,
    scenes: Mapping[str, int] = SCENES,
    size_hw: tuple[int, int] | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> None:
    """Writes scenes with masks exactly as the Sentinel-2 Cloud Mask Catalogue (Francis et al. 2020) lays them out.

    `<root>/subscenes/<id>.npy`: float32 (height, width, 13), reflectance above the air, 0 to about 1.5, bands B1 to B12
    in the order of `BANDS`, pixels of 20 m, none missing. `<root>/masks/<id>.npy`: bool (height, width, 3),
    one-hot CLEAR, CLOUD, CLOUD_SHADOW. CLOUD is where the optical depth of all cloud is at least `light.CLOUD_DEPTH`;
    haze is not counted. `<root>/filelists/{train,val,test}.csv`: file names, one per line, no header, written last.

    Ids are names of products. Every third product of a split has two sub-scenes, `<product>_1` and `<product>_2`, which
    stay in that split.

    Files are whole or absent, and whole ones are kept, so that a run killed at any moment goes on where it stopped. The
    same arguments give the same bytes, whatever the number of workers.

    Args:
        root: folder to fill; made when missing.
        scenes: number of scenes per split, "train", "val" and "test".
        size_hw: size of all scenes; None mixes `SIZES_HW`.
        seed: whole number >= 0.
        workers: threads that compute.
        progress: whether to show a progress bar.

    Raises:
        UserError: `root` holds another data set, or an argument is out of range.
    """
    _check(scenes, size_hw, seed, workers)
    claim(root, {"format": FORMAT, "seed": seed, "size_hw": size_hw and list(size_hw), "scenes": dict(scenes)}, FOLDERS)
    sweep(root)
    planned = {split: list(_plan(root, split, scenes[split], size_hw=size_hw, seed=seed)) for split in scenes}
    missing = [scene for split in planned.values() for scene in split if not scene.complete()]
    done = _write_all(missing, workers)
    for _ in track(done, "making scenes", total=len(missing), disable=not (progress and missing)):
        pass
    for split, rows in planned.items():
        write_text(root / "filelists" / f"{split}.csv", "".join(f"{scene.name}\n" for scene in rows))


@dataclass(frozen=True)
class _Scene:
    root: Path
    name: str
    product: Product
    weather: str
    size_hw: tuple[int, int]
    seed: tuple[int, ...]

    def complete(self) -> bool:
        scene, mask = self._files()
        return _whole(scene, (*self.size_hw, len(BANDS)), np.float32) and _whole(mask, (*self.size_hw, 3), np.bool_)

    def write(self) -> None:
        arrays = random_scene(np.random.default_rng(self.seed), self.size_hw, self.product, self.weather)
        for file, array in zip(self._files(), arrays, strict=True):
            with atomic_path(file) as path:
                np.save(path, array)

    def _files(self) -> tuple[Path, Path]:
        return self.root / "subscenes" / self.name, self.root / "masks" / self.name


def _whole(file: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> bool:
    """Whether a file is there, of this form, and as long as it says."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(array.shape == shape and array.dtype == dtype)


def _check(scenes: Mapping[str, int], size_hw: tuple[int, int] | None, seed: int, workers: int) -> None:
    for split, count in scenes.items():
        if split not in SPLITS or count < 0:
            raise UserError(f"scenes: found {split!r}: {count}; give a number >= 0 for {', '.join(map(repr, SPLITS))}")
    if size_hw is not None and min(size_hw) < 1:
        raise UserError(f"size_hw: found {size_hw}; give a height and a width of at least 1, or None")
    if seed < 0 or workers < 1:
        raise UserError(f"seed and workers: found {seed} and {workers}; give a seed >= 0 and at least 1 worker")


def _plan(root: Path, split: str, count: int, *, size_hw: tuple[int, int] | None, seed: int) -> Iterator[_Scene]:
    """The scenes of a split: lands and weathers in turn."""
    place, (first_land, first_sky) = list(SPLITS).index(split), SPLITS[split]
    lands = list(LANDS)
    number = 0
    for index, subscenes in enumerate(cycle(SUBSCENES)):
        rng = np.random.default_rng([seed, place, 0, index])
        product = random_product(rng, lands[(first_land + index) % len(lands)])
        for part in range(1, subscenes + 1):
            if number == count:
                return
            name = f"{product.name}_{part}.npy" if subscenes > 1 else f"{product.name}.npy"
            sky = SKIES[(first_sky + number) % len(SKIES)]
            size = size_hw or SIZES_HW[number % len(SIZES_HW)]
            yield _Scene(root, name, product, sky, size, (seed, place, 1, number))
            number += 1


def _write_all(scenes: list[_Scene], workers: int) -> Iterator[None]:
    """Yields after each written scene. Threads: the time is spent in numpy and scipy, which let others run."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(scene.write) for scene in scenes]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
