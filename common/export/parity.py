"""How far an ONNX file's answers are from torch's."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from common.errors import UserError

Ties = Callable[[Tensor], Mapping[str, Tensor]]
"""From an input: where outputs of integers may fall either way, bool and as large as the output, by its name."""


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime and torch differ.

    Attributes:
        shapes: input shapes that were compared.
        relative_error: greatest |onnx - torch| over greatest |torch|, worst over outputs of floats and shapes.
        differing: share of the values that differ and are no ties, worst over outputs of integers and shapes.
    """

    shapes: tuple[tuple[int, ...], ...]
    relative_error: float
    differing: float = 0.0


def no_ties(images: Tensor) -> Mapping[str, Tensor]:
    """For networks whose outputs have no threshold in them."""
    return {}


@dataclass(frozen=True)
class Tolerance:
    """How far a file may differ from torch.

    Attributes:
        relative_error: greatest of outputs of floats, see `Parity`.
        ties: where outputs of integers may differ; nowhere else. A mask may where its probability is at the threshold:
            `lambda images: {"mask": (net.probability(images) - net.threshold).abs() < 1e-4}`.
    """

    relative_error: float = 1e-4
    ties: Ties = no_ties


EXACT = Tolerance()


def other_shapes(shape: Sequence[int], dynamic: Mapping[int, str]) -> list[tuple[int, ...]]:
    """Three shapes with batch 1, 2, 3 and every other dynamic axis once, twice, thrice as long, in turn."""
    shapes = []
    for turn in range(3):
        sizes = {axis: shape[axis] * (1 + (rank + turn) % 3) for rank, axis in enumerate(sorted(dynamic), start=1)}
        if 0 in dynamic:
            sizes[0] = turn + 1
        shapes.append(tuple(sizes.get(axis, size) for axis, size in enumerate(shape)))
    return shapes


def other_inputs(example: Float[Tensor, "*shape"], dynamic: Mapping[int, str]) -> Iterator[Float[Tensor, "..."]]:
    """The example repeated to `other_shapes`, with a hundredth of noise, so that no two parts are the same."""
    generator = torch.Generator().manual_seed(0)
    known = example[~example.isnan()]
    for shape in other_shapes(example.shape, dynamic):
        images = example
        for axis, size in enumerate(shape):
            images = images.index_select(axis, torch.arange(size) % example.shape[axis])
        noise = known.min() + (known.max() - known.min()) * torch.rand(shape, generator=generator)
        yield torch.lerp(images, noise, 0.01)


def compare(module: nn.Module, path: Path, images: Iterable[Float[Tensor, "..."]], *, ties: Ties = no_ties) -> Parity:
    """Runs `module` and the ONNX file at `path` on batches of `images`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # its default ignores CPU limits of containers
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    parities = [_compare(module, session, batch, ties) for batch in images]
    return Parity(
        tuple(shape for parity in parities for shape in parity.shapes),
        float(np.max([parity.relative_error for parity in parities])),
        float(np.max([parity.differing for parity in parities])),
    )


def _compare(module: nn.Module, session: onnxruntime.InferenceSession, images: Tensor, ties: Ties) -> Parity:
    found = _run(session, images)
    with torch.inference_mode():
        expected, tied = module(images), ties(images)
    expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
    errors, differing = [0.0], [0.0]
    for output, a, b in zip(session.get_outputs(), expected, found, strict=True):
        if a.is_floating_point():
            errors.append(_relative_error(a.numpy(), b))
        else:
            differing.append(_differing(a.numpy(), b, tied.get(output.name)))
    return Parity((tuple(images.shape),), float(np.max(errors)), max(differing))


def _run(session: onnxruntime.InferenceSession, images: Float[Tensor, "*shape"]) -> list[Shaped[np.ndarray, "..."]]:
    try:
        return list(session.run(None, {session.get_inputs()[0].name: images.numpy()}))
    except Exception as error:  # onnxruntime's own exceptions have no other base
        raise UserError(
            f"the exported network fails at an input of {tuple(images.shape)}: {error}. Does it pool to a fixed grid?"
        ) from error


def _relative_error(expected: Shaped[np.ndarray, "..."], found: Shaped[np.ndarray, "..."]) -> float:
    if expected.shape != found.shape:
        return math.inf
    scale = max(float(np.abs(expected).max()), np.finfo(np.float32).tiny)
    return float(np.abs(expected - found).max() / scale)


def _differing(expected: Shaped[np.ndarray, "..."], found: Shaped[np.ndarray, "..."], tied: Tensor | None) -> float:
    if expected.shape != found.shape:
        return 1.0
    counted = np.ones(expected.shape, bool) if tied is None else ~tied.numpy()
    return float(np.mean((expected != found)[counted])) if counted.any() else 0.0
