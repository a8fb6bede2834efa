"""Pictures as the planes of yuv420p video, in which they are painted, lit and encoded.

They hold half as many numbers as red, green and blue, and painting, light and noise are linear in both.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8

# ITU-R BT.601, which decoders assume for small pictures: luma 16 to 235, chroma 16 to 240 around 128
FROM_RGB = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float32
) / np.float32(255)

Field = Float[np.ndarray, "h w"]
Colours = Float[np.ndarray, "3 h w"]  # red, green, blue, 0..255
Stack = Float[np.ndarray, "*planes h w"]
Corner = Shaped[np.ndarray, " 2"]
Box = tuple[slice, slice]  # rows and columns of the picture; even bounds, so that it holds whole chroma samples


@dataclass(frozen=True)
class Planes:
    """Luma (0..219) and, at half the size, the two chroma planes (-112..112), all without their offsets."""

    luma: Field
    chroma: Float[np.ndarray, "2 h//2 w//2"]

    def paint(self, box: Box, colours: Colours, alpha: Field) -> None:
        """Lays `colours`, already multiplied by `alpha` (0..1), over the picture."""
        layer, small = from_rgb(colours), (slice(None), *half(box))
        self.luma[box] = self.luma[box] * (1 - alpha) + layer.luma
        self.chroma[small] = self.chroma[small] * (1 - halve(alpha)) + layer.chroma

    def crop(self, margin: int, shift_xy: Float[np.ndarray, " 2"]) -> "Planes":
        """The picture inside an (even) margin, moved by `shift_xy` pixels."""
        height, width = (side - 2 * margin for side in self.luma.shape)
        box = slice(0, height), slice(0, width)
        return Planes(crop(self.luma, box, margin, shift_xy), crop(self.chroma, half(box), margin // 2, shift_xy / 2))

    def rounded(self) -> UInt8[np.ndarray, "lines w"]:
        """The planes below each other, 3/2 height lines, as PyAV takes them."""
        height, width = self.luma.shape
        lines = np.empty((height * 3 // 2, width), dtype=np.uint8)
        chroma = lines[height:].reshape(2, height // 2, width // 2)
        for plane, offset, out in ((self.luma, 16, lines[:height]), (self.chroma, 128, chroma)):
            np.clip(plane + np.float32(offset + 0.5), 0, 255, out=out, casting="unsafe")
        return lines


def from_rgb(colours: Colours) -> Planes:
    """Converts a picture with even sides."""
    small = halve(colours)
    return Planes(_mix(FROM_RGB[0], colours), np.stack([_mix(weights, small) for weights in FROM_RGB[1:]]))


def _mix(weights: Float[np.ndarray, " 3"], colours: Colours) -> Field:
    """Weighted sum of the planes; a matrix product would call in threads that get in the way of other processes."""
    mix = weights[0] * colours[0]
    mix += weights[1] * colours[1]
    mix += weights[2] * colours[2]
    return np.asarray(mix)


def halve(field: Stack) -> Float[np.ndarray, "*planes h//2 w//2"]:
    """Means of two by two pixels."""
    pairs = field[..., ::2, :] + field[..., 1::2, :]
    return np.asarray((pairs[..., ::2] + pairs[..., 1::2]) / 4)


def half(box: Box) -> Box:
    """The box of chroma samples under a box of pixels."""
    rows, columns = box
    return slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)


def even_box(low_xy: Corner, high_xy: Corner) -> Box:
    """The smallest box with even bounds that holds all pixels from `low_xy` to `high_xy`."""
    left, top = (2 * np.floor(low_xy / 2)).astype(int).tolist()
    right, bottom = (2 * np.ceil((high_xy + 1) / 2)).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def inside(box: Box, size_hw: tuple[int, ...]) -> Box:
    """The part of a box that lies in a picture of (even) `size_hw`, empty where there is none."""
    rows, columns = (
        slice(min(max(part.start, 0), side), min(max(part.stop, 0), side))
        for part, side in zip(box, size_hw, strict=True)
    )
    return rows, columns


def crop(
    field: Float[np.ndarray, "*planes height width"], box: Box, margin: int, shift_xy: Float[np.ndarray, " 2"]
) -> Stack:
    """A box of the picture from a field with a margin, moved by `shift_xy` pixels; bilinear."""
    rows, columns = box
    x, y = np.floor(-shift_xy).astype(int)
    dx, dy = (-shift_xy - (x, y)).astype(np.float32)
    top, left = rows.start + margin + y, columns.start + margin + x
    height, width = rows.stop - rows.start, columns.stop - columns.start
    patch = field[..., top : top + height + 1, left : left + width + 1]
    if dx == 0 and dy == 0:
        return patch[..., :height, :width].copy()
    patch = _between(patch[..., :-1], patch[..., 1:], dx)
    return _between(patch[..., :-1, :], patch[..., 1:, :], dy)


def _between(first: Stack, second: Stack, weight: np.float32) -> Stack:
    mix = first * (1 - weight)
    mix += second * weight
    return mix
