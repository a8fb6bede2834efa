"""A PNG or JPEG of pixels: decoded whole once, then read part by part. NumPy alone at import."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.data.kept import Kept
from common.data.npy_file import pick_channels
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

MOST_PIXELS = 16_384 * 16_384
"""Of a picture, as it is decoded whole: as RGB it takes 0.8 GB, and two are kept."""

_PNG = b"\x89PNG\r\n\x1a\n"
_LAYERS = {"1": 1, "L": 1, "LA": 1, "I": 1, "I;16": 1, "P": 3, "PA": 3, "RGB": 3, "RGBA": 3}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, struct.error)


class Header(NamedTuple):
    """What a picture says of itself.

    Attributes:
        size_hw: (height, width) in pixels.
        mode: Pillow's word for its channels.
        deep: whether a channel has 16 bits.
        alpha: whether it says what is transparent.
        transparent: the grey value that is, or None.
    """

    size_hw: tuple[int, int]
    mode: str
    deep: bool
    alpha: bool
    transparent: float | None


@dataclass(frozen=True)
class PictureFile:
    """A picture: grey or colour of 8 or 16 bits; the file's rows and columns, whichever way up a viewer shows them.

    Attributes:
        path: the file.
        size_hw: (height, width) in pixels.
        count: channels without alpha: 1 or 3, a palette's colours among them.
        dtype: of what `read` returns: uint8 or uint16; float32, with NaN where alpha is 0, if there is alpha.
        names: of the channels; the formats hold none.
        nodata: value that means missing, or None.
    """

    path: Path
    size_hw: tuple[int, int]
    count: int
    dtype: np.dtype[Any]
    names: tuple[str, ...] = ()
    nodata: float | None = None

    def read(self, box: Box, channels: Sequence[int]) -> np.ndarray:
        """The channels of a part, in the given order: (channels, height, width)."""
        whole = _DECODED.of(self.path)
        if whole.shape[:2] != self.size_hw or whole.shape[2] < self.count:
            raise BadRecordError(self.path, "has another size than when it was opened; start again")
        pixels = whole[box.top : box.bottom, box.left : box.right]
        picked = pick_channels(pixels, channels).astype(self.dtype, copy=False)
        if pixels.shape[2] > self.count:
            picked[:, pixels[:, :, -1] == 0] = np.nan
        return picked


def open_picture(path: Path) -> PictureFile:
    """Reads the header of a file.

    Raises:
        UserError: a picture of another kind, or larger than `MOST_PIXELS`.
        BadRecordError: no readable picture.
    """
    with opened(path) as (_, header):
        pass
    dtype = np.float32 if header.alpha else np.uint16 if header.deep else np.uint8
    return PictureFile(path, header.size_hw, _LAYERS[header.mode], np.dtype(dtype), nodata=header.transparent)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Header]]:
    """The Pillow image, not decoded yet, and its header; what it raises in the block is told as damage.

    Raises:
        UserError: as `open_picture`.
        BadRecordError: no readable picture.
    """
    from PIL import JpegImagePlugin, PngImagePlugin  # noqa: PLC0415 - only pictures need it

    try:
        with path.open("rb") as file:
            start = file.read(26)
        # not Image.open, whose limit of pixels is lower and one for the whole program
        kind: Any = PngImagePlugin.PngImageFile if start.startswith(_PNG) else JpegImagePlugin.JpegImageFile
        with kind(path) as image:
            yield image, _header(path, image, bits=start[24] if start.startswith(_PNG) else 8)
    except UserError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _header(path: Path, image: Any, *, bits: int) -> Header:
    if image.mode not in _LAYERS or (bits == 16 and image.mode == "LA"):
        raise UserError(f"{path}: a picture of mode {image.mode}, expected grey or RGB; save it as RGB, or as .npy")
    if image.width * image.height > MOST_PIXELS:
        raise UserError(
            f"{path}: {image.width}x{image.height} pixels, expected at most {MOST_PIXELS:,} in a picture, which is "
            "decoded whole; save it as .npy or GeoTIFF, which are read in parts, and of which any size will do"
        )
    transparent, alpha = image.info.get("transparency"), image.mode in ("LA", "RGBA", "PA")
    if transparent is not None and image.mode in ("P", "RGB"):
        transparent, alpha = None, True
    if transparent is not None:
        transparent *= max(255.0 // (2**bits - 1), 1.0)  # as Pillow widens the pixels
    return Header((image.height, image.width), image.mode, bits == 16, alpha, transparent)


def _decode(path: Path) -> np.ndarray:
    """All pixels (height, width, channels), the last of which is alpha if there is any."""
    with opened(path) as (image, header):
        wanted = ("L" if _LAYERS[header.mode] == 1 else "RGB") + ("A" if header.alpha else "")
        if header.deep and wanted != "L":
            return _decode_deep(path, alpha=header.alpha)  # Pillow drops half of the bits
        pixels = np.asarray(image).astype(np.uint16) if header.deep else np.asarray(image.convert(wanted))
    return np.atleast_3d(pixels)


def _decode_deep(path: Path, *, alpha: bool) -> np.ndarray:
    """A PNG with 16 bits for each of several channels."""
    import av  # noqa: PLC0415 - only these need it

    limit = {"max_pixels": str(MOST_PIXELS)}
    try:
        with av.open(str(path.absolute()), format="png_pipe", options=limit) as container:
            container.streams.video[0].codec_context.options = limit
            return next(container.decode(video=0)).to_ndarray(format="rgba64le" if alpha else "rgb48le")
    except (av.error.FFmpegError, StopIteration) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> BadRecordError:
    return BadRecordError(path, f"no readable PNG or JPEG ({error}); is it complete? Copy it again from its source")


_DECODED: Kept[np.ndarray] = Kept(_decode, most=2)
