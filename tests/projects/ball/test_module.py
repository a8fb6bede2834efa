import itertools
import math

import lightning
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau

from common.errors import UserError
from projects.ball.module import BallModule
from projects.ball.nets import BallNet, BallOutput

SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}


def _module(**settings: object) -> BallModule:
    torch.manual_seed(0)
    net = lambda channels: BallNet(channels, encoder="tu-test_byobnet", head_channels=8, options=SHALLOW)  # noqa: E731
    return BallModule(net=net, optimizer=torch.optim.AdamW, size_hw=(64, 96), **settings)  # type: ignore[arg-type]


def _batch(size: int = 2) -> dict[str, torch.Tensor]:
    return {
        "frames": 255 * torch.rand(size, 3, 3, 64, 96),
        "window_xy": torch.tensor([[40.0, 30.0]]).expand(size, 3, 2).clone(),
        "window_visible": torch.ones(size, 3, dtype=torch.bool),
        "window_labelled": torch.ones(size, 3, dtype=torch.bool),
        "anchor": torch.ones(size, dtype=torch.long),
        "scale_xy": torch.full((size, 2), 4.0),
        "index": torch.arange(size),
    }


@pytest.mark.parametrize(
    ("dtype", "size"), itertools.product((torch.float16, torch.bfloat16, torch.float32), (1e-4, 1e4))
)
def test_losses_are_finite_in_every_precision(dtype: torch.dtype, size: float) -> None:
    module = _module()
    targets = module.targets(_batch())
    sign = torch.randn(2, 1, 16, 24).sign()
    heatmap = (size * sign).to(dtype).requires_grad_()
    offset = torch.zeros(2, 2, 16, 24, dtype=dtype, requires_grad=True)
    losses = module.losses(BallOutput(heatmap, offset), targets)
    assert set(losses) == {"loss", "heatmap", "offset"}
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
    losses["loss"].backward()
    assert heatmap.grad is not None
    assert torch.isfinite(heatmap.grad).all()


def test_a_batch_without_labels_costs_nothing() -> None:
    module = _module()
    batch = _batch() | {"window_labelled": torch.zeros(2, 3, dtype=torch.bool)}
    losses = module.losses(module(batch["frames"]), module.targets(batch))
    assert losses["loss"].item() == 0


def test_one_batch_is_learned() -> None:
    module = _module()
    batch = _batch()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(60):
        losses = module.losses(module(batch["frames"]), module.targets(batch))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    located = module.locate(batch["frames"])
    torch.testing.assert_close(located.points_xy, batch["window_xy"][:, 1], atol=1.0, rtol=0)
    assert (located.scores > 0.5).all()


def test_the_untrained_heatmap_expects_rare_balls() -> None:
    heatmap = _module()(_batch()["frames"]).heatmap
    assert heatmap.sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)


def test_the_scheduler_follows_its_monitor() -> None:
    plateau = lambda optimizer: ReduceLROnPlateau(optimizer, monitor="val/loss", factor=0.2, patience=5)  # noqa: E731
    module = _module(scheduler=plateau)
    module.trainer = lightning.Trainer(check_val_every_n_epoch=3, accelerator="cpu", logger=False)
    made = module.configure_optimizers()
    assert made["lr_scheduler"]["monitor"] == "val/loss"
    assert made["lr_scheduler"]["frequency"] == 3  # between two validations there is nothing to ask
    assert made["lr_scheduler"]["scheduler"].factor == 0.2


def test_a_size_that_the_network_cannot_take_is_named() -> None:
    net = lambda channels: BallNet(channels, encoder="tu-lcnet_035")  # noqa: E731
    with pytest.raises(UserError, match=r"model.size_hw: found \(65, 96\), expected multiples of 32"):
        BallModule(net=net, optimizer=torch.optim.AdamW, size_hw=(65, 96))


def test_heatmap_loss_of_a_perfect_answer_is_nearly_nothing() -> None:
    module = _module()
    targets = module.targets(_batch())
    answer = BallOutput(torch.logit(targets.heatmap, 1e-6), targets.offset)
    assert module.losses(answer, targets)["loss"].item() < 0.05 * math.log(100)
