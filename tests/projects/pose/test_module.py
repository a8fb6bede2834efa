import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from common.errors import UserError
from projects.pose.coco.results import to_results
from projects.pose.data import PoseData
from projects.pose.datasets import PoseSamples
from projects.pose.module import PoseModule
from projects.pose.nets.interface import PoseOutput
from projects.pose.people import in_image
from projects.pose.skeleton import COCO, find_skeleton
from projects.pose.tta import TestTime
from tests.projects.pose.answers import Answers
from tests.projects.pose.fish import small_net
from tests.projects.pose.scenes import FIVE

STAGES = ("paf/1", "heat/1", "heat/2")
Scores = dict[str, float]


def module(**settings: Any) -> PoseModule:
    torch.manual_seed(0)
    defaults = {"net": small_net, "optimizer": torch.optim.AdamW, "size_hw": (64, 96)}
    return PoseModule(**(defaults | settings))


def quiet(folder: Path, **settings: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, use_distributed_sampler=False, max_epochs=1,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=folder,
        **settings,
    )  # fmt: skip


def four(real_data: Path, size_hw: tuple[int, int] = (368, 368), **settings: Any) -> PoseData:
    """The four real pictures, to train and to validate on."""
    files = {"train": "test_coco.json", "val": "test_coco.json"}
    data = PoseData(root=str(real_data / "pose" / "coco"), size_hw=size_hw, num_workers=0, cache=0, **files, **settings)
    data.setup("fit")
    return data


def part(data: PoseData, split: str) -> PoseSamples:
    samples = data.datasets[split]
    assert isinstance(samples, PoseSamples)
    return samples


def prepared(data: PoseData, split: str = "train") -> dict[str, torch.Tensor]:
    """All pictures of a split as the module gets them."""
    return data.on_after_batch_transfer(data.datasets[split].batch(0, list(range(len(data.datasets[split])))), 0)


def validated(net: PoseModule, data: PoseData, folder: Path, **settings: Any) -> Scores:
    return dict(quiet(folder, **settings).validate(net, datamodule=data, verbose=False)[0])


class Seen(lightning.Callback):
    """Keeps what the steps of a validation return."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.outputs.append(outputs)


def test_perfect_maps_of_real_pictures_find_everybody(real_data: Path, tmp_path: Path) -> None:
    data, net, seen = four(real_data, batch_size=3), module(size_hw=(368, 368)), Seen()
    answers = Answers(net, part(data, "val"))
    found = validated(net, data, tmp_path, callbacks=[seen])
    assert found["val/ap"] >= 0.99
    assert found["val/ap50"] == found["val/ar50"] == found["val/pck"] == 1
    assert answers.calls == 2
    for stage in STAGES:
        assert max(found[f"val/loss/{stage}"], found[f"val/mae/{stage}"]) < 1e-12
        assert found[f"val/recall/{stage}"] == found[f"val/island_recall/{stage}"] == 1
        assert found[f"val/activity/{stage}"] == pytest.approx(1)
    assert found["val/loss"] < 1e-12
    for baseline in ("nothing", "mean_pose"):  # the latter was not fitted
        assert found[f"baseline/{baseline}/val/ap"] == found[f"baseline/{baseline}/val/pck"] == 0
    oks = np.concatenate([outputs["oks"] for outputs in seen.outputs])
    assert (oks[:4] > 0.95).all() and np.isnan(oks[4:]).all()
    people = [[len(points) for points, _ in outputs["truth"]] for outputs in seen.outputs]
    assert people == [[1, 2, 4], [5, 0, 0]]  # and padding


def test_scores_do_not_depend_on_batches(real_data: Path, tmp_path: Path) -> None:
    found = []
    for batch_size in (1, 3):
        data, net = four(real_data, (256, 384), batch_size=batch_size), module(size_hw=(256, 384))
        Answers(net, part(data, "val"), noise=0.05)
        found.append(validated(net, data, tmp_path))
    assert 0.05 < found[0]["val/ap"] < 0.98
    assert found[0]["val/loss"] > 0.01
    assert found[1] == pytest.approx(found[0], abs=1e-9, nan_ok=True)


def test_pictures_that_were_not_looked_at_do_not_count(real_data: Path, tmp_path: Path) -> None:
    data, net = four(real_data, batch_size=1), module(size_hw=(368, 368))
    Answers(net, part(data, "val"))
    assert validated(net, data, tmp_path, limit_val_batches=2)["val/ap"] >= 0.99


def test_people_are_in_pixels_of_the_frame(real_data: Path) -> None:
    data, net = four(real_data), module(size_hw=(368, 368))
    Answers(net, part(data, "val"))
    batch = prepared(data, "val")
    found = net.people(batch["image"])
    for row, people in enumerate(found):
        labelled = batch["visibility"][row].numpy() > 0
        truth = batch["points_xy"][row].numpy()[labelled.any(axis=1)]
        seen = labelled[labelled.any(axis=1)]
        assert len(people.score) == len(truth)
        for points, one in zip(truth, seen, strict=True):
            away = np.linalg.norm(people.points_xy[:, one] - points[one], axis=-1)
            assert np.median(away, axis=1).min() < 1


def test_what_stands_where_pixels_are_ignored_changes_neither_loss_nor_gradient(real_data: Path) -> None:
    data, net = four(real_data, (256, 384)), module(size_hw=(256, 384))
    targets = net.targets(prepared(data))
    assert (~targets.counted).flatten(1).any(dim=1).tolist() == [False, True, True, False]

    def answered(strange: float, counted: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
        torch.manual_seed(0)
        maps = [torch.randn(size).where(counted, strange).requires_grad_() for size in (targets.paf.shape,
                targets.heat.shape, targets.heat.shape)]  # fmt: skip
        loss = net.losses(PoseOutput((maps[0],), (maps[1], maps[2])), targets)["loss"]
        loss.backward()
        return loss.item(), [each.grad for each in maps if each.grad is not None]

    value, gradients = answered(3.0, targets.counted)
    for strange in (math.nan, math.inf, -7.0):
        again = answered(strange, targets.counted)
        assert again[0] == value
        assert all(torch.equal(one, other) for one, other in zip(again[1], gradients, strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert answered(3.0, torch.zeros_like(targets.counted))[0] != value


def test_rows_that_are_not_valid_change_neither_loss_nor_gradient(real_data: Path) -> None:
    data, net = four(real_data, (64, 96)), module().eval()
    whole = data.datasets["train"].batch(0, [0, 1, 2, 3])
    lost = data.on_after_batch_transfer(whole | {"valid": torch.tensor([True, True, False, True])}, 0)
    kept = data.on_after_batch_transfer(data.datasets["train"].batch(0, [0, 1, 3]), 0)

    def gradients(batch: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
        net.zero_grad()
        loss = net.losses(net(batch["image"]), net.targets(batch))["loss"]
        loss.backward()
        yield loss.detach()
        yield from (each.grad.clone() for each in net.net.parameters() if each.grad is not None)

    pairs = list(zip(gradients(lost), gradients(kept), strict=True))
    assert len(pairs) > 20
    for one, other in pairs:
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("dtype", "size"), list(itertools.product((torch.float16, torch.bfloat16, torch.float32), (1e-4, 1e4)))
)
def test_losses_are_finite_in_every_precision(dtype: torch.dtype, size: float, real_data: Path) -> None:
    net, batch = module(), prepared(four(real_data, (64, 96)))
    targets = net.targets(batch)
    paf, heat = (
        (size * torch.randn(maps.shape).sign()).to(dtype).requires_grad_() for maps in (targets.paf, targets.heat)
    )
    losses = net.losses(PoseOutput((paf,), (heat, heat)), targets)
    assert set(losses) == {"loss", *(f"loss/{stage}" for stage in STAGES)}
    parts = sum(value.item() for name, value in losses.items() if name != "loss")
    assert losses["loss"].item() == pytest.approx(parts, rel=1e-6)
    losses["loss"].backward()
    for maps in (paf, heat):
        assert maps.grad is not None
        assert maps.grad.isfinite().all()
    assert all(value.isfinite() for value in losses.values())


def test_a_batch_in_which_nothing_counts_costs_nothing(real_data: Path) -> None:
    net, batch = module(), prepared(four(real_data, (64, 96)))
    batch["ignored"] = torch.full_like(batch["ignored"], 255)
    assert net.losses(net(batch["image"]), net.targets(batch))["loss"].item() == 0


def test_what_is_fitted_before_training(real_data: Path, tmp_path: Path) -> None:
    data, net = four(real_data, (64, 96), batch_size=2), module(optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    trainer = quiet(tmp_path, limit_val_batches=0)
    trainer.fit(net, datamodule=data)
    frames = data.datasets["train"].batch(0, [0, 1, 2, 3])["frame"][..., :3].double().reshape(-1, 3)
    torch.testing.assert_close(net.standardizer.mean, frames.mean(dim=0).float())
    torch.testing.assert_close(net.standardizer.std, frames.std(dim=0, correction=0).float())
    people = net.mean_pose()
    assert 0 < len(people.score) <= 12
    assert people.score.sum() == pytest.approx(1)  # shares of the training people
    mean = net.standardizer.mean.clone()
    net.mean_pose.centres.zero_()
    net.standardizer.mean += 1
    quiet(tmp_path, limit_val_batches=0).fit(net, datamodule=data)  # from weights: they expect what they were given
    torch.testing.assert_close(net.standardizer.mean, mean + 1)
    assert len(net.mean_pose().score) == len(people.score)


def test_the_mean_pose_is_scored_in_pixels_of_the_files(real_data: Path, tmp_path: Path) -> None:
    data, net = four(real_data, (64, 96)), module()
    samples = part(data, "val")
    net.mean_pose.fit(samples.people())
    found = validated(net, data, tmp_path)
    metric = net.metrics["mean_pose"]
    metric.ground_truth = samples.ground_truth  # type: ignore[assignment]
    for row, number in enumerate(samples.image_ids.tolist()):
        said = in_image(net.mean_pose(), samples.source.letterbox(row))
        metric.update(to_results(said, number, COCO), [number])  # type: ignore[operator]
    expected = {f"baseline/mean_pose/val/{name}": float(value) for name, value in metric.compute().items()}  # type: ignore[operator]
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert found["baseline/mean_pose/val/pck"] > found["baseline/nothing/val/pck"] == 0


def test_augmentation_at_test_time_is_for_use_and_not_for_validation_while_training(
    real_data: Path, tmp_path: Path
) -> None:
    data, shown = four(real_data, (64, 96), batch_size=4), list[tuple[int, ...]]()
    net = module(test_time=TestTime(flip=True, scales=(1.0, 0.5)), optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    net.net.register_forward_hook(lambda _, given, __: shown.append(tuple(given[0].shape[-2:])))
    validated(net, data, tmp_path)
    assert shown == [(64, 96)] * 3 + [(32, 48)] * 2  # the first for the losses
    shown.clear()
    quiet(tmp_path).fit(net, datamodule=data)
    assert shown == [(64, 96)] * 2
    shown.clear()
    net.eval().people(prepared(data)["image"])
    assert shown == [(64, 96)] * 2 + [(32, 48)] * 2


def test_weights_of_another_skeleton_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fish.yaml"
    path.write_text(FIVE)
    fish: dict[str, Any] = {}
    module(skeleton=str(path)).on_save_checkpoint(fish)
    assert fish["skeleton"]["keypoints"][0] == "tail"
    module(skeleton=str(path)).on_load_checkpoint(fish)
    with pytest.raises(UserError, match=r"found 'coco' with 17 keypoints, but the checkpoint's .* another, 'fish'"):
        module().on_load_checkpoint(fish)
    path.write_text(FIVE.replace("[mouth, crest]", "[middle, crest]"))
    assert find_skeleton(str(path)).paf_channels == 10  # the weights would fit
    with pytest.raises(UserError, match="found 'fish' with 5 keypoints, but the checkpoint's"):
        module(skeleton=str(path)).on_load_checkpoint(fish)
    with pytest.raises(UserError, match="trained for another"):
        module().on_load_checkpoint({"skeleton": ["no", "skeleton"]})


@pytest.mark.parametrize("size_hw", [(64, 100), (0, 96), (64, -96)])
def test_a_size_that_the_network_cannot_take_is_named(size_hw: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=re.escape(f"model.size_hw: found {size_hw}, expected multiples of 16")):
        module(size_hw=size_hw)
