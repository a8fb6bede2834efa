"""Pictures of people, as files have them -> uint8 RGB. NumPy and Pillow alone."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from common.errors import BadRecordError, UserError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, struct.error)
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow cuts these off at 255 when it converts them


def read_picture(path: Path, *, size_hw: tuple[int, int] | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """All pixels of a picture, RGB 0..255; grey, palettes, CMYK, transparency and 16 bits are converted.

    A camera's note of how it was held (EXIF) turns the picture upright, as viewers show it. Annotations count pixels of
    the file as it is, or of the upright picture: where `size_hw` is given it decides.

    Args:
        path: of any format that Pillow reads.
        size_hw: (height, width) that annotations say.

    Raises:
        UserError: more pixels than Pillow deems safe.
        BadRecordError: the file is gone, no picture or cut short, or has another size than `size_hw`.
    """
    try:
        with Image.open(path) as image:
            found = (image.height, image.width)
            upright = image if size_hw == found else ImageOps.exif_transpose(image)
            pixels = np.array(_rgb(upright))
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {error}; scale the picture down") from None
    except _DAMAGE as error:
        reason = "gone" if isinstance(error, FileNotFoundError) else f"no readable picture ({error})"
        raise BadRecordError(path, f"{reason}; expected a whole PNG or JPEG. Copy it again from its source") from error
    if size_hw is not None and pixels.shape[:2] != tuple(size_hw):
        raise BadRecordError(
            path,
            f"has {found[1]}x{found[0]} pixels, its annotations say {size_hw[1]}x{size_hw[0]}; is it another picture?",
        )
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        values = np.asarray(image).astype(np.int64)
        deep = values >> 8 if values.max(initial=0) > 255 else values
        return Image.fromarray(np.clip(deep, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" or "A" in image.mode or "transparency" in image.info:
        whole = image.convert("RGBA")  # what shines through is black, whatever colour it was given
        return Image.alpha_composite(Image.new("RGBA", whole.size, (0, 0, 0, 255)), whole).convert("RGB")
    return image.convert("RGB")


def image_ids(pictures: Sequence[Path]) -> list[int]:
    """The numbers that the files are called by, as COCO's are; where one is not, or two are alike: 1, 2, 3, ..."""
    named = [int(path.stem) for path in pictures if path.stem.isascii() and path.stem.isdigit()]
    return named if len(set(named)) == len(pictures) else list(range(1, len(pictures) + 1))
