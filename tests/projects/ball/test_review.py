from pathlib import Path

import numpy as np
import pytest
import torch

from projects.ball.data import BallData
from projects.ball.decode import Located
from projects.ball.module import BallModule
from projects.ball.nets import BallNet
from projects.ball.review import errors_px, review
from projects.ball.targets import BallTargets

SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}


def test_errors_are_in_pixels_of_a_512_wide_frame() -> None:
    found, missed, invented, rightly_absent = range(4)
    visible = torch.tensor([True, True, False, False])
    label = torch.tensor([[10.0, 10.0]]).repeat(4, 1)
    located = Located(label + torch.tensor([3.0, 4.0]), torch.tensor([0.5, 0.49, 0.9, 0.1]))
    empty = torch.zeros(4, 1, 8, 16)
    targets = BallTargets(empty, empty.repeat(1, 2, 1, 1), empty > 0, visible | True, label, visible)
    batch = {"frames": torch.zeros(4, 3, 3, 32, 64), "scale_xy": torch.tensor([[16.0, 8.0]]).repeat(4, 1)}
    errors = errors_px(located, targets, batch, threshold=0.5)
    # The video is 16 * 64 = 1024 wide, so that one of its pixels is half a pixel of a 512-wide frame.
    assert errors[found].item() == pytest.approx(np.hypot(3 * 16, 4 * 8) / 2)
    assert errors[[missed, invented]].tolist() == [np.inf, np.inf]
    assert errors[rightly_absent].item() == 0


def test_a_review_spreads_over_the_split_and_agrees_with_the_network(rallies: Path) -> None:
    torch.manual_seed(0)
    net = lambda channels: BallNet(channels, encoder="tu-test_byobnet", head_channels=8, options=SHALLOW)  # noqa: E731
    module = BallModule(net=net, optimizer=torch.optim.AdamW, size_hw=(64, 96), threshold=0.0)
    data = BallData(root=str(rallies), size_hw=(64, 96), frames="video", batch_size=2)
    data.setup("test")
    samples = data.datasets["test"]
    seen = [sample for sample, _ in review(module, data, "test", most=3)]
    chosen = [samples[0, index] for index in (0, (len(samples) - 1) // 2, len(samples) - 1)]
    assert not module.training
    for sample, expected in zip(seen, chosen, strict=True):
        frames = expected["frames"]
        np.testing.assert_array_equal(sample.frame, frames[1].numpy())
        with torch.no_grad():
            located = module.locate(frames[None].permute(0, 1, 4, 2, 3).float())
        assert sample.predicted_xy == pytest.approx(tuple(located.points_xy[0].tolist()), abs=1e-2)
        assert sample.score == pytest.approx(located.scores.item(), abs=1e-4)
        assert (sample.true_xy is not None) == bool(expected["window_visible"][1])


def test_a_split_smaller_than_asked_for_is_seen_whole(rallies: Path) -> None:
    net = lambda channels: BallNet(channels, encoder="tu-test_byobnet", head_channels=8, options=SHALLOW)  # noqa: E731
    module = BallModule(net=net, optimizer=torch.optim.AdamW, size_hw=(64, 96))
    data = BallData(root=str(rallies), size_hw=(64, 96), frames="video", batch_size=16)
    data.setup("test")
    seen = [sample.caption for sample, _ in review(module, data, "val", most=10_000)]
    samples = data.datasets["val"]
    assert seen == ["{} frame {}".format(*samples.source_of(index)) for index in range(len(samples))]  # type: ignore[attr-defined]
