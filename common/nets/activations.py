"""The activation of a network: found by name, counted, exchanged."""

from collections import Counter

from torch import nn

from common.errors import UserError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "leakyrelu": nn.LeakyReLU,
    "mish": nn.Mish,
}
"""Activations by the name that configs use."""

_SAME_AS_SILU = {"swish", "memoryefficientswish"}


def activation(name: str) -> nn.Module:
    """A new activation by name; a `UserError` lists the known names."""
    if name not in ACTIVATIONS:
        raise UserError(f"activation: found {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def main_activation(module: nn.Module) -> str:
    """The name of the activation that `module` uses most often; "relu" where it has none of the known ones."""
    names = (type(child).__name__.lower() for child in module.modules())
    counts = Counter("silu" if name in _SAME_AS_SILU else name for name in names)
    return max(ACTIVATIONS, key=lambda name: (counts[name], name == "relu"))


def exchange_activation(module: nn.Module, name: str) -> None:
    """Replaces every ReLU inside `module` by the activation `name`, in place."""
    for key, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, key, activation(name))
        else:
            exchange_activation(child, name)
