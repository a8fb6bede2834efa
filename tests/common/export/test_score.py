"""Scores of exported networks, by literal values."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from common.export.score import score_files


def _threshold(path: Path, limit: float) -> Path:
    """Images (n, 1, h, w) -> mask (n, h, w) of what reaches the limit."""
    nodes = [
        helper.make_node("GreaterOrEqual", ["images", "limit"], ["reached"]),
        helper.make_node("Squeeze", ["reached", "one"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["mask"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, ["n", "h", "w"])],
        [
            helper.make_tensor("limit", TensorProto.FLOAT, [], [limit]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def _batch(values: list[float], labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[[values]]], np.float32), np.array([[labels]], np.uint8)


def test_intersection_over_union_is_pooled_over_what_counts(tmp_path: Path) -> None:
    paths = [_threshold(tmp_path / "low.onnx", 0.3), _threshold(tmp_path / "high.onnx", 0.6)]
    batches = [_batch([0.1, 0.4, 0.7, 0.9], [0, 0, 1, 255]), _batch([0.5, 0.2], [1, 1])]
    low, high = score_files(paths, iter(batches))
    assert low.iou == 2 / 4  # both: .7, .5; either: .4 and .2 too; .9 is not counted
    assert high.iou == 1 / 3
    assert low.megabytes == paths[0].stat().st_size / 1e6
    assert 0 < min(low.ms_per_megapixel, high.ms_per_megapixel) < math.inf


@pytest.mark.parametrize("batches", [[], [_batch([0.1, 0.9], [0, 255])]])
def test_without_anything_to_find_there_is_no_score(
    tmp_path: Path, batches: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    (score,) = score_files([_threshold(tmp_path / "net.onnx", 0.5)], batches)
    assert math.isnan(score.iou)
