"""The table of a run's metrics, `metrics.csv`, which no restart and no full disk makes shorter or longer."""

import csv
import errno
import io
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from common.errors import UserError
from common.files import atomic_path


class RowLogger(Logger):
    """Writes one row of `<folder>/metrics.csv` per call of `log_metrics`, on rank zero.

    Columns are `epoch`, `step`, then the others in order of appearance; a cell is empty where a row has no such value.
    A row reaches the operating system before `log_metrics` returns, so a killed process loses none. It is appended;
    only a column that no row had before rewrites the file. A file that is there already is continued, less a last line
    that a kill has torn. Lightning's CSVLogger deletes it.

    A checkpoint records `sync()`. A run that goes on from it calls `rewind` with that number and logs the rows after it
    again: none is lost, none doubled.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.path = folder / "metrics.csv"
        self._columns: dict[str, None] = {}  # a dict for its order and its quick look-up
        self._pending: list[list[Any]] = []  # logged, not on disk: empty but for a full disk
        self._width = self._rows = self._size = 0  # columns, rows and bytes on disk
        self._file: io.FileIO | None = None
        self._found = False

    @property
    def name(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def root_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    log_dir = save_dir = root_dir

    @property
    def rows(self) -> int:
        """Number of rows logged so far, those of earlier processes included; 0 on other ranks."""
        return rank_zero_only(self._find, 0)() + len(self._pending)

    def sync(self) -> int:
        """Makes all rows outlast a power cut; returns their number, 0 on other ranks.

        Raises:
            UserError: the disk is full.
        """
        return rank_zero_only(self._sync, 0)()

    @rank_zero_only
    def rewind(self, rows: int) -> None:
        """Keeps the first `rows` rows and drops what follows; a line of text says so where there are fewer.

        Args:
            rows: what `sync` returned when the checkpoint to go on from was written.
        """
        found = self._find()
        self._pending.clear()
        if rows < found:
            self._cut(_scan(self.path, rows + 1)[1])
            self._rows = rows
        elif rows > found:
            print(
                f"warning: {self.path} holds {found:,} whole rows and the checkpoint was written at row {rows:,}: "
                f"{rows - found:,} rows are gone (file lost or edited); training goes on, the table without them",
                file=sys.stderr,
            )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Appends a row.

        Args:
            metrics: numbers by name; `epoch` among them where it is known.
            step: the row's number by default.

        Raises:
            UserError: the disk is full. The row is kept and written by the next call that finds space.
        """
        self._find()
        row = {**metrics, "step": self.rows if step is None else step}
        for name in row.keys() - self._columns.keys():
            if "\n" in name or "\r" in name:
                raise UserError(f"metric {name!r}: a name of one line expected, as it heads a column of {self.path}")
        self._columns.update(dict.fromkeys(row))
        self._pending.append([_cell(row.get(name)) for name in self._columns])
        self._flush()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def save(self) -> None:
        """Writes what a full disk had kept back."""
        self._flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Makes all rows outlast a power cut, and closes the file until the next row.

        Raises:
            UserError: the disk is full; only a line of text after a failure, which is told already.
        """
        if not self._found:
            return
        try:
            self._sync()
        except UserError as error:
            if status == "success":
                raise
            print(f"warning: {error}", file=sys.stderr)
        self._close()

    def _find(self) -> int:
        """Reads what an earlier process left, once; returns the number of rows on disk."""
        if self._found:
            return self._rows
        header = []
        if self.path.is_file():
            lines, size = _scan(self.path)
            self._rows = max(lines - 1, 0)
            if size < self.path.stat().st_size:
                self._cut(size)
            self._size = size
            header = _header(self.path) if lines else []
        self._width = len(header)
        self._columns = dict.fromkeys(header or ("epoch", "step"))
        self._found = True
        return self._rows

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._width < len(self._columns):
            self._widen()
        lines = _lines(self._pending, len(self._columns))
        with _full_disk_is_user_error(self.path, len(lines)):
            self._append(lines)
        self._rows += len(self._pending)
        self._pending.clear()

    def _append(self, lines: bytes) -> None:
        """Writes all of it or nothing: a part that found space is taken back."""
        file = self._open()
        written = 0
        try:
            while written < len(lines):
                written += file.write(lines[written:])
        except OSError:
            file.truncate(self._size)
            raise
        self._size += written

    def _widen(self) -> None:
        """Writes the file anew with more columns, which are empty in the rows so far."""
        header = _lines([list(self._columns)], len(self._columns))
        padding = b"," * (len(self._columns) - self._width) + b"\n"
        needed = len(header) + self._size + self._rows * len(padding)
        with _full_disk_is_user_error(self.path, needed), atomic_path(self.path) as temporary:
            with temporary.open("wb") as target:
                target.write(header)
                target.writelines(line.rstrip(b"\r\n") + padding for line in self._rows_on_disk())
            size = temporary.stat().st_size
        self._close()  # the file of that name is another one now
        self._width, self._size = len(self._columns), size

    def _rows_on_disk(self) -> Iterator[bytes]:
        if self._width == 0:
            return
        with self.path.open("rb") as source:
            next(source)
            yield from source

    def _sync(self) -> int:
        self._find()
        self._flush()
        if self._rows:
            with _full_disk_is_user_error(self.path, 0):  # a network file system may say so only now
                os.fsync(self._open().fileno())
        return self._rows

    def _cut(self, size: int) -> None:
        """Shortens the file: one step for the file system, which needs no space."""
        self._close()
        with self.path.open("rb+") as file:
            file.truncate(size)
            os.fsync(file.fileno())
        self._size = size

    def _open(self) -> io.FileIO:
        if self._file is None:
            self._file = io.FileIO(self.path, "ab")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _cell(value: Any) -> Any:
    """What the csv module writes with all its digits: a number of Python's, or a text of one line."""
    if type(value) in (float, int) or value is None:
        return value
    if hasattr(value, "item"):  # a tensor or a number of numpy's
        return value.item()
    return " ".join(str(value).splitlines())


def _lines(rows: Sequence[Sequence[Any]], width: int) -> bytes:
    """Lines of CSV, each with this many cells."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*row, *[None] * (width - len(row))] for row in rows)
    return text.getvalue().encode()


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return next(csv.reader([file.readline()]))


def _scan(path: Path, limit: int | None = None) -> tuple[int, int]:
    """Number and bytes of the first `limit` whole lines of a file, of all by default."""
    lines = size = 0
    with path.open("rb") as file:
        for line in file:
            if lines == limit or not line.endswith(b"\n"):
                break
            lines, size = lines + 1, size + len(line)
    return lines, size


@contextmanager
def _full_disk_is_user_error(path: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free
        raise UserError(
            f"{path}: no space left on the disk: {needed:,} bytes needed, {free:,} free; free some, then run the same "
            "command again; the rows written so far are kept"
        ) from error
