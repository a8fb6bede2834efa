"""The clouds' LightningModule: it owns the bands, the tile, the standardisation and the threshold."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from common.data.blending import Blend
from common.data.blocks import NOT_COUNTED
from common.data.samples import VALID
from common.data.standardize import Standardizer
from common.data.tiles import Box, Grid, make_grid
from common.errors import UserError
from common.export.parity import Parity
from common.losses.criterion import Criterion
from common.metrics.mean_loss import MeanLoss
from common.metrics.segmentation import BinarySegmentation
from common.optim import optimizers
from common.tiled import predict_rows
from common.trainer import ExportableModule
from projects.clouds.baselines import BrightnessThreshold
from projects.clouds.datasets import WholeScenes, label_of
from projects.clouds.graph import export_clouds
from projects.clouds.nets import CloudNet
from projects.clouds.scenes import CLOUD, strips

MODEL = "model"
"""Name of the network's own metric, beside the baselines'."""

BASELINES = ("no_cloud", "all_cloud", "brightness")
"""Trivial answers that a score stands beside: no cloud, nothing but cloud, and what is brighter than a threshold."""

FIT_TILES = 256
"""Training tiles on which standardisation, weight of cloud and brightness threshold are fitted."""

FIT_STEP = 4
"""Of the rows and columns of these tiles, every fourth is looked at: neighbours are alike."""


@runtime_checkable
class Readable(Protocol):
    """A scene, read part by part."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        ...

    def read_float(self, box: Box) -> np.ndarray:
        """Values (bands, height, width) of a part, float32, NaN where missing."""
        ...


class CloudModule(ExportableModule):
    """Says of each pixel of a scene whether it is cloud.

    Args:
        net: makes the network from its number of input channels, one per band.
        optimizer: makes the optimizer from parameters.
        scheduler: makes the learning-rate scheduler from an optimizer; None keeps the rate.
        criterion: the loss.
        bands: names of the bands that the network sees, in order.
        tile_hw: (height, width) of the tiles that it is trained on and that scenes are cut into.
        overlap: of neighbouring tiles of a scene, as a share of a tile.
        blend: how the probabilities of overlapping tiles become one, see `common.data.tiles`.
        threshold: smallest probability of cloud.
        boundary_px: how far a boundary may be off in the boundary F-score, in pixels.
        tiles_at_once: of a scene that is evaluated.
    """

    input_settings = ("bands",)
    pos_weight: Tensor

    def __init__(  # noqa: PLR0913 - one argument per line of the config
        self,
        *,
        net: Callable[[int], CloudNet],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        criterion: Criterion = Criterion(),  # noqa: B008 - frozen
        bands: Sequence[str] = ("B4", "B3", "B2", "B8"),
        tile_hw: tuple[int, int] = (256, 256),
        overlap: float = 0.25,
        blend: Blend = "hann",
        threshold: float = 0.5,
        boundary_px: int = 2,
        tiles_at_once: int = 4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not 0 <= overlap < 1:
            raise UserError(f"model.overlap: found {overlap}; expected a share of a tile, 0 or more and less than 1")
        if not 0 < threshold < 1:
            raise UserError(f"model.threshold: found {threshold}; expected a probability between 0 and 1")
        if len(set(bands)) != len(bands) or not bands:
            raise UserError(f"model.bands: found {list(bands)}; expected one or more different names")
        self.net = net(len(bands))
        self.optimizer, self.scheduler, self.criterion = optimizer, scheduler, criterion
        self.bands, self.tile_hw, self.overlap, self.blend = tuple(bands), tile_hw, overlap, blend
        self.threshold, self.tiles_at_once = threshold, tiles_at_once
        self.standardizer = Standardizer(len(bands))
        self.brightness = BrightnessThreshold(self.bands)
        self.register_buffer("pos_weight", torch.ones(()))
        self.metrics = nn.ModuleDict({name: BinarySegmentation(boundary_px) for name in (MODEL, *BASELINES)})
        self.means = nn.ModuleDict({name: MeanLoss() for name in criterion.terms})

    def forward(self, images: Float[Tensor, "batch bands height width"]) -> Float[Tensor, "batch 1 height width"]:
        """Logits of cloud for images as the files have them, of any size; what is not finite counts as average."""
        x = self.standardizer(images)
        logits: Tensor = self.net(torch.where(torch.isfinite(x), x, 0))
        return logits

    def probability(self, images: Float[Tensor, "batch bands height width"]) -> Float[Tensor, "batch 1 height width"]:
        """Probability of cloud, 0..1, float32."""
        return self(images).float().sigmoid()

    @property
    def overlap_hw(self) -> tuple[int, int]:
        """(height, width) in pixels by which the tiles of a scene overlap."""
        return int(self.overlap * self.tile_hw[0]), int(self.overlap * self.tile_hw[1])

    def grid(self, size_hw: tuple[int, int]) -> Grid:
        """The tiles of a scene."""
        return make_grid(size_hw, self.tile_hw, overlap_hw=self.overlap_hw, edge="pad")

    def predict_rows(
        self, scene: Readable, *, batch_size: int, advance: Callable[[int], object] = lambda tiles: None
    ) -> Iterator[tuple[int, Float[np.ndarray, "rows width"]]]:
        """Probability of cloud in a scene of any size, strip by strip: (first row, values), NaN where missing.

        Memory is that of a strip of tiles.

        Args:
            scene: read part by part, with the module's bands.
            batch_size: tiles per call of the network.
            advance: is told how many tiles were done.
        """

        def network(tiles: Tensor, numbers: range) -> Tensor:
            return hide_missing(self.probability(tiles), tiles)

        for top, rows in self._rows(scene, network, batch_size=batch_size, advance=advance):
            yield top, rows[0]

    def predict_map(self, dataset: WholeScenes, index: int) -> Float[np.ndarray, "height width"]:
        """Probability of cloud in a scene of a split, NaN where missing."""
        rows = self.predict_rows(dataset.scenes[index].scene, batch_size=self.tiles_at_once)
        return np.concatenate([values for _, values in rows])

    def on_fit_start(self) -> None:
        """Fits on training tiles what is no weight, unless a checkpoint of this run brought it."""
        if self.trainer.ckpt_path:
            return
        whole = self.trainer.datamodule.some_tiles(FIT_TILES)  # type: ignore[attr-defined]
        step = np.s_[..., ::FIT_STEP, ::FIT_STEP]
        tiles = [(images[step].clone(), labels[step].clone()) for images, labels in whole]  # no views of them
        counted = torch.cat([labels[labels != NOT_COUNTED] for _, labels in tiles])
        if not len(counted):
            raise UserError(
                f"data: none of {len(tiles)} training tiles holds a pixel with both values and a class; check the "
                "scenes for NaN, their nodata value, the masks, and what data.classes ignores"
            )
        self._standardize(tiles)
        self.pos_weight.fill_(self.criterion.weight_of_positives((counted == CLOUD).double().mean().item()))
        self.brightness.fit(tiles)

    def _standardize(self, tiles: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Fits the standardisation, unless weights of another run brought that which they expect."""
        found = Standardizer(len(self.bands))
        for images, _ in tiles:
            found.partial_fit(images.movedim(1, 0)[:, torch.isfinite(images).all(dim=1)], channel_dim=0)
        if found.unlike(known := deepcopy(self.standardizer).cpu()):
            raise UserError(
                f"data: values of {found.mean.mean():.4g} on average, but the weights were trained on values of "
                f"{known.mean.mean():.4g}; is the unit another (reflectance 0..1, or times 10000)? Give both the same"
            )
        if not known.count:
            self.standardizer.load_state_dict(found.state_dict())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Predict, compare, log."""
        label = batch["label"][:, None]
        target, counted = (label == CLOUD).float(), label != NOT_COUNTED
        losses = self.criterion(self(batch["image"]), target, counted, pos_weight=self.pos_weight)
        self.log_dict({f"train/{name}_step": value for name, value in losses.items()}, on_step=True, on_epoch=False)
        means = {f"train/{name}_epoch": value for name, value in losses.items()}  # over all ranks, at the epoch's end
        self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(label))
        return losses

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        """Predict a scene, compare, count."""
        return self._evaluate(batch, self.trainer.val_dataloaders.dataset)  # type: ignore[union-attr]

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        """Predict a scene, compare, count."""
        return self._evaluate(batch, self.trainer.test_dataloaders.dataset)  # type: ignore[union-attr]

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of the validation split."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the scores of the test split."""
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler of the config."""
        return optimizers(self, self.optimizer, self.scheduler)

    def export(self, path: Path, *, probability: bool = True, band_names: Sequence[str] | None = None) -> Parity:
        """Writes the network as ONNX, see `projects.clouds.graph`.

        Args:
            path: file to write.
            probability: with a second output, which joins overlapping tiles better than their masks do.
            band_names: of the channels of files that do not name them, as in training.
        """
        return export_clouds(self, path, probability=probability, band_names=band_names)

    def _rows(
        self, scene: Readable, network: Callable[[Tensor, range], Tensor], **options: Any
    ) -> Iterator[tuple[int, Float[np.ndarray, "channels rows width"]]]:
        grid = self.grid(scene.size_hw)
        yield from predict_rows(scene.read_float, network, grid, blend=self.blend, device=self.device, **options)

    def _evaluate(self, batch: dict[str, Tensor], dataset: WholeScenes) -> dict[str, Any]:
        """One scene, joined from its tiles; nothing where the row of the batch is padding."""
        if not bool(batch[VALID][0]):
            return {}
        index = int(batch["index"][0])
        labels = dataset.target(index)
        target = torch.from_numpy(labels)
        scene, grid = dataset.scenes[index].scene, self.grid(dataset.scenes[index].size_hw)

        def network(tiles: Tensor, numbers: range) -> Tensor:
            logits = self(tiles)
            boxes = [grid.box(number) for number in numbers]
            cut = [label_of(labels[box.top : box.bottom, box.left : box.right], grid) for box in boxes]
            self._add_losses(logits, torch.from_numpy(np.stack(cut))[:, None].to(self.device))
            return hide_missing(logits.float().sigmoid(), tiles)

        rows = self._rows(scene, network, batch_size=self.tiles_at_once)
        probability = torch.from_numpy(np.concatenate([values[0] for _, values in rows]))
        valid = target != NOT_COUNTED
        probability = torch.where(valid, probability, 0)  # a NaN of the network's own stays, to be found and named
        iou = self._count(MODEL, probability >= self.threshold, target, valid)
        if self.trainer.state.fn != "fit":  # they do not change
            for name in BASELINES:
                self._count(name, self._baseline(name, dataset, index), target, valid)
        return {"scene": index, "probability": probability, "target": target, "valid": valid, "iou": iou}

    def _add_losses(self, logits: Tensor, labels: Tensor) -> None:
        target, counted = (labels == CLOUD).float(), labels != NOT_COUNTED
        for name, parts in self.criterion.parts(logits, target, counted, pos_weight=self.pos_weight).items():
            self.means[name].update(parts)  # type: ignore[operator] # a ModuleDict forgets the type

    def _baseline(self, name: str, dataset: WholeScenes, index: int) -> Tensor:
        """What a baseline says of a scene, bool (height, width)."""
        scene = dataset.scenes[index]
        if name != "brightness":
            return torch.full(scene.size_hw, name == "all_cloud")
        parts = [torch.from_numpy(scene.scene.read_float(box)) for box in strips(scene.box)]
        return torch.cat([self.brightness(part[None].to(self.device))[0].cpu() for part in parts])

    def _count(self, name: str, predicted: Tensor, target: Tensor, valid: Tensor) -> float:
        """Adds a scene to a metric; its own IoU."""
        scores = self.metrics[name](predicted, target == CLOUD, valid)
        return float(scores["scene_iou"])

    def _log_scores(self, split: str) -> None:
        means = {name: mean.compute() for name, mean in self.means.items()}  # type: ignore[operator]
        self.log_dict({f"{split}/{name}": value for name, value in self.criterion.weighted(means).items()})
        for mean in self.means.values():
            mean.reset()  # type: ignore[operator]
        for name in (MODEL, *BASELINES) if self.trainer.state.fn != "fit" else (MODEL,):
            prefix = f"{split}/" if name == MODEL else f"baseline/{name}/{split}/"
            self.log_dict({prefix + key: value for key, value in self.metrics[name].compute().items()})  # type: ignore[operator]
            self.metrics[name].reset()  # type: ignore[operator]


def hide_missing(probability: Tensor, tiles: Tensor) -> Tensor:
    """NaN where a tile lacks a value."""
    return torch.where(torch.isfinite(tiles).all(dim=1, keepdim=True), probability, torch.nan)
