"""Files and folders that are either complete or absent."""

import csv
import errno
import math
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from common.errors import UserError

MEBIBYTE = 1 << 20
DAY_S = 86_400

_LONGEST_STEM = 100  # of a temporary name, which is longer than the file's own


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced to disk and renamed to `path`.

    A reader sees the old file or the new one, never a part. On an error the temporary file is removed and `path` is
    left as it was. The temporary name keeps the suffix, by which writers choose their format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.stem), suffix=f".tmp{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would lock colleagues out of a shared folder
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:  # a write that finds the disk full does not say where, and NumPy's not even what
        if error.errno is None and shutil.disk_usage(path.parent).free < MEBIBYTE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields an empty folder in a hidden one beside `path`; on success it is renamed to `path`.

    A reader sees the new folder whole or not at all. On an error it goes, and `path` is left as it was.

    Args:
        path: of the folder.
        replace: whether it takes the place of what is there by then; otherwise that stays, and the new one goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path.name), suffix=".tmp"))
    made = temporary / "made"
    try:
        made.mkdir()  # inside, as mkdtemp's 0700 would lock colleagues out of it
        yield made
        if replace and path.exists():
            path.rename(temporary / "before")
        if not path.exists():
            made.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prefix(name: str) -> str:
    """Of a temporary name: that of its file, and its writer, by whom `sweep` knows whether it is still written."""
    return f".{name[:_LONGEST_STEM]}.{socket.gethostname()}~{os.getpid()}~"


def require_writable(folder: Path) -> None:
    """Makes a folder if need be.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write there ({error.strerror}); expected a folder that you may write to. Choose another."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[str | float]]) -> None:
    """Writes a table, whole or not at all; numbers with six digits, NaN as an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def link(path: Path, target: Path) -> None:
    """Lets `path` point to `target`, which lies in the same folder or below it, at once."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}~{os.getpid()}~link.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target.relative_to(path.parent))
    except OSError:  # a file system without links
        shutil.copyfile(target, temporary)
    temporary.replace(path)


def sweep(folder: Path, *, below: bool = True) -> None:
    """Removes what dead writers left: temporary files and folders of ended processes of this host, or a day old.

    Args:
        folder: where.
        below: in the folders in it too.
    """
    for path in [*folder.glob("**/.*.tmp*" if below else ".*.tmp*")]:
        writer = re.search(r"~(\d+)~\w+\.tmp", path.name)
        if writer is None:
            continue
        here = path.name.partition("~")[0].endswith(f".{socket.gethostname()}")
        if (here and not _alive(int(writer[1]))) or _age_s(path) > DAY_S:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # its writer has just finished
        return 0.0


def fingerprint_of(path: Path) -> str:
    """Eight hex digits that change with the file's size, first or last mebibyte."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    size = path.stat().st_size
    digest = blake2b(str(size).encode(), digest_size=4)
    with path.open("rb") as file:
        digest.update(file.read(MEBIBYTE))
        file.seek(max(size - MEBIBYTE, 0))
        digest.update(file.read())
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
