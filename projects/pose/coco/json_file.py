"""JSON of the COCO family of bounded size -> plain values; long lists of numbers are arrays."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from common.data.text import read_text
from common.errors import UserError

LARGEST_BYTES = 1 << 29
"""Twice COCO's largest, person_keypoints_train2017.json: 240 MB."""

MOST_OBJECTS = 4_000_000
"""Eight times as many as there are in that file; each takes some hundred bytes of memory."""


def read_json(path: Path) -> Any:
    """The values of a file. In objects, `keypoints`, `counts` and the polygons of `segmentation` are arrays.

    Lists of numbers take four times the memory of their text; so each is packed as soon as its object is read.

    Raises:
        UserError: no file, too large a one, no JSON, or an object with the same key twice.
    """
    text = read_text(path, largest=LARGEST_BYTES)
    objects = text.count("{")
    if objects > MOST_OBJECTS:
        raise unexpected(path, "file", f"{objects:,} objects", f"at most {MOST_OBJECTS:,}")
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _packed(pairs, path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}; copy the file again or mend that line") from error


def unexpected(path: Path, where: str, found: object, expected: str) -> UserError:
    """The error for a value that is not what it should be."""
    return UserError(f"{path}: {where}: found {str(found)[:200]!r}, expected {expected}; mend the file or leave it out")


def is_whole(value: Any, *, lowest: int = 0, highest: int = 1 << 53) -> TypeGuard[int]:
    """Whether a value is a whole number in a range."""
    return type(value) is int and lowest <= value <= highest  # no bool, which is an int as well


def is_number(value: Any, *, largest: int) -> TypeGuard[float]:
    """Whether a value is a number, finite and of no more than this."""
    return type(value) in (int, float) and -largest <= value <= largest


def _packed(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise unexpected(path, f"key {twice!r}", [value for key, value in pairs if key == twice], "each key once")
    for key in ("keypoints", "counts"):
        if key in found:
            found[key] = _numbers(found[key])
    if isinstance(found.get("segmentation"), list):
        found["segmentation"] = [_numbers(polygon) for polygon in found["segmentation"]]
    return found


def _numbers(values: Any) -> Any:
    """An array of a list of numbers; anything else as it is."""
    if not isinstance(values, list):
        return values
    try:
        array = np.array(values)
    except ValueError:  # lists of several lengths
        return values
    return array if array.ndim == 1 and array.dtype.kind in "iuf" else values
