"""`train.csv`, `val.csv`, `test.csv` -> records: which files, and which split they are for.

    image,mask
    scenes/river_7.tif,masks/river_7.png

A list names files by their paths from the data root. Whatever it says, no path leaves that folder, no file is named
twice, and none is in two splits: a model would be tested on what it has learned from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from common.data.text import read_table
from common.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listed:
    """One row of a list.

    Attributes:
        split: "train", "val" or "test".
        files: below the data root, in the order of the columns that were asked for.
        origin: list and line, for messages.
    """

    split: str
    files: tuple[Path, ...]
    origin: str


def find_lists(root: Path) -> dict[str, Path]:
    """The lists in a data root, by split."""
    files = {split: root / f"{split}.csv" for split in SPLITS}
    return {split: file for split, file in files.items() if file.is_file()}


def read_lists(root: Path, columns: Sequence[str], *, follow_links: bool = False) -> list[Listed]:
    """The rows of all lists in a data root, in their order; none where there is no list.

    Args:
        root: the data root.
        columns: headers of the columns that hold paths, as they are written; others are ignored.
        follow_links: whether a symbolic link may lead out of the data root, as where large files lie elsewhere.

    Raises:
        UserError: a list is not of this form, or names what is not a file in the root, or a file twice.
    """
    rows = [
        row
        for split, file in find_lists(root).items()
        for row in _rows(file, split, root=root, columns=columns, follow_links=follow_links)
    ]
    _refuse_doubles(rows)
    return rows


def _rows(file: Path, split: str, *, root: Path, columns: Sequence[str], follow_links: bool) -> Iterator[Listed]:
    table = read_table(file)
    header = [name.strip() for name in next(table, (1, [""]))[1]]
    if any(header.count(name) != 1 for name in columns):
        raise UserError(
            f"{file}: header: found {','.join(header)!r}, expected {' and '.join(columns)} once each; name the columns "
            "in the first line"
        )
    for line, cells in table:
        origin = f"{file}: line {line}"
        if len(cells) != len(header):
            raise UserError(f"{origin}: {len(cells)} cells, expected {len(header)}; a comma in a name needs quotes")
        named = dict(zip(header, cells, strict=True))
        files = [_file(named[name].strip(), root, where=f"{origin}, column {name}") for name in columns]
        if not follow_links:
            _refuse_links_out(files, root, origin)
        yield Listed(split, tuple(files), origin)


def _file(cell: str, root: Path, *, where: str) -> Path:
    """The file that a cell names, by a path that leads into the root unless a link leads out."""
    relative = PurePosixPath(cell)
    if not cell or not cell.isprintable():
        raise UserError(f"{where}: found {cell[:200]!r}, expected the path of a file from {root}")
    if relative.is_absolute() or PureWindowsPath(cell).anchor or "://" in cell or ".." in relative.parts:
        raise UserError(f"{where}: found {cell[:200]!r}, expected a path from {root} down; move the file there")
    try:
        found = (root / relative).is_file()
    except OSError:  # too long a name
        found = False
    if not found:
        hint = "; folders are parted by /" if "\\" in cell else ""
        raise UserError(f"{where}: no file {cell[:200]!r} in {root}; mend the list or put the file there{hint}")
    return root / relative


def _refuse_links_out(files: Sequence[Path], root: Path, origin: str) -> None:
    inside = root.resolve()
    out = next((file for file in files if not file.resolve().is_relative_to(inside)), None)
    if out is not None:
        raise UserError(
            f"{origin}: {out} is a link to {out.resolve()}, outside of {inside}; put the file itself there, or "
            "allow such links (follow_links)"
        )


def _refuse_doubles(rows: Sequence[Listed]) -> None:
    first: dict[Path, Listed] = {}
    for listed, file in [(row, file) for row in rows for file in row.files]:
        other = first.get(file.resolve())
        if other is not None:
            what = "twice" if other.split == listed.split else f"for {other.split} and for {listed.split}"
            raise UserError(f"{listed.origin}: {file} is listed {what}, before at {other.origin}; keep one of the two")
        first[file.resolve()] = listed
