"""The exported file gives the last stages' maps, of any size, and says what its use needs."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from common.export.graph import read_metadata
from common.export.parity import Parity
from projects.pose.decode.decoder import Decoder
from projects.pose.graph import export_pose
from projects.pose.skeleton import skeleton_of
from tests.projects.pose.exported import HANDS, SpotModule


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpotModule, Path, Parity]:
    module, path = SpotModule(), tmp_path_factory.mktemp("graph") / "pose.onnx"
    return module, path, export_pose(module, path)


def test_it_agrees_with_torch_at_three_shapes(exported: tuple[SpotModule, Path, Parity]) -> None:
    assert set(exported[2].shapes) == {(1, 3, 96, 48), (2, 3, 32, 96), (3, 3, 64, 144)}
    assert exported[2].relative_error < 1e-5


def test_a_picture_goes_in_and_the_last_stages_maps_come_out(exported: tuple[SpotModule, Path, Parity]) -> None:
    module, path, _ = exported
    session = onnxruntime.InferenceSession(path)
    assert [(one.name, one.shape[1], one.type) for one in (*session.get_inputs(), *session.get_outputs())] == [
        ("image", 3, "tensor(float)"),
        ("heatmaps", 4, "tensor(float)"),
        ("pafs", 4, "tensor(float)"),
    ]
    image = np.random.default_rng(0).uniform(0, 255, (2, 3, 48, 80)).astype(np.float32)
    heat, paf = session.run(["heatmaps", "pafs"], {"image": image})
    output = module(torch.from_numpy(image))
    np.testing.assert_allclose(heat, output.heats[-1], atol=1e-5)
    np.testing.assert_allclose(paf, output.pafs[-1], atol=1e-5)
    np.testing.assert_allclose(heat[1, 2, 3, 4], image[1, 2, 24:32, 32:40].mean() / 255, atol=1e-5)


def test_the_metadata_say_what_its_use_needs(exported: tuple[SpotModule, Path, Parity]) -> None:
    module, path, _ = exported
    said = {key: json.loads(value) for key, value in read_metadata(path).items()}
    assert (said["task"], said["size_hw"], said["stride"], said["divisor"]) == ("pose", [96, 128], 8, 16)
    assert skeleton_of(said["skeleton"], path) == HANDS
    assert Decoder(**said["decoder"]) == module.decoder
    assert asdict(module.decoder) == said["decoder"]
    assert (said["mean"], said["std"]) == ([60, 70, 80], [30, 40, 50])
    assert said["commit"]
