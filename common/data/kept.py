"""What is kept open of files, for each thread and process of its own."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from common.errors import BadRecordError

Opened = TypeVar("Opened")


class Kept(threading.local, Generic[Opened]):
    """The things last made from files; the one not used for longest goes first.

    Each thread keeps its own, as few libraries read one handle from two threads, and so does each process, as a forked
    handle shares its parent's place in the file. A file that has changed is opened anew.

    Args:
        make: opens or decodes a file.
        most: how many are kept: descriptors and memory are limited.
    """

    def __init__(self, make: Callable[[Path], Opened], *, most: int) -> None:
        self._make, self._most = make, most
        self._process = os.getpid()
        self._opened: OrderedDict[tuple[object, ...], Opened] = OrderedDict()

    def of(self, path: Path) -> Opened:
        """What is made from a file.

        Raises:
            BadRecordError: the file is gone, or what `make` raises.
        """
        if self._process != os.getpid():
            self._process, self._opened = os.getpid(), OrderedDict()
        try:
            found = path.stat()
            key = (path, found.st_ino, found.st_size, found.st_mtime_ns)
            if key not in self._opened:
                while len(self._opened) >= self._most:
                    self._opened.popitem(last=False)
                self._opened[key] = self._make(path)
        except OSError as error:
            raise BadRecordError(path, f"cannot be read ({error.strerror}); put the file back") from error
        self._opened.move_to_end(key)
        return self._opened[key]
