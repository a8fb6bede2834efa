"""What all ranks must agree on, exchanged on the CPU so that no device waits."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

_TIMEOUT = timedelta(days=1)  # the watch of a run notices a hang earlier, and says more
_groups: dict[Any, Any] = {}  # by the default group, which a later run in this process makes anew


def sum_over_ranks(values: Sequence[int]) -> list[int]:
    """The sums of each rank's values, the same on all ranks; the values themselves in a single process.

    All ranks call it equally often, with equally many values.
    """
    if not _several():
        return list(values)
    sums = torch.tensor(values, dtype=torch.int64)
    distributed.all_reduce(sums, group=_group())
    found: list[int] = sums.tolist()
    return found


def gather_from_ranks(value: Any) -> list[Any]:
    """Each rank's value, in the order of ranks; values are pickled among processes of one run."""
    if not _several():
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value, group=_group())
    return found


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _group() -> Any:
    """A group that works on CPU tensors, beside a default group that may not."""
    default = distributed.group.WORLD
    if distributed.get_backend() == "gloo":
        return default
    if default not in _groups:
        _groups.clear()
        _groups[default] = distributed.new_group(backend="gloo", timeout=_TIMEOUT)
    return _groups[default]
