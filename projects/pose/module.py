"""The pose LightningModule: it owns the skeleton, the input size, the standardisation and the decoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from common.data.samples import VALID
from common.data.standardize import Standardizer
from common.errors import UserError
from common.export.parity import Parity
from common.losses.parts import LossParts
from common.metrics.mean_loss import MeanLoss
from common.optim import optimizers
from common.trainer import ExportableModule
from projects.pose.baselines import MeanPose
from projects.pose.coco.results import to_results
from projects.pose.datasets import PoseSamples
from projects.pose.decode.decoder import Decoder
from projects.pose.graph import export_pose
from projects.pose.losses import StageLoss, kind_of
from projects.pose.nets.interface import PoseOutput
from projects.pose.nets.pose_net import PoseNet
from projects.pose.people import People, in_frame, in_image, nobody
from projects.pose.scores.likeness import mean_best_oks
from projects.pose.scores.pose_scores import PoseScores
from projects.pose.scores.stage_scores import StageScores
from projects.pose.skeleton import find_skeleton
from projects.pose.targets import PoseTargets, TargetOptions, pose_targets
from projects.pose.tta import TestTime, averaged_maps

MODEL = "model"
"""Name of the network's own metric, beside the baselines'."""

BASELINES = ("mean_pose", "nothing")
"""Trivial answers that a score stands beside: an average person in each cell of a grid, and nobody."""

FIT_BATCHES = 32
"""Batches of training pictures that the standardisation is fitted on."""


SKELETON = "skeleton"
"""Key of a checkpoint: the skeleton's plain values."""


class PoseModule(ExportableModule):
    """Finds everybody's joints in a picture.

    Args:
        net: makes the network from the numbers of channels of part affinity fields and heatmaps.
        optimizer: makes the optimizer from parameters.
        scheduler: makes the learning-rate scheduler from an optimizer; None keeps the rate.
        skeleton: "coco", or a YAML file with other keypoints, see `projects.pose.skeleton`.
        size_hw: (height, width) of the frame that pictures are scaled into, multiples of what the network asks for.
        targets: how joints and limbs are drawn for the network to learn.
        loss: of a stage.
        decoder: how maps become people.
        test_time: what the network is shown of a picture when it is used, but for validation while it is trained.
    """

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        net: Callable[[int, int], PoseNet],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        skeleton: str = "coco",
        size_hw: tuple[int, int] = (368, 368),
        targets: TargetOptions = TargetOptions(),  # noqa: B008 - frozen
        loss: StageLoss = StageLoss(),  # noqa: B008 - frozen
        decoder: Decoder = Decoder(),  # noqa: B008 - frozen
        test_time: TestTime = TestTime(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.skeleton = find_skeleton(skeleton)
        self.net = net(self.skeleton.paf_channels, self.skeleton.heat_channels)
        if min(size_hw) < 1 or size_hw[0] % self.net.divisor or size_hw[1] % self.net.divisor:
            raise UserError(f"model.size_hw: found {tuple(size_hw)}, expected multiples of {self.net.divisor}")
        self.optimizer, self.scheduler = optimizer, scheduler
        self.size_hw, self.stride = size_hw, self.net.stride
        self.options, self.loss, self.decoder, self.test_time = targets, loss, decoder, test_time
        self.standardizer = Standardizer(3)
        self.mean_pose = MeanPose(len(self.skeleton.joints), size_hw)
        stages = self.net.stage_names
        self.means = nn.ModuleDict({stage: MeanLoss() for stage in stages})
        self.stage_scores = nn.ModuleDict({stage: StageScores(kind_of(stage)) for stage in stages})
        self.metrics = nn.ModuleDict({name: PoseScores(self.skeleton) for name in (MODEL, *BASELINES)})

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> PoseOutput:
        """Maps of every stage for RGB pictures of 0..255."""
        output: PoseOutput = self.net(self.standardizer(images))
        return output

    def maps(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Heatmaps and part affinity fields of the last stages, float32, with `test_time`'s augmentation."""

        def once(shown: Tensor) -> tuple[Tensor, Tensor]:
            output = self(shown)
            return output.heats[-1], output.pafs[-1]

        return averaged_maps(
            once,
            images,
            skeleton=self.skeleton,
            flip=self.test_time.flip,
            scales=self.test_time.scales,
            divisor=self.net.divisor,
        )

    @torch.no_grad()
    def people(self, images: Float[Tensor, "batch 3 height width"]) -> list[People]:
        """Everybody in each picture, in pixels of it."""
        return self._decoded(*self.maps(images))

    def targets(self, batch: dict[str, Tensor]) -> PoseTargets:
        """What the network should say of a batch."""
        limbs = torch.from_numpy(self.skeleton.limb_joints).to(batch["points_xy"].device)
        return pose_targets(batch, stride=self.stride, limbs=limbs, options=self.options)

    def losses(self, output: PoseOutput, targets: PoseTargets) -> dict[str, Float[Tensor, ""]]:
        """The loss of every stage by name, float32; "loss" is their sum."""
        stages = output.stages.items()
        return self._summed(
            {
                name: self.loss(maps, _target(name, targets), targets.counted, kind=kind_of(name))
                for name, maps in stages
            }
        )

    def loss_parts(self, output: PoseOutput, targets: PoseTargets) -> dict[str, LossParts]:
        """The same before their division; that of an evaluation is of the whole split taken as one batch."""
        return {
            stage: self.loss.parts(maps, _target(stage, targets), targets.counted, kind=kind_of(stage))
            for stage, maps in output.stages.items()
        }

    def on_fit_start(self) -> None:
        """Fits what is no weight on the training pictures, unless a checkpoint brought it."""
        if self.trainer.ckpt_path:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.mean_pose.fit(data.datasets["train"].people())
        if self.standardizer.count:
            return
        for frames in data.some_frames(FIT_BATCHES):
            self.standardizer.partial_fit(frames.to(self.device), channel_dim=-1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Predict, compare, log."""
        losses = self.losses(self(batch["image"]), self.targets(batch))
        self.log_dict({f"train/{name}_step": value for name, value in losses.items()}, on_step=True, on_epoch=False)
        means = {f"train/{name}_epoch": value for name, value in losses.items()}  # over all ranks, at the epoch's end
        self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch["index"]))
        return losses

    def on_validation_epoch_start(self) -> None:
        """Notes what the truth is."""
        self._begin(self.trainer.val_dataloaders.dataset)  # type: ignore[union-attr]

    def on_test_epoch_start(self) -> None:
        """Notes what the truth is."""
        self._begin(self.trainer.test_dataloaders.dataset)  # type: ignore[union-attr]

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

    @property
    def results(self) -> list[dict[str, Any]]:
        """What was found in the pictures of the last evaluation, by all ranks, in COCO's format."""
        return self._metric(MODEL).results

    def export(self, path: Path) -> Parity:
        """Writes the network as ONNX, see `projects.pose.graph`."""
        return export_pose(self, path)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the skeleton, whose file may change."""
        checkpoint[SKELETON] = self.skeleton.as_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights for another skeleton: they might fit, and answer wrongly."""
        super().on_load_checkpoint(checkpoint)
        theirs = checkpoint.get(SKELETON, self.skeleton.as_dict())
        if theirs != self.skeleton.as_dict():
            name = theirs.get("name") if isinstance(theirs, dict) else theirs
            raise UserError(
                f"model.skeleton: found {self.skeleton.name!r} with {len(self.skeleton.keypoints)} keypoints, but the "
                f"checkpoint's network was trained for another, {name!r}; give that one"
            )

    def _summed(self, stages: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.loss.total(stages)} | {f"loss/{name}": value for name, value in stages.items()}

    def _decoded(self, heat: Tensor, paf: Tensor) -> list[People]:
        heats, pafs = (maps.float().cpu().numpy() for maps in (heat, paf))
        decoded = (self.decoder(*maps, skeleton=self.skeleton) for maps in zip(heats, pafs, strict=True))
        return [in_frame(people, self.stride) for people in decoded]

    def _begin(self, dataset: PoseSamples) -> None:
        for name in self._scored():
            self._metric(name).ground_truth = dataset.ground_truth
        self._dataset = dataset

    def _evaluate(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        output, targets = self(batch["image"]), self.targets(batch)
        for stage, parts in self.loss_parts(output, targets).items():
            self.means[stage].update(parts)  # type: ignore[operator] # a ModuleDict forgets the type
            self.stage_scores[stage].update(output.stages[stage], _target(stage, targets), targets.counted)  # type: ignore[operator]
        plain = self.trainer.state.fn == "fit" or self.test_time == TestTime()
        heat, paf = (output.heats[-1].float(), output.pafs[-1].float()) if plain else self.maps(batch["image"])
        people = self._decoded(heat, paf)
        for name in self._scored():
            self._count(name, people, batch)
        truth = _truth(batch)
        oks = [mean_best_oks(found, *true, skeleton=self.skeleton) for found, true in zip(people, truth, strict=True)]
        return {
            "index": batch["index"],
            "valid": batch[VALID],
            "image": batch["image"],
            "people": people,
            "truth": truth,
            "oks": np.array(oks),
            "heat": heat,
            "paf": paf,
            "target_heat": targets.heat,
            "target_paf": targets.paf,
        }

    def _count(self, name: str, people: list[People], batch: dict[str, Tensor]) -> None:
        """Adds what the network or a baseline says of the pictures of a batch, in pixels of the files."""
        columns = (batch[key].tolist() for key in ("index", "image_id", VALID))
        rows = [row for row in zip(*columns, people, strict=True) if row[2]]
        results = []
        for index, image_id, _, found in rows:
            said = in_image(self._said(name, found), self._dataset.source.letterbox(index))
            results += to_results(said, image_id, self.skeleton)
        self._metric(name).update(results, [image_id for _, image_id, _, _ in rows])

    def _said(self, name: str, found: People) -> People:
        """Of a picture, by the network, which found these, or by a baseline."""
        if name == "mean_pose":
            return self.mean_pose()
        return found if name == MODEL else nobody(len(self.skeleton.joints))

    def _scored(self) -> tuple[str, ...]:
        """The network, and, as they do not change in training, the baselines elsewhere."""
        return (MODEL,) if self.trainer.state.fn == "fit" else (MODEL, *BASELINES)

    def _metric(self, name: str) -> PoseScores:
        metric = self.metrics[name]
        assert isinstance(metric, PoseScores)  # a ModuleDict forgets the type
        return metric

    def _log_scores(self, split: str) -> None:
        losses = self._summed({stage: mean.compute() for stage, mean in self.means.items()})  # type: ignore[operator]
        self.log_dict({f"{split}/{name}": value for name, value in losses.items()})
        for stage, scores in self.stage_scores.items():
            self.log_dict({f"{split}/{name}/{stage}": value for name, value in scores.compute().items()})  # type: ignore[operator]
        for name in self._scored():
            prefix = f"{split}/" if name == MODEL else f"baseline/{name}/{split}/"
            self.log_dict({prefix + key: value for key, value in self._metric(name).compute().items()})
            self._metric(name).reset()
        for metric in (*self.means.values(), *self.stage_scores.values()):
            metric.reset()  # type: ignore[operator]


def _target(stage: str, targets: PoseTargets) -> Tensor:
    return targets.paf if kind_of(stage) == "paf" else targets.heat


def _truth(batch: dict[str, Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints in pixels of the frame and visibility of everybody in each picture."""
    points, visibility = batch["points_xy"].cpu().numpy(), batch["visibility"].cpu().numpy()
    return [(xy[seen.any(axis=1)], seen[seen.any(axis=1)]) for xy, seen in zip(points, visibility, strict=True)]
