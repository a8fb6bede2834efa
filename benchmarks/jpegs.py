"""JPEG frames to measure with: smooth content with a camera's noise, from a seed, and how they are decoded."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 90
NOISE = 3.0  # standard deviation, of 255


def write_frames(folder: Path, count: int, size_hw: tuple[int, int], *, workers: int = 2) -> list[Path]:
    """Writes `<number>.jpg`; leaves those that are there, so that a folder can be used again."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size_hw
    shape = (height + 64, width + 64, 3)
    noise = np.random.default_rng(0).normal(0, NOISE, shape).astype(np.int16)  # drawn once: it takes longer than JPEG
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]

    def write(number: int) -> None:
        draw = np.random.default_rng([0, number])
        coarse = Image.fromarray(draw.integers(0, 256, (9, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        top, left = draw.integers(0, 64, 2)
        noisy = np.clip(smooth + noise[top : top + height, left : left + width], 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(paths[number], quality=QUALITY)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(write, [number for number in range(count) if not paths[number].exists()]))
    return paths


class Jpegs:
    """Decodes frames; a class, so that it can be pickled."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __call__(self, number: int) -> np.ndarray:
        """uint8 (height, width, 3)."""
        with Image.open(self.paths[number]) as image:
            return np.asarray(image.convert("RGB"))


class Decoded:
    """Frames in one file that is mapped by all processes: (count, height, width, 3)."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape
        self._mapped: np.ndarray | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_mapped": None}

    def __call__(self, number: int) -> np.ndarray:
        """A copy, as a decoder gives one."""
        return self.frames[number].copy()

    @property
    def frames(self) -> np.ndarray:
        """The mapped file, zeros at first."""
        if self._mapped is None:
            mode = "r+" if self.path.exists() else "w+"
            self._mapped = np.asarray(np.memmap(self.path, dtype=np.uint8, mode=mode, shape=self.shape))
        return self._mapped

    def fill(self, jpegs: Jpegs, *, workers: int = 2) -> None:
        """Decodes all."""
        frames = self.frames

        def decode(number: int) -> None:
            frames[number] = jpegs(number)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(decode, range(len(frames))))
