"""How large the shared memory of a cache is, and how it is divided."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from common.data.memory import Budget, free_memory, round_up, show_bytes
from common.data.slab import free_space
from common.errors import UserError

QUEUE = 4096  # records that may be queued to go
ROWS = 256  # processes that count at once
_PAGE = 4096
_PAGE_NOTES = 8  # bytes of a page's owner and place among the free


class Sizes(NamedTuple):
    """Numbers of a slab: records, pages, bytes of a page, pages of the largest record."""

    records: int
    pages: int
    page_bytes: int
    per_record: int

    def arrays(self) -> Iterator[tuple[str, tuple[int, ...], type]]:
        """The arrays in shared memory: name, shape and type."""
        yield "head", (16,), np.int64
        yield "table", (self.records, self.per_record), np.int32
        yield "version", (self.records,), np.int64
        yield "digest", (self.records,), np.uint64
        yield "touched", (self.records,), np.uint8
        yield "asked", (self.records,), np.uint8
        yield "owner", (self.pages,), np.int32
        yield "free", (self.pages,), np.int32
        yield "queue_record", (QUEUE,), np.int32
        yield "queue_due", (QUEUE,), np.int64
        yield "process", (ROWS,), np.int64
        yield "counts", (ROWS, 8), np.float64
        yield "data", (self.pages, self.page_bytes), np.uint8

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(round_up(array_bytes(shape, kind)) for _, shape, kind in self.arrays())


def array_bytes(shape: tuple[int, ...], kind: type) -> int:
    """Bytes of an array."""
    return math.prod(shape) * int(np.dtype(kind).itemsize)


def pages_for(nbytes: Int64[np.ndarray, " records"]) -> tuple[int, Int64[np.ndarray, " records"]]:
    """Bytes of a page, and pages of each record.

    One page where all records are alike. Else a record wastes half a page and its row of the table takes four bytes for
    each page of the largest: together least at the root of eight times that record.
    """
    largest = int(nbytes.max(initial=1))
    size = largest if (nbytes == largest).all() else max(_PAGE, math.isqrt(8 * largest))
    size = round_up(size)
    return size, np.maximum(-(-nbytes // size), 1)


def sizes_within(budget: Budget, nbytes: Int64[np.ndarray, " records"], folder: Path) -> Sizes:
    """As many pages as the budget allows, and no more than all records take; none if the largest does not fit.

    Args:
        budget: an amount is of records, and tables come on top; a share is of all that is taken.
        nbytes: of each record.
        folder: that the memory is in.

    Raises:
        UserError: the amount is not free.
    """
    page_bytes, needed = pages_for(nbytes)
    memory = free_memory()
    whole = Sizes(len(nbytes), int(needed.sum()), page_bytes, int(needed.max(initial=1)))
    if budget.size is not None:
        pages = budget.size * whole.pages // max(int(nbytes.sum()), 1)
    else:
        left = budget.of(min(memory.free, free_space(folder))) - whole._replace(pages=0).size - 2 * _PAGE
        pages = max(0, left // (page_bytes + _PAGE_NOTES))
    pages = min(whole.pages, pages)
    sizes = whole._replace(pages=pages) if pages >= whole.per_record else whole._replace(pages=0, per_record=1)
    if sizes.size > memory.free:
        raise UserError(
            f"cache: {show_bytes(sizes.size)} needed, {show_bytes(memory.free)} of memory free ({memory.limit}); "
            'give a smaller one (`cache: "50%"`, `2GB`, or 0 for none)'
        )
    return sizes
