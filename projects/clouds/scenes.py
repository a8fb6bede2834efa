"""A scene with its mask, as training and evaluation see it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from common.data.blocks import MISSING, NOT_COUNTED
from common.data.masks import Mask
from common.data.scenes import Scene
from common.data.tiles import Box
from common.errors import UserError

CLEAR, CLOUD = 0, 1

_STRIP = 512  # rows that are read at once where a whole scene is looked at


@dataclass(frozen=True)
class Classes:
    """What the classes of a mask mean.

    Attributes:
        names: of the classes, in the order of a one-hot mask's channels or of an index mask's values.
        cloud: those that count as cloud.
        ignored: those that count nowhere.

    Raises:
        UserError: a class that is not among the names, or in both lists, or no cloud.
    """

    names: Sequence[str] = ("CLEAR", "CLOUD", "CLOUD_SHADOW")
    cloud: Sequence[str] = ("CLOUD",)
    ignored: Sequence[str] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in (*self.cloud, *self.ignored) if name not in self.names]
        if unknown or not self.cloud or set(self.cloud) & set(self.ignored) or len(set(self.names)) != len(self.names):
            raise UserError(
                f"data.classes: found {list(self.names)}, cloud {list(self.cloud)}, ignored {list(self.ignored)}; "
                "expected different names, one or more of them as cloud and others, if any, as ignored"
            )

    @cached_property
    def labels(self) -> UInt8[np.ndarray, "256"]:
        """Value of a mask -> `CLEAR`, `CLOUD` or `NOT_COUNTED`."""
        table = np.full(256, NOT_COUNTED, dtype=np.uint8)
        for value, name in enumerate(self.names):
            table[value] = CLOUD if name in self.cloud else NOT_COUNTED if name in self.ignored else CLEAR
        return table


class CloudScene:
    """A scene and where its clouds are, read part by part; see `LabelledScene`.

    Args:
        scene: opened with the bands of the model.
        mask: of the same size.
        classes: of the mask.
    """

    def __init__(self, scene: Scene, mask: Mask, classes: Classes) -> None:
        self.scene, self.mask, self.classes = scene, mask, classes

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.scene.path).stem

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.scene.size_hw

    def read_labelled(
        self, box: Box
    ) -> tuple[Shaped[np.ndarray, "bands height width"], UInt8[np.ndarray, "height width"]]:
        """Values of a part, as the file has them, and `CLEAR`, `CLOUD`, `NOT_COUNTED` or `MISSING` for each pixel."""
        values, labels = self.scene.read(box), self.classes.labels[self.mask.read(box)]
        labels[self.scene.missing(values)] = MISSING
        return values, labels

    def target(self, box: Box | None = None) -> UInt8[np.ndarray, "height width"]:
        """`CLEAR`, `CLOUD` or `NOT_COUNTED`; of the whole scene if no part is given."""
        labels = np.concatenate([self.read_labelled(part)[1] for part in strips(box or self.box)])
        labels[labels == MISSING] = NOT_COUNTED
        return labels

    @property
    def box(self) -> Box:
        """All of it."""
        return Box(0, self.size_hw[0], 0, self.size_hw[1])


def strips(box: Box, rows: int = _STRIP) -> Iterator[Box]:
    """A box from top to bottom, in parts of so many rows."""
    for top in range(box.top, box.bottom, rows):
        yield box._replace(top=top, bottom=min(top + rows, box.bottom))
