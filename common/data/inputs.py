"""Files that a user names: one, or all of a folder that have a known suffix."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
"""Suffixes of video files."""


def find_inputs(source: Path, suffixes: Sequence[str], *, what: str) -> list[Path]:
    """`source` itself if it is a file, else the files in the folder that have one of the suffixes, sorted by name.

    Args:
        source: file or folder.
        suffixes: in small letters, with the dot; large ones count too.
        what: a file is, such as "video".

    Raises:
        UserError: when there is no such file, or none in the folder.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; expected a {what} or a folder of {what}s. Check the path.")
    files = sorted(file for file in source.iterdir() if file.is_file())
    found = [file for file in files if file.suffix.lower() in suffixes]
    if not found:
        others = ", ".join(file.name for file in files[:3]) or "an empty folder"
        raise UserError(
            f"{source}: no {what} in this folder (found {others}); expected files like {', '.join(suffixes)}"
        )
    return found


def require_own_names(files: Sequence[Path], *, what: str) -> None:
    """Refuses files that differ in their suffix only, as their results would have the same name.

    Raises:
        UserError: names the first such pair.
    """
    first: dict[str, Path] = {}
    for file in files:
        if (other := first.setdefault(file.stem, file)) is not file:
            raise UserError(
                f"{file.parent}: several {what}s are called {file.stem}, so would be their results: {other.name} and "
                f"{file.name}; rename one"
            )
