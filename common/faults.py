"""What is not finite in a step, in words: fields and samples of its batches, terms of its loss, parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_SHOWN = 8
"""Names in a row before the rest is only counted."""


@runtime_checkable
class Sourced(Protocol):
    """A dataset that can say where a sample comes from."""

    def source_of(self, index: int) -> tuple[str, int]:
        """Name and number for people."""
        ...


@dataclass
class SeenBatch:
    """A batch that a step looked at.

    Attributes:
        number: in its epoch.
        batch: a mapping; "index" in it holds the number of each sample in the dataset.
        loss: of shape (); None before it is known.
        terms: other numbers that the step returned, by name.
    """

    number: int
    batch: Any
    loss: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether the loss is; waits for the device."""
        return self.loss is None or bool(torch.isfinite(self.loss))

    def describe(self, dataset: Any) -> str:
        """The terms of the loss, the fields of the batch that are not finite, and the samples."""
        rows = {name: _bad_rows(value) for name, value in _floating(self.batch).items()}
        fields = [name for name, bad in rows.items() if bad]
        said = [f"{name} = {value.item():.6g}" for name, value in self.terms.items()]
        said = [", ".join(said)] if said else []
        if fields:
            said.append(f"the input itself is not finite: {listed(fields)}")
        return "; ".join([*said, self.samples(dataset, sorted({row for bad in rows.values() for row in bad}))])

    def samples(self, dataset: Any, rows: Sequence[int] = ()) -> str:
        """Where the batch's samples come from; all of them unless rows are given."""
        indices = self.batch["index"].tolist() if _has(self.batch, "index") else None
        if indices is None:
            return f"batch {self.number}" + (f" rows {listed(rows)}" if rows else "")
        chosen = [indices[row] for row in rows] if rows and max(rows) < len(indices) else indices
        if isinstance(dataset, Sourced):
            return "samples: " + listed(["{} frame {}".format(*dataset.source_of(index)) for index in chosen])
        return f"samples: {listed(chosen)}"


def worst_parameters(network: nn.Module, parameters: Sequence[nn.Parameter], largest: Tensor | None) -> str:
    """Names of the parameters whose gradients are not finite, the one nearest the loss first.

    Args:
        network: that they belong to, its layers in the order of the forward pass.
        parameters: with gradients.
        largest: largest absolute value of each gradient; None if all are finite.
    """
    finite = [True] * len(parameters) if largest is None else torch.isfinite(largest).tolist()
    bad = {id(parameter) for parameter, good in zip(parameters, finite, strict=True) if not good}
    names = [name for name, parameter in network.named_parameters() if id(parameter) in bad]
    return f"gradients of {len(bad)} of {len(parameters)} parameters, nearest the loss {listed(names[::-1], shown=3)}"


def listed(things: Sequence[Any], *, shown: int = _SHOWN) -> str:
    """The first few, and how many more there are."""
    more = len(things) - shown
    return ", ".join(map(str, things[:shown])) + (f" and {more} more" if more > 0 else "")


def by_rank(reports: Sequence[str]) -> str:
    """What ranks have to say, with their numbers where there are several."""
    if len(reports) == 1:
        return reports[0]
    return "; ".join(f"rank {rank}: {report}" for rank, report in enumerate(reports) if report)


def _has(batch: Any, name: str) -> bool:
    return isinstance(batch, dict) and isinstance(batch.get(name), Tensor)


def _floating(batch: Any) -> dict[str, Tensor]:
    """The floating tensors of a batch by name, or by place in a sequence."""
    parts = (
        batch if isinstance(batch, dict) else dict(enumerate(batch)) if isinstance(batch, list | tuple) else {0: batch}
    )
    found = {str(name): value for name, value in parts.items() if isinstance(value, Tensor)}
    return {name: value for name, value in found.items() if value.is_floating_point()}


def _bad_rows(value: Tensor) -> list[int]:
    """Samples of a batch that are not finite."""
    finite = torch.isfinite(value)
    rows: list[int] = (~(finite.flatten(1).all(dim=1) if value.ndim > 1 else finite.view(-1))).nonzero()[:, 0].tolist()
    return rows
