"""Which frames are collected for pictures."""

from pathlib import Path

import lightning
import pytest
import torch

from projects.ball.data import BallData
from projects.ball.module import BallModule
from projects.ball.nets import BallNet
from projects.ball.review import errors_px
from projects.ball.samples import SamplePanels

SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}


@pytest.mark.parametrize("batch_size", [5, 64])
def test_each_sample_is_collected_once_and_padding_never(batch_size: int, rallies: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = lambda channels: BallNet(channels, encoder="tu-test_byobnet", head_channels=8, options=SHALLOW)  # noqa: E731
    module = BallModule(net=net, optimizer=torch.optim.AdamW, size_hw=(32, 64), threshold=0.0).eval()
    data = BallData(root=str(rallies), size_hw=(32, 64), frames="video", batch_size=batch_size)
    data.setup("test")
    loader, panels = data.test_dataloader(), SamplePanels(tmp_path, spread=4, worst=3)
    errors: dict[int, float] = {}
    for fetched in loader:
        batch = data.on_after_batch_transfer(fetched, 0)
        with torch.inference_mode():
            targets, located = module.targets(batch), module.locate(batch["frames"])
            outputs = {"output": module(batch["frames"]), "targets": targets, "located": located}
        panels.keep(lightning.Trainer(logger=False), module, outputs, batch, loader.dataset)
        found = errors_px(located, targets, batch, threshold=0.0)
        errors |= {
            index: error
            for index, error, valid in zip(
                batch["index"].tolist(), found.tolist(), batch["valid"].tolist(), strict=True
            )
            if valid
        }
    assert sorted(errors) == list(range(len(loader.dataset)))
    assert len(panels._spread) == 4
    worst = [index for _, index, _ in panels._worst]
    assert len(set(worst)) == 3
    assert sorted(errors[index] for index in worst) == sorted(errors.values())[-3:]
