"""ONNX out: one file with dynamic sizes and metadata, written only when it agrees with the network."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from jaxtyping import Float
from torch import Tensor, nn
from torch.onnx.errors import OnnxExporterError

from common.errors import UserError
from common.export.parity import EXACT, Parity, Tolerance, compare, other_inputs
from common.files import atomic_path

MEGABYTE = 10**6

LARGEST = 250 * MEGABYTE
"""Bytes of a file; far below the 2 GB where ONNX must put the weights into a second file."""


def export_onnx(
    module: nn.Module,
    example: Float[Tensor, "*shape"],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[int, str],
    metadata: Mapping[str, str],
    tolerance: Tolerance = EXACT,
) -> Parity:
    """Writes `module` as ONNX and compares it with torch at three other shapes.

    The network must take one tensor, return a tensor or a (named) tuple of tensors, and compute every size from its
    input: `y.shape[-2:]`, not a number kept from an earlier call. Pooling to a fixed grid (PSPNet, UPerNet) cannot be
    written with free sizes. Free sizes of the example are doubled and tripled for the comparison: keep it small.

    Args:
        module: moved to the CPU and put in eval mode.
        example: an input, best a real one, as inputs of other shapes are made of its values; NaN where it may be.
        path: file to write; an older one stays as it is when anything fails.
        inputs: name of the input.
        outputs: names of the outputs, in order.
        dynamic: names of the axes whose size may change, by axis of the input; axis 0 is the batch. An axis whose size
            is always a multiple says so: "32*rows".
        metadata: written into the file's `metadata_props`, see `read_metadata`.
        tolerance: greatest differences allowed.

    Raises:
        UserError: when the network cannot be exported, is larger than `LARGEST`, fixes an axis in `dynamic`, or differs
            by more than `tolerance`.
    """
    module.cpu().eval()
    example = example.cpu()
    _refuse_large(path, sum(tensor.nbytes for tensor in module.state_dict().values()))
    program = _program(module, example, path, dynamic, (inputs, outputs))
    program.model.metadata_props.update(metadata)
    with atomic_path(path) as temporary:
        program.save(temporary)
        _refuse_large(path, temporary.stat().st_size)
        onnx.checker.check_model(temporary, full_check=True)
        parity = compare(module, temporary, other_inputs(example, dynamic), ties=tolerance.ties)
        _refuse_different(path, parity, tolerance)
    return parity


def _program(
    module: nn.Module, example: Tensor, path: Path, dynamic: Mapping[int, str], names: Sequence[Sequence[str]]
) -> torch.onnx.ONNXProgram:
    inputs, outputs = names
    sizes = {axis: _free(name) for axis, name in dynamic.items()}
    try:
        with quiet():
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=(sizes,),
                input_names=inputs, output_names=outputs, verbose=False,
            )  # fmt: skip
    except OnnxExporterError as error:
        raise UserError(
            f"{path}: the network cannot be exported with free {', '.join(dynamic.values())} from an example of "
            f"{tuple(example.shape)}: {error.__cause__ or error}"
        ) from error
    assert program is not None  # None only from the exporter that dynamo=True replaces
    return program


def _free(name: str) -> Any:
    """What the exporter calls an axis: without the multiple, it asks what becomes of sizes that do not divide."""
    times, _, rest = name.rpartition("*")
    return int(times) * torch.export.Dim(rest) if times not in ("", "1") else rest


def _refuse_large(path: Path, size: int) -> None:
    if size >= LARGEST:
        raise UserError(
            f"{path}: not written, the network takes {size / MEGABYTE:.0f} MB; expected less than "
            f"{LARGEST / MEGABYTE:.0f} MB. Choose a smaller encoder or fewer channels."
        )


def _refuse_different(path: Path, parity: Parity, tolerance: Tolerance) -> None:
    why = "Does it pool to a fixed grid or keep a state between calls?"
    if not parity.relative_error <= tolerance.relative_error:  # a NaN also fails
        raise UserError(
            f"{path}: not written, its output differs from torch by {parity.relative_error:.2g} of the greatest "
            f"value; expected at most {tolerance.relative_error:.2g}. {why}"
        )
    if parity.differing:
        raise UserError(
            f"{path}: not written, its output of integers differs from torch at {parity.differing:.2%} of the places "
            f"that are no ties; expected none. {why}"
        )


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


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter and the quantiser log and warn about their own insides; errors still come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
