"""A loss before its division, sample by sample: what an evaluation adds up over batches and ranks."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


class LossParts(NamedTuple):
    """A batch's share of a loss that is a ratio of sums.

    All sums over all counts is the loss of all samples taken as one batch, however they were batched.

    Attributes:
        sums: of each sample's cost, float64 (float32 where the device has no such type).
        counts: what each sample adds to the divisor.
    """

    sums: Float[Tensor, " batch"]
    counts: Float[Tensor, " batch"]


def sum_samples(values: Shaped[Tensor, "batch *cells"]) -> Float[Tensor, " batch"]:
    """The sum of each sample's entries, wide enough not to depend on the other samples of the batch."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return values.reshape(len(values), -1).sum(dim=1, dtype=wide)
