"""The ball's LightningModule: it owns the window, the input size, the standardisation and the threshold."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from common.data.standardize import Standardizer
from common.errors import UserError
from common.export.graph import export_onnx
from common.export.parity import Parity
from common.losses.focal import PenaltyReducedFocalLoss
from common.losses.masked_l1 import masked_l1_loss, masked_l1_parts
from common.losses.parts import LossParts
from common.metrics.mean_loss import MeanLoss
from common.metrics.points import SinglePointDetection
from common.optim import optimizers
from common.shapes import Windows
from common.trainer import ExportableModule
from projects.ball.baselines import moving_blob
from projects.ball.decode import Located, locate
from projects.ball.nets import BallNet, BallOutput
from projects.ball.targets import BallTargets, ball_targets

MODEL = "model"
"""Name of the network's own metric, beside the baselines'."""

FIT_BATCHES = 32
"""Batches of training frames that the standardisation is fitted on."""


class BallModule(ExportableModule):
    """Finds the ball in the target frame of a window.

    Args:
        net: makes the network from its number of input channels, 3 per frame of the window.
        optimizer: makes the optimizer from parameters.
        scheduler: makes the learning-rate scheduler from an optimizer; None keeps the rate.
        offsets: frames of the window relative to the target frame, which is 0; in order, such as (-1, 0, 1).
        size_hw: (height, width) of the network's input, multiples of what the network asks for.
        sigma: standard deviation of the target heatmap, in pixels of the input.
        positive_weight: weight of the ball's cell in the heatmap loss.
        offset_weight: weight of the offset loss.
        threshold: smallest score of a found ball.
        tau: largest error of a right detection, in pixels of a 512-wide frame.
    """

    input_settings = ("offsets",)

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        net: Callable[[int], BallNet],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        offsets: Sequence[int] = (-1, 0, 1),
        size_hw: tuple[int, int] = (288, 512),
        sigma: float = 4.0,
        positive_weight: float = 1.0,
        offset_weight: float = 1.0,
        threshold: float = 0.5,
        tau: float = 4.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = net(3 * len(offsets))
        if size_hw[0] % self.net.divisor or size_hw[1] % self.net.divisor:
            raise UserError(f"model.size_hw: found {tuple(size_hw)}, expected multiples of {self.net.divisor}")
        self.offsets, self.size_hw, self.stride = tuple(offsets), size_hw, self.net.stride
        self.optimizer, self.scheduler = optimizer, scheduler
        self.sigma, self.offset_weight = sigma, offset_weight
        self.threshold = threshold
        self.standardizer = Standardizer(3)
        self.focal = PenaltyReducedFocalLoss(positive_weight=positive_weight)
        self.metrics = nn.ModuleDict({name: SinglePointDetection(tau, threshold) for name in (MODEL, *BASELINES)})
        self.means = nn.ModuleDict({name: MeanLoss() for name in ("heatmap", "offset")})

    def forward(self, frames: Windows) -> BallOutput:
        """Logits of the target frame's heatmap, and sub-cell offsets, for windows of RGB frames of 0..255."""
        x: Tensor = self.standardizer(frames)
        output: BallOutput = self.net(x.flatten(1, 2))
        return output

    def locate(self, frames: Windows) -> Located:
        """The likeliest place of the ball in each window's target frame, in pixels of the input, with its score."""
        return locate(self(frames), stride=self.stride)

    def targets(self, batch: dict[str, Tensor]) -> BallTargets:
        """What the network should say of a batch."""
        return ball_targets(batch, stride=self.stride, sigma=self.sigma / self.stride)

    def losses(self, output: BallOutput, targets: BallTargets) -> dict[str, Float[Tensor, ""]]:
        """Terms of the loss by name, float32; "loss" is their weighted sum."""
        heatmap = self.focal(output.heatmap, targets.heatmap, mask=targets.labelled)
        offset = masked_l1_loss(output.offset, targets.offset, targets.offset_mask)
        return self._weighted(heatmap, offset)

    def loss_parts(self, output: BallOutput, targets: BallTargets) -> dict[str, LossParts]:
        """The same terms before their division.

        The loss of an evaluation is that of the whole split taken as one batch: the heatmap's cost per labelled window,
        and the error of the offset per masked number of all windows.
        """
        return {
            "heatmap": self.focal.parts(output.heatmap, targets.heatmap, mask=targets.labelled),
            "offset": masked_l1_parts(output.offset, targets.offset, targets.offset_mask),
        }

    def on_fit_start(self) -> None:
        """Fits the standardisation on training frames, unless a checkpoint brought one."""
        if self.standardizer.count or self.trainer.ckpt_path:
            return
        for frames in self.trainer.datamodule.some_frames(FIT_BATCHES):  # type: ignore[attr-defined]
            self.standardizer.partial_fit(frames.to(self.device), channel_dim=-1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Predict, compare, log."""
        losses = self.losses(self(batch["frames"]), self.targets(batch))
        self.log_dict({f"train/{name}_step": value for name, value in losses.items()}, on_step=True, on_epoch=False)
        means = {f"train/{name}_epoch": value for name, value in losses.items()}  # over all ranks, at the epoch's end
        self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch["index"]))
        return losses

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        """Predict, compare, count."""
        return self._evaluate(batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        """Predict, compare, count."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of the validation split."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the scores of the test split."""
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler of the config."""
        return optimizers(self, self.optimizer, self.scheduler)

    def export(self, path: Path) -> Parity:
        """Writes the network as ONNX, standardisation inside, with everything that its use needs in the metadata.

        Input `frames` float32 (batch, time, 3, height, width), 0..255; outputs `heatmap` (logits) and `offset` (cells).
        """
        side = 2 * self.net.divisor
        example = 255 * torch.rand(2, len(self.offsets), 3, side, 2 * side)
        metadata = {
            "frames": len(self.offsets),
            "offsets": list(self.offsets),
            "size_hw": list(self.size_hw),
            "stride": self.stride,
            "mean": self.standardizer.mean.tolist(),
            "std": self.standardizer.std.tolist(),
            "standardisation": "inside the network",
            "threshold": self.threshold,
        }
        return export_onnx(
            self,
            example,
            path,
            inputs=["frames"],
            outputs=["heatmap", "offset"],
            dynamic={0: "batch", 3: "height", 4: "width"},
            metadata={key: json.dumps(value) for key, value in metadata.items()},
        )

    def _weighted(self, heatmap: Float[Tensor, ""], offset: Float[Tensor, ""]) -> dict[str, Float[Tensor, ""]]:
        return {"loss": heatmap + self.offset_weight * offset, "heatmap": heatmap, "offset": offset}

    def _evaluate(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        output, targets = self(batch["frames"]), self.targets(batch)
        for name, parts in self.loss_parts(output, targets).items():
            self.means[name].update(parts)  # type: ignore[operator] # a ModuleDict forgets the type
        located = locate(output, stride=self.stride)
        self._count(MODEL, located, targets, batch)
        for name, baseline in self._baselines().items():
            self._count(name, baseline(batch), targets, batch)
        return {"output": output, "targets": targets, "located": located}

    def _baselines(self) -> dict[str, Callable[[dict[str, Tensor]], Located]]:
        """None while training: they do not change."""
        return {} if self.trainer.state.fn == "fit" else BASELINES

    def _count(self, name: str, located: Located, targets: BallTargets, batch: dict[str, Tensor]) -> None:
        keep = targets.labelled
        self._metric(name).update(
            located.points_xy[keep],
            located.scores[keep],
            targets.points_xy[keep],
            targets.visible[keep],
            scale_xy=batch["scale_xy"][keep],
            width=batch["frames"].shape[-1],
        )

    def _metric(self, name: str) -> SinglePointDetection:
        metric = self.metrics[name]
        assert isinstance(metric, SinglePointDetection)  # a ModuleDict forgets the type
        return metric

    def _log_scores(self, split: str) -> None:
        losses = self._weighted(**{name: mean.compute() for name, mean in self.means.items()})  # type: ignore[operator]
        self.log_dict({f"{split}/{name}": value for name, value in losses.items()})
        for mean in self.means.values():
            mean.reset()  # type: ignore[operator]
        for name in (MODEL, *self._baselines()):
            metric = self._metric(name)
            prefix = f"{split}/" if name == MODEL else f"baseline/{name}/{split}/"
            if name != MODEL:
                metric.threshold = metric.best_threshold()  # in the baseline's favour
            self.log_dict({prefix + key: value for key, value in metric.compute().items()})
            metric.reset()


def _nothing(batch: dict[str, Tensor]) -> Located:
    zeros = torch.zeros(len(batch["index"]), device=batch["index"].device)
    return Located(torch.stack([zeros, zeros], dim=1), zeros)


def _moving_blob(batch: dict[str, Tensor]) -> Located:
    return Located(*moving_blob(batch["frames"], batch["anchor"], radius=2.0))


BASELINES: dict[str, Callable[[dict[str, Tensor]], Located]] = {"nothing": _nothing, "blob": _moving_blob}
"""Trivial answers that a score stands beside: no ball anywhere; the brightest thing that moved."""
