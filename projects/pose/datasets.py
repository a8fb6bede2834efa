"""Pictures with people as records and samples: letterboxed, with what is ignored beside the colours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8

from common.data.plan import sample_seeds
from common.data.report import Problem
from common.data.samples import Field, RecordSamples
from projects.pose.coco.annotations import PoseImage
from projects.pose.letterbox import Letterbox
from projects.pose.pictures import read_picture
from projects.pose.skeleton import Skeleton


@dataclass(frozen=True)
class Part:
    """What one split is made of.

    Attributes:
        images: with their people.
        ground_truth: the annotations of these images as a COCO dict, for the evaluation.
        file: that the annotations are from.
        problems: what was left out.
    """

    images: list[PoseImage]
    ground_truth: dict[str, Any]
    file: Path
    problems: list[Problem]


class PictureRecords:
    """Pictures scaled into one size, numbered through: records; see `RecordSource`.

    A record is uint8 (height, width, 4): red, green and blue, black around the picture, and then 255 where pixels are
    ignored, as there is a crowd or a person whose joints nobody labelled, and else 0.

    Args:
        images: at least one.
        size_hw: (height, width) of the records.
        content: names what the images are from, alike on all ranks.
    """

    dtype: Any = np.uint8

    def __init__(self, images: Sequence[PoseImage], size_hw: tuple[int, int], *, content: str) -> None:
        self.images, self.size_hw, self.shape = list(images), size_hw, (*size_hw, 4)
        digest = blake2b(content.encode(), digest_size=16)
        for image in images:
            digest.update(f"{image.id} {image.path}\0".encode())
        self.content = f"{size_hw} {digest.hexdigest()}"

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def letterbox(self, record: int) -> Letterbox:
        """Where a picture lies in its record."""
        return Letterbox.fit(self.images[record].size_hw, self.size_hw)

    def source_of(self, record: int) -> tuple[str, int]:
        """File and id of a picture."""
        return self.images[record].path.name, self.images[record].id

    def read_many(self, records: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 4"]]:
        """Decodes pictures, in the given order."""
        for record in records:
            image, letterbox = self.images[record], self.letterbox(record)
            ignored = image.ignored()
            frame = np.zeros(self.shape, np.uint8)
            frame[..., :3] = letterbox(read_picture(image.path, size_hw=image.size_hw))
            if ignored is not None:
                frame[..., 3] = letterbox(ignored, smooth=False)
            yield frame


class PoseSamples(RecordSamples):
    """Pictures with their people.

    A sample holds `frame` uint8 (H, W, 4), see `PictureRecords`; `points_xy` float32 (P, J, 2) in pixels of the frame,
    `visibility` uint8 (P, J), 0 for joints that are not labelled and for rows beyond the last person; `image_id`,
    `index` and `seed`, int64. P is the largest number of people in a picture.

    Args:
        part: of the annotations.
        skeleton: of the people.
        size_hw: (height, width) of the frames.
        seed: of each sample's randomness.
    """

    source: PictureRecords

    def __init__(self, part: Part, *, skeleton: Skeleton, size_hw: tuple[int, int], seed: int) -> None:
        self.part, self.skeleton, self.seed = part, skeleton, seed
        source = PictureRecords(part.images, size_hw, content=str(part.file.resolve()))  # which says what is ignored
        super().__init__(source, np.arange(len(part.images), dtype=np.int64)[:, None])
        most = max((len(image.points_xy) for image in part.images), default=1)
        shape = (len(part.images), max(most, 1), len(skeleton.joints))
        self.points_xy, self.visibility = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.uint8)
        for row, image in enumerate(part.images):
            points, seen = source.letterbox(row).to_frame(image.points_xy), image.visibility
            self.points_xy[row, : len(points)] = np.where(seen[..., None] > 0, points, 0)
            self.visibility[row, : len(points)] = seen
        self.image_ids = np.array([image.id for image in part.images], dtype=np.int64)

    @property
    def ground_truth(self) -> dict[str, Any]:
        """Annotations of all pictures, as a COCO dict."""
        return self.part.ground_truth

    @property
    def fields(self) -> Mapping[str, Field]:
        """The arrays of a sample."""
        return {
            "frame": Field(self.source.shape, np.uint8),
            "points_xy": Field(self.points_xy.shape[1:], np.float32),
            "visibility": Field(self.visibility.shape[1:], np.uint8),
            **dict.fromkeys(("image_id", "index", "seed"), Field((), np.int64)),
        }

    def fetch(self, epoch: int, indices: Int64[np.ndarray, " n"], out: Mapping[str, np.ndarray]) -> None:
        """Writes samples into a batch."""
        self.gather(epoch, indices, out["frame"][:, None])
        for name, values in (
            ("points_xy", self.points_xy),
            ("visibility", self.visibility),
            ("image_id", self.image_ids),
        ):
            np.take(values, indices, axis=0, out=out[name])
        out["index"][:] = indices
        out["seed"][:] = sample_seeds(indices, seed=self.seed, epoch=epoch)

    def source_of(self, index: int) -> tuple[str, int]:
        """File and id of a sample's picture: what error messages and panels call it."""
        return self.source.source_of(index)

    def people(self) -> Iterator[tuple[Float[np.ndarray, "joints 2"], UInt8[np.ndarray, " joints"]]]:
        """Everybody of the split: joints in pixels of the frame and their visibility."""
        for row, person in zip(*np.nonzero(self.visibility.any(axis=2)), strict=True):
            yield self.points_xy[row, person], self.visibility[row, person]
