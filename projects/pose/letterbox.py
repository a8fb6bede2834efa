"""Pictures of any size in a frame of one size: scaled as a whole, centred, black around."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from common.errors import UserError


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in its frame. Points are `(x, y)` in pixels whose centres are at integers.

    Attributes:
        size_hw: (height, width) of the frame.
        inner_hw: (height, width) of the scaled picture in it.
        image_hw: (height, width) of the picture itself.
    """

    size_hw: tuple[int, int]
    inner_hw: tuple[int, int]
    image_hw: tuple[int, int]

    @classmethod
    def fit(cls, image_hw: tuple[int, int], size_hw: tuple[int, int]) -> "Letterbox":
        """The largest place for a picture in a frame; a side of the picture has one pixel at least."""
        if min(*image_hw, *size_hw) < 1:
            raise UserError(f"letterbox: found a picture of {image_hw} for a frame of {size_hw}; expected 1 or more")
        scale = min(size_hw[0] / image_hw[0], size_hw[1] / image_hw[1])
        inner = [min(max(round(scale * side), 1), whole) for side, whole in zip(image_hw, size_hw, strict=True)]
        return cls(size_hw, (inner[0], inner[1]), image_hw)

    @property
    def offset_xy(self) -> tuple[int, int]:
        """(left, top) of the scaled picture."""
        return (self.size_hw[1] - self.inner_hw[1]) // 2, (self.size_hw[0] - self.inner_hw[0]) // 2

    @property
    def scale_xy(self) -> Float[np.ndarray, " 2"]:
        """Pixels of the frame per pixel of the picture, along x and y; they differ by rounding only."""
        return np.array([self.inner_hw[1] / self.image_hw[1], self.inner_hw[0] / self.image_hw[0]])

    def __call__(
        self, image: UInt8[np.ndarray, "height width *channels"], *, smooth: bool = True
    ) -> UInt8[np.ndarray, "rows columns *channels"]:
        """The frame with the picture in it, antialiased unless `smooth` is false."""
        height, width = self.inner_hw
        scaled = Image.fromarray(image)
        if (scaled.height, scaled.width) != self.inner_hw:
            scaled = scaled.resize((width, height), Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST)
        frame = np.zeros((*self.size_hw, *image.shape[2:]), np.uint8)
        left, top = self.offset_xy
        frame[top : top + height, left : left + width] = np.asarray(scaled)
        return frame

    def to_frame(self, points_xy: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 2"]:
        """Points of the picture as points of the frame, of the same type."""
        moved = (points_xy + 0.5) * self.scale_xy - 0.5 + np.array(self.offset_xy)
        return moved.astype(points_xy.dtype, copy=False)

    def to_image(self, points_xy: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 2"]:
        """Points of the frame as points of the picture; inverts `to_frame`."""
        moved = (points_xy - np.array(self.offset_xy) + 0.5) / self.scale_xy - 0.5
        return moved.astype(points_xy.dtype, copy=False)

    def cut(self, frame: Shaped[np.ndarray, "rows columns *channels"]) -> Shaped[np.ndarray, "height width *channels"]:
        """The part of a frame that is the scaled picture."""
        left, top = self.offset_xy
        return frame[top : top + self.inner_hw[0], left : left + self.inner_hw[1]]
