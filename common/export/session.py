"""An exported network, opened with onnxruntime: what is wrong with its file is a user's error."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from common.errors import UserError


class Session:
    """An ONNX file with one input that can be run.

    Args:
        path: of the file.
        threads: of onnxruntime; all that this process may use by default.

    Attributes:
        path: of the file.
        metadata: texts by key; the export verb writes JSON values.
        shape: of the input; an axis whose size is free has a name, or None.
        outputs: shapes by name, likewise.

    Raises:
        UserError: when the file is missing, not ONNX, or has not one input.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.path = path
        self._session = _open(path, threads or len(os.sched_getaffinity(0)))
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise UserError(f"{path}: has {len(inputs)} inputs; expected one. Write the file with the export verb.")
        self._input: str = inputs[0].name
        self.shape: list[int | str | None] = list(inputs[0].shape)
        self.outputs = {output.name: list(output.shape) for output in self._session.get_outputs()}

    def __call__(self, values: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """The named outputs for one input.

        Raises:
            UserError: the network fails at this input.
        """
        try:
            return list(self._session.run(list(outputs), {self._input: values}))
        except Exception as error:  # onnxruntime's own exceptions have no other base
            raise UserError(f"{self.path}: fails at an input of {values.shape}: {_line(error)}") from None


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected an ONNX file. Check the path.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # its default ignores CPU limits
    options.log_severity_level = 4  # its errors come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no other base
        raise UserError(f"{path}: not an ONNX file that can be run: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
