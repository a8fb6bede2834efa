"""ONNX out: one file with dynamic sizes and metadata, written only when it agrees with the network."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.onnx.errors import OnnxExporterError

from common.errors import UserError
from common.files import atomic_path


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime and torch differ.

    Attributes:
        shapes: input shapes that were compared.
        relative_error: greatest |onnx - torch| over greatest |torch|, worst over outputs and shapes.
    """

    shapes: tuple[tuple[int, ...], ...]
    relative_error: float


def export_onnx(
    module: nn.Module,
    example: Float[Tensor, "*shape"],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[int, str],
    metadata: Mapping[str, str],
    tolerance: float = 1e-4,
) -> Parity:
    """Writes `module` as ONNX and compares it with torch at three other shapes.

    The network must take one tensor, return a tensor or a (named) tuple of tensors, and compute every size from its
    input: `y.shape[-2:]`, not a number kept from an earlier call. Pooling to a fixed grid (PSPNet, UPerNet) cannot be
    written with free sizes. Free sizes of the example are doubled and tripled for the comparison: keep it small.

    Args:
        module: moved to the CPU and put in eval mode.
        example: an input; its range is the range of the random inputs for the comparison.
        path: file to write; an older one stays as it is when anything fails.
        inputs: name of the input.
        outputs: names of the outputs, in order.
        dynamic: names of the axes whose size may change, by axis of the input; axis 0 is the batch.
        metadata: written into the file's `metadata_props`, see `read_metadata`.
        tolerance: greatest relative error allowed.

    Raises:
        UserError: when the network cannot be exported, fixes an axis in `dynamic`, or differs by more than `tolerance`.
    """
    module.cpu().eval()
    example = example.cpu()
    try:
        with _quiet():
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=(dict(dynamic),), input_names=list(inputs),
                output_names=list(outputs), verbose=False,
            )  # fmt: skip
    except OnnxExporterError as error:
        raise UserError(
            f"{path}: the network cannot be exported with free {', '.join(dynamic.values())} from an example of "
            f"{tuple(example.shape)}: {error.__cause__ or error}"
        ) from error
    assert program is not None  # None only from the exporter that dynamo=True replaces
    program.model.metadata_props.update(metadata)
    with atomic_path(path) as temporary:
        program.save(temporary)
        onnx.checker.check_model(temporary, full_check=True)
        parity = compare(module, temporary, other_shapes(example.shape, dynamic), (example.min(), example.max()))
        if not parity.relative_error <= tolerance:  # a NaN also fails
            raise UserError(
                f"{path}: not written, its output differs from torch by {parity.relative_error:.2g} of the greatest "
                f"value; expected at most {tolerance:.2g}. Does it pool to a fixed grid or keep a state between calls?"
            )
    return parity


def other_shapes(shape: Sequence[int], dynamic: Mapping[int, str]) -> list[tuple[int, ...]]:
    """Three shapes with batch 1, 2, 3 and every other dynamic axis once, twice, thrice as long, in turn."""
    shapes = []
    for turn in range(3):
        sizes = {axis: shape[axis] * (1 + (rank + turn) % 3) for rank, axis in enumerate(sorted(dynamic), start=1)}
        if 0 in dynamic:
            sizes[0] = turn + 1
        shapes.append(tuple(sizes.get(axis, size) for axis, size in enumerate(shape)))
    return shapes


def compare(
    module: nn.Module,
    path: Path,
    shapes: Sequence[tuple[int, ...]],
    limits: tuple[Float[Tensor, ""], Float[Tensor, ""]],
) -> Parity:
    """Runs `module` and the ONNX file at `path` on uniform random inputs between `limits`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # its default ignores CPU limits of containers
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    errors = []
    for shape in shapes:
        images = torch.rand(shape, generator=generator) * (limits[1] - limits[0]) + limits[0]
        found = _run(session, images)
        with torch.inference_mode():
            expected = module(images)
        expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
        errors += [_relative_error(a.numpy(), b) for a, b in zip(expected, found, strict=True)]
    return Parity(tuple(shapes), float(np.max(errors)))


def _run(session: onnxruntime.InferenceSession, images: Float[Tensor, "*shape"]) -> list[Shaped[np.ndarray, "..."]]:
    try:
        return list(session.run(None, {session.get_inputs()[0].name: images.numpy()}))
    except Exception as error:  # onnxruntime's own exceptions have no other base
        raise UserError(
            f"the exported network fails at an input of {tuple(images.shape)}: {error}. Does it pool to a fixed grid?"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata that `export_onnx` wrote.

    Raises:
        UserError: when `path` is missing or not an ONNX file.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file. Check the path.") from error
    except DecodeError as error:
        raise UserError(f"{path}: not an ONNX file. Write one with the export verb.") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _relative_error(expected: Shaped[np.ndarray, "*shape"], found: Shaped[np.ndarray, "*shape"]) -> float:
    scale = max(float(np.abs(expected).max()), np.finfo(np.float32).tiny)
    return float(np.abs(expected - found).max() / scale)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs and warns about its own insides; errors still come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
