"""What counts as different, by literal values."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from common.errors import UserError
from common.export.parity import Parity, compare, other_inputs, other_shapes

DYNAMIC = {0: "batch", 3: "height", 4: "width"}


class Threshold(nn.Module):
    """Values (B, N) -> whether they reach a limit, and the values times a factor."""

    def __init__(self, limit: float, *, factor: float = 1.0, columns: int | None = None) -> None:
        super().__init__()
        self.limit, self.factor, self.columns = limit, factor, columns

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        values = values[:, : self.columns]
        return (values >= self.limit).to(torch.uint8), values * self.factor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """`Threshold(0.5)` as ONNX, by hand."""
    nodes = [
        helper.make_node("GreaterOrEqual", ["values", "limit"], ["reached"]),
        helper.make_node("Cast", ["reached"], ["mask"], to=TensorProto.UINT8),
        helper.make_node("Identity", ["values"], ["same"]),
    ]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "n"])],
        [
            helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch", "n"]),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["batch", "n"]),
        ],
        [helper.make_tensor("limit", TensorProto.FLOAT, [], [0.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "threshold.onnx")
    return tmp_path / "threshold.onnx"


VALUES = torch.tensor([[0.1, 0.45, 0.5, 0.8]])


def test_equal_answers_differ_by_nothing(path: Path) -> None:
    assert compare(Threshold(0.5), path, [VALUES, VALUES[:, :2]]) == Parity(((1, 4), (1, 2)), 0.0, 0.0)


def test_integers_that_differ_are_a_share_unless_they_are_ties(path: Path) -> None:
    module = Threshold(0.4)  # 0.45 is the one between
    assert compare(module, path, [VALUES]).differing == 0.25
    assert compare(module, path, [VALUES], ties=lambda x: {"mask": x == 0.1}).differing == pytest.approx(1 / 3)
    assert compare(module, path, [VALUES], ties=lambda x: {"mask": (x - 0.5).abs() < 0.06}).differing == 0
    assert compare(module, path, [VALUES], ties=lambda x: {"mask": x > 0}).differing == 0
    assert compare(module, path, [VALUES], ties=lambda x: {"same": x > 0}).differing == 0.25


def test_floats_differ_by_a_part_of_the_greatest(path: Path) -> None:
    module = Threshold(0.5, factor=1.25)
    parity = compare(module, path, [VALUES[:, :1], VALUES])
    assert parity.relative_error == pytest.approx(0.2)
    assert parity.differing == 0


def test_nan_and_other_shapes_are_no_agreement(path: Path) -> None:
    assert math.isnan(compare(Threshold(0.5), path, [torch.tensor([[math.nan, 1.0]]), VALUES]).relative_error)
    parity = compare(Threshold(0.5, columns=1), path, [VALUES])
    assert (parity.relative_error, parity.differing) == (math.inf, 1.0)


def test_a_file_that_cannot_take_an_input_says_which(path: Path) -> None:
    with pytest.raises(UserError, match=r"fails at an input of \(1, 2, 3\)"):
        compare(Threshold(0.5), path, [torch.zeros(1, 2, 3)])


def test_other_shapes_change_every_dynamic_axis() -> None:
    shapes = other_shapes((2, 9, 3, 32, 64), DYNAMIC)
    assert len(set(shapes)) == 3
    assert all(shape[1:3] == (9, 3) for shape in shapes)
    assert {shape[0] for shape in shapes} == {1, 2, 3}
    assert {shape[3] for shape in shapes} == {32, 64, 96}
    assert {shape[4] for shape in shapes} == {64, 128, 192}


def test_other_inputs_are_the_example_repeated_and_no_part_is_another() -> None:
    example = torch.rand(2, 3, 4, 5) * 200 + 50
    example[1, 2, 3, 4] = torch.nan
    inputs = list(other_inputs(example, {0: "batch", 2: "height", 3: "width"}))
    assert [tuple(batch.shape) for batch in inputs] == [(1, 3, 12, 5), (2, 3, 4, 10), (3, 3, 8, 15)]
    first, second, third = inputs
    np.testing.assert_allclose(third[0, :, 4:, 5:10], example[0], atol=2)
    assert torch.isnan(third).nonzero().tolist() == [[1, 2, row, column] for row in (3, 7) for column in (4, 9, 14)]
    assert torch.isnan(second).sum() == 2
    assert not (third[0] == third[2]).any()
    assert not (third[0, :, :4] == third[0, :, 4:]).any()
    assert 50 <= first.min() <= first.max() <= 250
