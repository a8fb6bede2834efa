"""8-bit files answer like the float ones, hold 8-bit weights, and leave everything else as it was."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from common.errors import UserError
from common.export.graph import read_metadata
from common.export.quantize import inner_nodes, quantize_onnx
from tests.common.export.segmenter import METADATA, Exported, blobs


def _batches() -> Iterator[np.ndarray]:
    return (blobs(2, 3, 48, 48, seed=seed) for seed in range(6))


@pytest.fixture(scope="module")
def small(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(exported.path, tmp_path_factory.mktemp("small") / "net.onnx"))
    return quantize_onnx(path, _batches())


def _answers(path: Path, images: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path)).run(["mask", "probability"], {"scene": images})


def test_it_answers_alike_at_other_sizes(exported: Exported, small: Path) -> None:
    images = blobs(3, 3, 37, 61, seed=9)
    images[0, 1, 4:8] = np.nan
    mask, probability = _answers(small, images)
    expected, likely = _answers(exported.path, images)
    assert 0.2 < expected.mean() < 0.8
    assert np.mean(mask == expected) > 0.98
    assert np.abs(probability - likely).mean() < 0.03
    assert not np.array_equal(probability, likely)


def test_a_glint_in_the_calibration_costs_little(exported: Exported, tmp_path: Path) -> None:
    batches = [blobs(1, 3, 128, 128, seed=seed) for seed in range(24)]
    batches[3][0, :, 50, 60] = 20.0
    path = quantize_onnx(Path(shutil.copy(exported.path, tmp_path)), batches)
    images = blobs(3, 3, 37, 61, seed=9)
    assert np.mean(_answers(path, images)[0] == _answers(exported.path, images)[0]) > 0.98


def test_the_file_beside_it_keeps_names_free_axes_and_metadata(exported: Exported, small: Path) -> None:
    source = small.with_name("net.onnx")
    assert small.name == "net.int8.onnx"
    assert sorted(small.parent.iterdir()) == [small, source]
    assert source.read_bytes() == exported.path.read_bytes()
    expected = {key: json.dumps(value) for key, value in METADATA.items()}
    assert read_metadata(small) == expected | {"weights": '"int8"'}
    assert read_metadata(source) == expected
    before, after = (onnxruntime.InferenceSession(str(path)) for path in (source, small))
    for ours, theirs in zip(
        before.get_inputs() + before.get_outputs(), after.get_inputs() + after.get_outputs(), strict=True
    ):
        assert (ours.name, ours.type, ours.shape) == (theirs.name, theirs.type, theirs.shape)
        assert any(isinstance(size, str) for size in ours.shape)


def test_weights_are_signed_per_channel_and_activations_unsigned(small: Path) -> None:
    graph = onnx.load(small).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    scaled = [made.get(node.input[1]) for node in convolutions]
    assert [weight is None for weight in scaled] == [False, False, False, True]  # the head stays in float
    assert {values[weight.input[0]].dtype.name for weight in scaled if weight} == {"int8"}
    assert [values[weight.input[1]].shape for weight in scaled if weight] == [(8,), (16,), (8,)]
    zeros = [values[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {zero.dtype.name for zero in zeros} == {"uint8"}
    assert {zero.shape for zero in zeros} == {()}


def test_batches_are_taken_one_at_a_time(exported: Exported, tmp_path: Path) -> None:
    taken = []

    def batches() -> Iterator[np.ndarray]:
        for batch in _batches():
            taken.append(batch[:1].copy())
            yield batch[:1]
            batch[:] = np.nan  # nobody may look at it any more

    path = quantize_onnx(Path(shutil.copy(exported.path, tmp_path)), batches())
    assert len(taken) == 6
    again = tmp_path / "again"
    again.mkdir()
    assert path.read_bytes() == quantize_onnx(Path(shutil.copy(exported.path, again)), taken).read_bytes()


def test_nothing_to_calibrate_on_is_refused(exported: Exported, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported.path, tmp_path))
    with pytest.raises(UserError, match="found 0 batches to calibrate on"):
        quantize_onnx(path, [])
    assert list(tmp_path.iterdir()) == [path]


def _chain(*nodes: tuple[str, str]) -> onnx.GraphProto:
    """Nodes of a name and an operator, one after the other."""
    values = [f"v{place}" for place in range(len(nodes) + 1)]
    return helper.make_graph(
        [
            helper.make_node(kind, [source, "w"] if kind == "Conv" else [source], [target], name=name)
            for (name, kind), source, target in zip(nodes, values, values[1:], strict=False)
        ],
        "chain",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info(values[-1], TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [2.0])],
    )


def test_inner_nodes_are_those_between_the_first_and_the_last_convolution() -> None:
    graph = _chain(
        ("a", "Neg"), ("b", "Conv"), ("c", "Relu"), ("d", "Conv"), ("e", "Relu"), ("f", "Conv"), ("g", "Sigmoid")
    )
    assert inner_nodes(graph) == ["b", "c", "d", "e"]
    side = helper.make_node("Relu", ["v2"], ["seen"], name="side")  # leads to no convolution
    graph.node.append(side)
    assert inner_nodes(graph) == ["b", "c", "d", "e"]


def test_one_convolution_is_nothing_to_make_8_bit(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(_chain(("a", "Conv")), opset_imports=opsets, ir_version=9), path)
    with pytest.raises(UserError, match="0 operators before the last convolution"):
        quantize_onnx(path, [np.ones((1, 1, 8, 8), np.float32)])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"\xff\xff not a model"])
def test_something_else_is_a_user_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.onnx"):
        quantize_onnx(path, _batches())
