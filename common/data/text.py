"""A text file of bounded size."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

LARGEST_BYTES = 64 << 20
"""Labels of nine hours of video at 60 frames per second, or as many paths: what is larger is no such file."""

LARGEST_ROWS = 2_000_000
LONGEST_LINE = 1 << 16


def read_text(path: Path, *, largest: int = LARGEST_BYTES) -> str:
    """The text of a file, UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        largest: bytes; no more than this is ever read.

    Raises:
        UserError: no file, a larger one, or one that is not text.
    """
    if not path.is_file():  # a pipe would block
        raise UserError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UserError(
            f"{path}: {path.stat().st_size:,} bytes, expected a text file of at most {largest:,}; is it another kind "
            "of file? If not, divide it"
        )
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a UTF-8 text file ({error}); save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}: line {line} holds a zero byte, as no text does; save it as UTF-8 text again")
    return text


def read_table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty: their number in the file, from 1, and their cells.

    Raises:
        UserError: as `read_text`, too many rows or too long ones, or a quote that is not closed.
    """
    text = read_text(path)
    lines = max(text.count("\n"), text.count("\r"))
    if lines > LARGEST_ROWS:
        raise UserError(f"{path}: {lines:,} lines, expected at most {LARGEST_ROWS:,}; divide the file")
    table = csv.reader(_lines(text), strict=True)
    try:
        yield from ((table.line_num, cells) for cells in table if cells)
    except csv.Error as error:
        raise UserError(f"{path}: line {table.line_num}: {error}; save it as comma-separated text again") from error


def _lines(text: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        if len(line) > LONGEST_LINE:
            raise csv.Error(f"{len(line):,} characters, expected at most {LONGEST_LINE:,}")
        yield line
