"""Anti-aliased drawing of flat shapes."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
SUPERSAMPLING = 2
# directions of the rim of a hull of two discs: behind the first, then before the second, in radians from its axis
HALF_CIRCLES = np.pi * (np.linspace(0.5, 1.5, 9) + np.array([[0.0], [1.0]]))


def random_colour(rng: np.random.Generator, low: int, high: int, *, tint: float = 0.4) -> Colour:
    """A colour whose mean lies between `low` and `high` of 255; `tint` 0 is grey, 1 fully saturated."""
    mix = rng.dirichlet([1.5, 1.5, 1.5]) * 3
    red, green, blue = np.clip((tint * mix + 1 - tint) * rng.uniform(low, high), 0, 250)
    return int(red), int(green), int(blue)


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)  # reads its file every time


class Canvas:
    """Anti-aliased drawing into a box of the picture; nothing is drawn where alpha stays 0.

    Args:
        origin_xy: pixel of the picture at the box's first row and column.
        size_hw: size of the box.
    """

    def __init__(self, origin_xy: tuple[int, int], size_hw: tuple[int, int]) -> None:
        self.origin_xy, self.size_hw = origin_xy, size_hw
        self._image = Image.new("RGBX", (size_hw[1] * SUPERSAMPLING, size_hw[0] * SUPERSAMPLING))  # 4th band: alpha
        self._draw = ImageDraw.Draw(self._image)

    def _local(self, points_xy: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
        left, top = self.origin_xy
        points: list[list[float]] = points_xy.tolist()  # plain floats: arrays of two are slower
        return [((x - left + 0.5) * SUPERSAMPLING - 0.5, (y - top + 0.5) * SUPERSAMPLING - 0.5) for x, y in points]

    def like(self) -> "Canvas":
        """An empty canvas for the same box."""
        return Canvas(self.origin_xy, self.size_hw)

    def fill(self, colour: Colour) -> None:
        """Covers the whole box."""
        self._image.paste((*colour, 255), (0, 0, *self._image.size))

    def polygon(self, points_xy: Float[np.ndarray, "n 2"], colour: Colour) -> None:
        """Fills a polygon."""
        self._draw.polygon(self._local(points_xy), fill=(*colour, 255))

    def erase(self, points_xy: Float[np.ndarray, "n 2"]) -> None:
        """Takes away what was drawn inside a polygon."""
        self._draw.polygon(self._local(points_xy), fill=(0, 0, 0, 0))

    def capsules(
        self, ends_xy: Float[np.ndarray, "n 2 2"], radii: Float[np.ndarray, "n 2"], colours: Sequence[Colour]
    ) -> None:
        """Fills the hulls of pairs of discs, one over the other."""
        along = ends_xy[:, 1] - ends_xy[:, 0]
        angles = np.arctan2(along[:, 1], along[:, 0])[:, None, None] + HALF_CIRCLES
        rims = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * np.maximum(radii, 0.25)[:, :, None, None]
        outlines = (ends_xy[:, :, None] + rims).reshape(len(ends_xy), -1, 2)
        for outline, colour in zip(outlines, colours, strict=True):
            self.polygon(outline, colour)

    def disc(self, centre_xy: Float[np.ndarray, " 2"], radius: float, colour: Colour) -> None:
        """Fills a disc."""
        self.capsules(np.stack([centre_xy, centre_xy])[None], np.array([[radius, radius]]), [colour])

    def text(self, point_xy: Float[np.ndarray, " 2"], text: str, height: float, colour: Colour) -> None:
        """Writes `text`, centred at `point_xy`, `height` pixels high."""
        font = _font(max(4, round(height * SUPERSAMPLING)))
        self._draw.text(self._local(point_xy[None])[0], text, fill=(*colour, 255), font=font, anchor="mm")

    def result(self) -> tuple[Float[np.ndarray, "3 h w"], Float[np.ndarray, "h w"]]:
        """Colour (0..255, multiplied by alpha) and alpha (0..1), float32."""
        planes = np.moveaxis(np.asarray(self._image.reduce(SUPERSAMPLING)), 2, 0).astype(np.float32, order="C")
        return planes[:3], planes[3] / 255
