"""Drawn people over textured backgrounds with exact keypoints, in COCO's layout.

poses (angles) and body (kinematics) -> outfit, head and figure (drawn with canvas), backdrop -> scene -> photo (JPEG)
and labels (what an annotator would say) -> files, here.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.progress import track

from common.data.manifest import claim
from common.errors import UserError
from common.files import atomic_path, sweep, write_text
from common.pool import in_processes
from projects.pose.skeleton import COCO
from projects.pose.synthetic.labels import annotate
from projects.pose.synthetic.photo import take
from projects.pose.synthetic.scene import random_scene

FORMAT = 1  # to be raised by every change of the pixels or the labels
SPLITS = ("train", "val", "test")  # a split's place is part of its pictures' seeds, so that no picture is in two
IMAGES: Mapping[str, int] = MappingProxyType({"train": 1600, "val": 80, "test": 160})
CHUNK = 20  # pictures whose annotations are kept together until a split is complete
END_OF_JPEG = b"\xff\xd9"
# pairs of keypoints that COCO's files name, from 1
BONES = ((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
         (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7))  # fmt: skip


def write_dataset(
    root: Path,
    *,
    images: Mapping[str, int] = IMAGES,
    size_hw: tuple[int, int] = (360, 480),
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> None:
    """Writes pictures of people with keypoints exactly as COCO (Lin et al. 2014) lays them out.

    `<root>/{train,val,test}2017/000000000001.jpg` and so on; `<root>/annotations/person_keypoints_<split>2017.json`,
    written last, with COCO's 17 keypoints per person: x and y in pixels, centres at integers, true projections of the
    joints of a body in space; visibility 0 not labelled (outside of the picture, or nobody could say where), 1 hidden,
    2 visible. Boxes, areas and polygons are of what is seen. A crowd is one annotation with `iscrowd` 1, an
    uncompressed RLE region and no keypoints; distant people have a polygon and `num_keypoints` 0.

    Files are whole or absent, and whole ones are kept, so that a run killed at any moment goes on where it stopped. The
    same arguments give the same bytes, whatever the number of workers; a picture depends on the seed, its split and its
    number only.

    Args:
        root: folder to fill; made when missing.
        images: number of pictures per split, "train", "val" and "test".
        size_hw: size of the pictures, at least 64 either way.
        seed: whole number >= 0.
        workers: processes that draw.
        progress: whether to show a progress bar.

    Raises:
        UserError: `root` holds another data set, or an argument is out of range.
    """
    _check(images, size_hw, seed, workers)
    request = {"format": FORMAT, "seed": seed, "size_hw": list(size_hw), "images": dict(images)}
    claim(root, request, ("annotations", *(f"{split}2017" for split in SPLITS)))
    sweep(root)
    splits = [_Split(root, split, images[split], size_hw, seed) for split in images]
    missing = [chunk for split in splits for chunk in split.chunks() if not chunk.complete()]
    done = in_processes([chunk.write for chunk in missing], workers)
    for _ in track(done, "drawing people", total=len(missing), disable=not (progress and missing)):
        pass
    for split in splits:
        split.finish()


@dataclass(frozen=True)
class _Split:
    root: Path
    name: str
    count: int
    size_hw: tuple[int, int]
    seed: int

    @property
    def annotations(self) -> Path:
        return self.root / "annotations" / f"person_keypoints_{self.name}2017.json"

    @property
    def parts(self) -> Path:
        """Annotations of what is drawn so far; gone when the split is complete."""
        return self.root / "annotations" / f".{self.name}2017"

    def chunks(self) -> Iterator["_Chunk"]:
        for first in range(1, self.count + 1, CHUNK):
            yield _Chunk(self, range(first, min(first + CHUNK, self.count + 1)))

    def picture(self, number: int) -> Path:
        return self.root / f"{self.name}2017" / f"{number:012}.jpg"

    def finish(self) -> None:
        if not self.annotations.exists():
            parts = (json.loads(chunk.part.read_text(encoding="utf-8")) for chunk in self.chunks())
            named = [one for part in parts for one in part]
            write_text(self.annotations, json.dumps(self._described(named), separators=(",", ":")))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _described(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        """The contents of the annotation file."""
        height, width = self.size_hw
        numbers = range(1, self.count + 1)
        return {
            "info": {"description": "drawn people", "version": str(FORMAT), "year": 2017},
            "licenses": [],
            "images": [
                {"id": number, "file_name": self.picture(number).name, "height": height, "width": width}
                for number in numbers
            ],
            "annotations": annotations,
            "categories": [
                {
                    "supercategory": "person",
                    "id": 1,
                    "name": "person",
                    "keypoints": list(COCO.keypoints),
                    "skeleton": [list(bone) for bone in BONES],
                }
            ],
        }


@dataclass(frozen=True)
class _Chunk:
    split: _Split
    numbers: range

    @property
    def part(self) -> Path:
        return self.split.parts / f"{self.numbers.start:012}.json"

    def complete(self) -> bool:
        named = self.split.annotations.exists() or self.part.exists()
        return named and all(_whole(self.split.picture(number)) for number in self.numbers)

    def write(self) -> None:
        """Writes the pictures, then their annotations, which say that they are there."""
        annotations = [one for number in self.numbers for one in self._draw(number)]
        write_text(self.part, json.dumps(annotations))

    def _draw(self, number: int) -> list[dict[str, Any]]:
        """Writes a picture; gives its annotations. A whole one that is there is the same and stays."""
        rng = np.random.default_rng([self.split.seed, SPLITS.index(self.split.name), number])
        scene = random_scene(rng, self.split.size_hw)
        named = annotate(scene)
        picture = self.split.picture(number)
        if not _whole(picture):
            with atomic_path(picture) as path:
                path.write_bytes(take(rng, scene.canvas.planes))
        return [{"id": 100 * number + place, "image_id": number, **one} for place, one in enumerate(named)]


def _whole(picture: Path) -> bool:
    """Whether a picture is there and ends as a JPEG file does."""
    try:
        with picture.open("rb") as file:
            file.seek(-len(END_OF_JPEG), 2)
            return file.read() == END_OF_JPEG
    except OSError:
        return False


def _check(images: Mapping[str, int], size_hw: tuple[int, int], seed: int, workers: int) -> None:
    for split, count in images.items():
        if split not in SPLITS or count < 0:
            raise UserError(f"images: found {split!r}: {count}; give a number >= 0 for {', '.join(map(repr, SPLITS))}")
    if min(size_hw) < 64:
        raise UserError(f"size_hw: found {size_hw}; give a height and a width of at least 64")
    if seed < 0 or workers < 1:
        raise UserError(f"seed and workers: found {seed} and {workers}; give a seed >= 0 and at least 1 worker")
