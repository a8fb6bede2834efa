"""Running statistics of norm layers: what a forward pass changes in training, beside the gradients."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class RunningStatistics:
    """Running statistics of a network's norm layers, kept and put back.

    They are joined to one flat tensor per type, which is several times faster than a copy of each.

    Args:
        network: each layer in it that has a buffer named `running_...` counts, with all of its own buffers.
    """

    def __init__(self, network: nn.Module) -> None:
        self._buffers: dict[torch.dtype, dict[str, Tensor]] = {}
        for layer, key, buffer in _running(network):
            self._buffers.setdefault(buffer.dtype, {})[f"{layer}.{key}"] = buffer.detach().view(-1)
        self._groups = [list(buffers.values()) for buffers in self._buffers.values()]
        self._sizes = [[len(buffer) for buffer in group] for group in self._groups]
        self._kept = self.now()

    def now(self) -> list[Tensor]:
        """A flat copy per type."""
        return [torch.cat(group) for group in self._groups]

    def keep(self) -> None:
        """Notes the present values."""
        for group, kept in zip(self._groups, self._kept, strict=True):
            torch.cat(group, out=kept)

    def put_back(self, now: Sequence[Tensor], *, where: Bool[Tensor, ""]) -> None:
        """Sets the kept values where `where` is true, else those of `now`; on the device, without waiting for it."""
        for group, sizes, kept, new in zip(self._groups, self._sizes, self._kept, now, strict=True):
            torch._foreach_copy_(group, torch.split(torch.where(where, kept, new), sizes))

    def not_finite(self, now: Sequence[Tensor]) -> list[str]:
        """Names of the buffers that are not finite in a copy."""
        return [
            name
            for buffers, sizes, new in zip(self._buffers.values(), self._sizes, now, strict=True)
            for name, values in zip(buffers, torch.split(new, sizes), strict=True)
            if not torch.isfinite(values).all()
        ]


def _running(network: nn.Module) -> list[tuple[str, str, Tensor]]:
    """(layer, name, buffer) of all layers that keep running statistics."""
    layers = {name: dict(layer.named_buffers(recurse=False)) for name, layer in network.named_modules()}
    return [
        (name, key, buffer)
        for name, buffers in layers.items()
        if any(own.startswith("running_") for own in buffers)
        for key, buffer in buffers.items()
    ]
