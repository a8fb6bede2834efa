"""Memory that batches are written into, again and again."""

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.data.memory import round_up, show_bytes
from common.data.samples import Field
from common.data.slab import free_space, shared_folder
from common.errors import UserError

_SMALL = 1 << 16  # bytes


class Ring:
    """Buffers for batches, each holding all fields for `batch_size` samples.

    Shared with processes where `shared`; page-locked where there is a GPU, so that copies to it run beside the work.

    Raises:
        UserError: shared memory is too small.
    """

    def __init__(self, fields: Mapping[str, Field], *, batch_size: int, slots: int, shared: bool) -> None:
        self.fields, self.batch_size, self.slots = dict(fields), batch_size, slots
        self._size = sum(round_up(batch_size * field.nbytes) for field in fields.values())
        total = slots * self._size
        if shared and total > free_space(shared_folder()):
            raise UserError(
                f"{shared_folder()}: {slots} buffers of {batch_size} samples need {show_bytes(total)}, "
                f"{show_bytes(free_space(shared_folder()))} free; use threads (`workers: threads`), fewer workers or "
                "smaller batches, or enlarge it (docker: --shm-size)"
            )
        self._memory = torch.zeros(total, dtype=torch.uint8)
        if shared:
            self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self.pinned = False

    def arrays(self, slot: int, count: int) -> dict[str, np.ndarray]:
        """The arrays of one buffer for its first `count` samples."""
        return {name: tensor.numpy() for name, tensor in self.tensors(slot, count).items()}

    def batch(self, slot: int, count: int) -> dict[str, Tensor]:
        """What the caller gets: large fields in place; small ones copied, so that labels are safe to keep."""
        tensors = self.tensors(slot, count)
        return {name: each.clone() if each.nbytes <= _SMALL else each for name, each in tensors.items()}

    def pin(self) -> None:
        """Page-locks the buffers where there is a GPU; after workers were forked, who need not know."""
        if self.pinned or not torch.cuda.is_available():
            return
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        start = self._memory.data_ptr()
        self.pinned = int(runtime.cudaHostRegister(start, self._memory.numel(), 0)) == 0
        if self.pinned:
            weakref.finalize(self, runtime.cudaHostUnregister, start).atexit = False

    def tensors(self, slot: int, count: int) -> dict[str, Tensor]:
        """The same as tensors; they are valid until the buffer is used again."""
        start, found = slot * self._size, {}
        for name, field in self.fields.items():
            size = self.batch_size * field.nbytes
            flat = self._memory[start : start + size].view(_torch_dtype(field.dtype))
            found[name] = flat.view(self.batch_size, *field.shape)[:count]
            start += round_up(size)
        return found


def _torch_dtype(dtype: Any) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
