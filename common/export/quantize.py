"""ONNX files with 8-bit arithmetic: smaller, and faster on a CPU.

The format is static QDQ: unsigned 8-bit activations with ranges from calibration, signed 8-bit weights per channel.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from jaxtyping import Float32
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from common.errors import UserError
from common.export.graph import quiet, read_metadata
from common.files import atomic_path

Images = Float32[np.ndarray, "batch channels height width"]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that gain from 8 bits."""

BETWEEN = ("Relu", "Clip", "MaxPool", "AveragePool", "Concat", "Add")
"""Operators that pass 8 bits on from one of those to the next. Resize is no faster in them and less exact."""

PERCENTILE = 99.99
"""Of an activation's values that its 8 bits reach."""


def quantize_onnx(path: Path, batches: Iterable[Images]) -> Path:
    """Writes an 8-bit file beside a float32 one, with the same inputs, outputs, free axes and metadata.

    What comes before the first convolution, the last one and what comes after it stay in float32: the reflectance, the
    logit and its threshold need more than 256 steps. The range of an activation leaves out one value in ten thousand at
    either end: with the whole range, one glint in the calibration made probabilities 2.6 to 10 times as wrong (three
    networks; Wu et al. 2020, arXiv:2004.09602, compare such choices).

    Args:
        path: file that `export_onnx` wrote; is left as it is.
        batches: inputs to calibrate on, like those of training; some 32 tiles suffice. Read once, one at a time.

    Returns:
        the file: `net.int8.onnx` beside `net.onnx`.

    Raises:
        UserError: when `path` is no ONNX file, or there is nothing to make 8-bit or to calibrate on.
    """
    metadata = read_metadata(path)
    small = path.with_suffix(".int8.onnx")
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        prepared, made = folder / "prepared.onnx", folder / "made.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        _quantize(prepared, made, _spool(batches, folder))
        model = onnx.load(made)
        onnx.helper.set_model_props(model, metadata | {"weights": json.dumps("int8")})
        onnx.checker.check_model(model, full_check=True)
        with atomic_path(small) as temporary:
            onnx.save(model, temporary)
    return small


def _spool(batches: Iterable[Images], folder: Path) -> list[Path]:
    """On disk, as the quantiser wants to know how many there are before it reads one."""
    files = []
    for number, batch in enumerate(batches):
        files.append(folder / f"{number}.npy")
        np.save(files[-1], batch)
    return files


def _quantize(source: Path, target: Path, batches: Sequence[Path]) -> None:
    graph = onnx.load(source).graph
    nodes = inner_nodes(graph)
    if not nodes or not batches:
        raise UserError(
            f"int8: found {len(batches)} batches to calibrate on and {len(nodes)} operators before the last "
            "convolution; expected some of both"
        )
    with redirect_stdout(None):
        quantize_static(
            source,
            target,
            _Reader(graph.input[0].name, batches),
            op_types_to_quantize=[*WEIGHTED, *BETWEEN],
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},  # one batch at a time in memory
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc] # untyped
    def __init__(self, name: str, files: Sequence[Path]) -> None:
        self._name, self._files = name, files
        self.set_range(0, len(files))

    def __len__(self) -> int:
        return len(self._files)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._files[start_index:end_index])

    def get_next(self) -> dict[str, Images] | None:
        file = next(self._left, None)
        return None if file is None else {self._name: np.load(file)}


def inner_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes from the first convolution (or matrix product) to that before the last, on any way."""
    behind: set[str] = set()  # values that a convolution has led to
    ahead: set[str] = set()  # values that lead to a convolution
    for node in graph.node:
        if node.op_type in WEIGHTED or behind.intersection(node.input):
            behind.update(node.output)
    for node in reversed(graph.node):
        if node.op_type in WEIGHTED or ahead.intersection(node.output):
            ahead.update(node.input)
    return [node.name for node in graph.node if behind.intersection(node.output) and ahead.intersection(node.output)]
