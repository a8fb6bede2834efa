"""`train.csv`, `val.csv`, `test.csv` -> records: which files, and which split they are for.

    image,mask
    scenes/river_7.tif,masks/river_7.png

A list names files by their paths from the data root. Whatever it says, no path leaves that folder, no file is named
twice, and none is in two splits: a model would be tested on what it has learned from.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from common.data.text import read_table
from common.errors import UserError
from common.files import write_text

SPLITS = ("train", "val", "test")

FILELISTS = "filelists"
"""Folder of a data root, in which lists hold nothing but names of files."""

HEADERS = ("name", "file", "filename", "scene")
"""Words that such a list may begin with."""


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


def read_filelists(root: Path, folder: Path, *, follow_links: bool = False) -> list[Listed]:
    """The rows of `filelists/train.csv`, `val.csv` and `test.csv`: one column, names of files in one folder.

    The first line may be one of `HEADERS`. Lists other than that for training may be empty or absent.

    Args:
        root: the data root.
        folder: that the named files are in.
        follow_links: whether a symbolic link may lead out of that folder.

    Raises:
        UserError: no list for training or none in it, a list that is not of this form, or one that names what is not
            a file in the folder, or a file twice.
    """
    lists = find_lists(root / FILELISTS)
    if "train" not in lists:
        raise UserError(f"{root / FILELISTS / 'train.csv'}: no such list; write one file name to a line")
    rows = [
        row for split, file in lists.items() for row in _named(file, split, folder=folder, follow_links=follow_links)
    ]
    if not any(row.split == "train" for row in rows):
        raise UserError(f"{lists['train']}: names nothing, expected one file of {folder} or more to train on")
    _refuse_doubles(rows)
    return rows


def _named(file: Path, split: str, *, folder: Path, follow_links: bool) -> Iterator[Listed]:
    for number, (line, cells) in enumerate(read_table(file)):
        origin, cell = f"{file}: line {line}", cells[0].strip()
        if len(cells) != 1:
            raise UserError(f"{origin}: {len(cells)} cells, expected one name; a comma in a name needs quotes")
        if number == 0 and cell.lower() in HEADERS:
            continue
        if "/" in cell or "\\" in cell:
            raise UserError(f"{origin}: found {cell[:200]!r}, expected the name of a file in {folder}, without folders")
        path = _file(cell, folder, where=origin)
        if not follow_links:
            _refuse_links_out([path], folder, origin)
        yield Listed(split, (path,), origin)


def write_filelists(root: Path, names: Mapping[str, Sequence[str]], *, overwrite: bool = False) -> None:
    """Writes `filelists/<split>.csv` for each split; a split without names gets an empty list.

    A run that is killed meanwhile leaves no list for training, so that no half of it is taken for the whole.

    Args:
        root: the data root.
        names: of files, by "train", "val" and "test".
        overwrite: whether lists that are there may go.

    Raises:
        UserError: lists are there, or a name cannot be written into one.
    """
    folder = root / FILELISTS
    there = find_lists(folder)
    if there and not overwrite:
        raise UserError(
            f"{folder}: holds {', '.join(f'{split}.csv' for split in there)}; move them, or allow to overwrite"
        )
    bad = next((name for part in names.values() for name in part if not _can_be_listed(name)), None)
    if bad is not None:
        raise UserError(
            f"{bad!r}: a list holds no names with slashes, line breaks or spaces at the ends; rename the file"
        )
    if "train" in there:
        there["train"].unlink()
    for split in reversed(SPLITS):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([[HEADERS[0]], *([name] for name in names.get(split, ()))])
        write_text(folder / f"{split}.csv", text.getvalue())


def _can_be_listed(name: str) -> bool:
    return name == name.strip() != "" and name.isprintable() and not set(name) & {"/", "\\"}
