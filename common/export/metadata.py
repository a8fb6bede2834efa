"""What an exported network's file says of itself: JSON values by key, none of them trusted. Imports next to nothing."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError

Expected = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Metadata by key: what fits, in code and in words. What may be absent fits None."""

LARGEST_SIDE = 8192
"""Pixels; a file that asks for more at once would take memory without end."""


def read_values(metadata: Mapping[str, str], expected: Expected, path: Path, *, kind: str) -> dict[str, Any]:
    """The values of the expected keys; lists become tuples.

    Args:
        metadata: of the file at `path`.
        expected: by key.
        path: for messages.
        kind: of network, for messages.

    Raises:
        UserError: when a value is missing or not what was expected; it names the key.
    """
    return {key: _value(metadata, key, wanted, (path, kind)) for key, wanted in expected.items()}


def _value(
    metadata: Mapping[str, str], key: str, wanted: tuple[Callable[[Any], bool], str], source: tuple[Path, str]
) -> Any:
    (fits, said), (path, kind) = wanted, source
    if key not in metadata:
        if fits(None):
            return None
        raise UserError(f"{path}: its metadata has no {key!r}; expected {said}. Is it an exported {kind} network?")
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError):
        value = object()  # fits nothing
    if not fits(value):
        raise UserError(f"{path}: {key!r} in its metadata is {metadata[key][:80]}; expected {said}")
    return tuple(value) if isinstance(value, list) else value


def is_names(value: Any) -> bool:
    """A list of one text or more."""
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def is_whole(value: Any, *, smallest: int, largest: int) -> bool:
    """A whole number in a range."""
    return type(value) is int and smallest <= value <= largest


def are_sizes(smallest: int) -> Callable[[Any], bool]:
    """For lists of (height, width) from `smallest` to `LARGEST_SIDE`."""

    def fits(value: Any) -> bool:
        pair = isinstance(value, list) and len(value) == 2
        return pair and all(is_whole(size, smallest=smallest, largest=LARGEST_SIDE) for size in value)

    return fits
