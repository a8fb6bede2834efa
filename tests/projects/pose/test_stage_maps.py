"""Each stage of a network is shown as it is, beside what it should be."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.pose.data import PoseData
from projects.pose.datasets import PoseSamples
from projects.pose.module import PoseModule
from projects.pose.nets.fronts import PatchFront
from projects.pose.nets.pose_net import PoseNet
from projects.pose.nets.stages import Cascade
from projects.pose.skeleton import COCO
from projects.pose.stage_maps import StageMaps, draw_stages, shown_limbs, stage_maps

CELL_HW = (120, 160)


def _opened(root: Path) -> tuple[PoseModule, PoseData, PoseSamples]:
    torch.manual_seed(0)
    stages = partial(Cascade, paf_stages=2, heat_stages=1, blocks=1, widths=(8, 8), hidden=(8, 8))
    net = lambda pafs, heats: PoseNet(pafs, heats, front=PatchFront, stages=stages)  # noqa: E731
    module = PoseModule(net=net, optimizer=torch.optim.AdamW, size_hw=(64, 96))
    data = PoseData(root=str(root), size_hw=(64, 96), batch_size=2)
    data.setup("test")
    return module, data, data.datasets["test"]  # type: ignore[return-value]


def _cells(path: Path, rows: int) -> list[list[np.ndarray]]:
    """The images of a panel, row by row."""
    sheet = np.asarray(Image.open(path)).astype(int)
    last = np.flatnonzero((sheet[:, 20] != sheet[0, 0]).any(axis=1))[-1] - CELL_HW[0] + 1
    tops = [last - (CELL_HW[0] + 37) * (rows - 1 - row) for row in range(rows)]
    lefts = range(20, sheet.shape[1] - 20, CELL_HW[1] + 12)
    return [[sheet[top : top + CELL_HW[0], left : left + CELL_HW[1]] for left in lefts] for top in tops]


def test_every_stage_is_there_as_the_network_says_it(people_root: Path) -> None:
    module, data, samples = _opened(people_root)
    found = stage_maps(module, data, "test", 1)
    frame = samples[0, 1]["frame"][..., :3]
    batch = data.on_after_batch_transfer(samples.batch(0, [1]), 0)
    with torch.inference_mode():
        output = module(frame.permute(2, 0, 1)[None].float())
        targets = module.targets(batch)
        losses = module.losses(output, targets)
    pafs, heats = found["paf"], found["heat"]
    np.testing.assert_array_equal(pafs.frame, frame.numpy())
    captions = {name: f"{name}   loss {losses[f'loss/{name}'].item():.3g}" for name in module.net.stage_names}
    assert pafs.captions == ["target", captions["paf/1"], captions["paf/2"]]
    assert heats.captions == ["target", captions["heat/1"]]
    for shown, expected in zip(pafs.maps, (targets.paf, *output.pafs), strict=True):
        np.testing.assert_allclose(shown, expected[0], atol=1e-5)
    for shown, expected in zip(heats.maps, (targets.heat, *output.heats), strict=True):
        np.testing.assert_allclose(shown, expected[0, :-1], atol=1e-5)


def test_limbs_that_are_labelled_are_shown(people_root: Path) -> None:
    _, data, samples = _opened(people_root)
    samples.visibility[0] = 0
    samples.visibility[0, 0, COCO.limb_joints[[2, 5, 9, 11]]] = 2
    ends = set(COCO.limb_joints[[2, 5, 9, 11]].ravel())
    whole = [limb for limb, joints in enumerate(COCO.limb_joints) if ends.issuperset(joints)]
    assert shown_limbs(data, "test", 0) == [whole[0], whole[(len(whole) - 1) // 2], whole[-1]]
    samples.visibility[0, 0] = 0
    samples.visibility[0, 0, COCO.limb_joints[4, 0]] = 2
    samples.visibility[0, 1:2, COCO.limb_joints[4, 1]] = 2
    assert shown_limbs(data, "test", 0, count=2) == [0, len(COCO.limbs) - 1], "two halves of two people are no limb"
    samples.visibility[0, 0, COCO.limb_joints[4]] = 2
    assert shown_limbs(data, "test", 0) == [4]


@pytest.mark.parametrize("kind", ["heat", "paf"])
def test_a_channel_is_bright_where_it_says_something(kind: str, tmp_path: Path) -> None:
    limbs = [3, 7]
    silent = np.zeros((2 * len(COCO.limbs) if kind == "paf" else len(COCO.joints), 9, 12), np.float32)
    said = silent.copy()
    said[2 * 7 + 1 if kind == "paf" else COCO.joints.index(COCO.limbs[7][1]), 4, 6] = 1
    frame = np.full((72, 96, 3), 90, np.uint8)
    stages = StageMaps(frame, ["target", f"{kind}/1"], [said, silent])
    draw_stages(tmp_path / "s.png", stages, kind, skeleton=COCO, limbs=limbs, cell_hw=CELL_HW)  # type: ignore[arg-type]
    bright = [[bool((cell.max(axis=2) > 130).any()) for cell in row] for row in _cells(tmp_path / "s.png", 2)]
    assert bright == [[True, False, True], [False, False, False]]
    assert np.argwhere(_cells(tmp_path / "s.png", 2)[0][2].max(axis=2) > 130).mean(axis=0) == pytest.approx(
        (59.5, 86.2), abs=1.5
    )
