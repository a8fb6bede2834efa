from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score

from common.data.samples import VALID
from common.errors import UserError
from common.losses.criterion import Criterion
from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.module import CloudModule
from projects.clouds.nets import CloudNet

Make = Callable[..., CloudModule]


@pytest.fixture
def make() -> Make:
    def module(**options: Any) -> CloudModule:
        torch.manual_seed(0)
        given = {"tile_hw": (64, 64), "optimizer": torch.optim.AdamW} | options
        return CloudModule(net=lambda bands: CloudNet(bands, unet={"width": 8, "depth": 2, "stem": 2}), **given)

    return module


@pytest.fixture
def data(cloud_scenes: Path) -> CloudData:
    made = CloudData(root=str(cloud_scenes), tile_hw=(64, 64), batch_size=4, cache=0)
    made.setup("fit")
    return made


def scored(module: CloudModule, data: CloudData, tmp_path: Path) -> dict[str, float]:
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, use_distributed_sampler=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    return dict(trainer.test(module, datamodule=data, verbose=False)[0])


def scenes_of(data: CloudData) -> WholeScenes:
    scenes = data.datasets["test"]
    assert isinstance(scenes, WholeScenes)
    return scenes


def test_scores_are_those_of_whole_scenes(make: Make, data: CloudData, tmp_path: Path) -> None:
    module, scenes = make(threshold=0.45).eval(), scenes_of(data)
    module.standardizer.partial_fit(next(data.some_tiles(1))[0])
    found = scored(module, data, tmp_path)
    said = [(module.predict_map(scenes, index) >= 0.45).ravel() for index in range(len(scenes))]
    true = [(scenes.target(index) == 1).ravel() for index in range(len(scenes))]
    together = np.concatenate(true), np.concatenate(said)
    assert found["test/iou"] == pytest.approx(jaccard_score(*together), abs=1e-6)
    assert found["test/f1"] == pytest.approx(f1_score(*together), abs=1e-6)
    each = [jaccard_score(t, s, zero_division=1.0) for t, s in zip(true, said, strict=True)]
    assert found["test/scene_iou"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["baseline/all_cloud/test/iou"] == pytest.approx(np.mean(together[0]), abs=1e-6)
    assert found["baseline/no_cloud/test/iou"] == 0


def test_tiles_at_once_do_not_show_in_a_score(make: Make, data: CloudData, tmp_path: Path) -> None:
    first, again = (scored(make(tiles_at_once=size), data, tmp_path) for size in (1, 5))
    assert first == pytest.approx(again, abs=2e-6, nan_ok=True)


def test_a_row_of_padding_counts_nothing(make: Make, data: CloudData) -> None:
    batch = {"index": torch.tensor([0]), VALID: torch.tensor([False])}
    assert make()._evaluate(batch, scenes_of(data)) == {}


def test_a_network_that_says_nan_is_not_taken_for_missing_data(
    make: Make, data: CloudData, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make().eval()
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(module, "forward", lambda images: images[:, :1] * torch.nan)
    batch = {"index": torch.tensor([0]), VALID: torch.tensor([True])}
    outputs = module._evaluate(batch, scenes_of(data))
    assert torch.isnan(outputs["probability"]).all()  # what FiniteValidation looks for
    assert outputs["valid"].all()


def test_what_is_fitted_on_training_tiles(make: Make, data: CloudData) -> None:
    module = make(criterion=Criterion(pos_weight="auto"))
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    module.on_fit_start()
    tiles = [(image[..., ::4, ::4], label[..., ::4, ::4]) for image, label in data.some_tiles(256)]
    pixels = torch.cat([image.movedim(1, 0).flatten(1) for image, _ in tiles], dim=1)
    torch.testing.assert_close(module.standardizer.mean, pixels.mean(dim=1))
    torch.testing.assert_close(module.standardizer.std, pixels.std(dim=1, correction=0))
    cloud = torch.cat([label.ravel() for _, label in tiles])
    share = (cloud == 1).sum() / (cloud != 255).sum()
    assert float(module.pos_weight) == pytest.approx(float((1 - share) / share), rel=1e-5)
    assert 0 < module.brightness.threshold < 2


def test_what_is_missing_is_average_to_the_network(make: Make) -> None:
    module = make().eval()
    module.standardizer.partial_fit(torch.rand(2, 4, 8, 8))
    images = torch.rand(1, 4, 64, 64)
    images[:, :, 5, 6] = torch.nan
    filled = images.clone()
    filled[:, :, 5, 6] = module.standardizer.mean
    torch.testing.assert_close(module(images), module(filled))


def test_data_that_teach_nothing_end_the_run(make: Make, tmp_path: Path) -> None:
    for folder in ("scenes", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        np.save(tmp_path / "scenes" / f"{number}.npy", np.full((70, 70, 13), np.nan, np.float32))
        np.save(tmp_path / "masks" / f"{number}.npy", np.ones((70, 70), np.uint8))
    data = CloudData(root=str(tmp_path), tile_hw=(64, 64), cache=0)
    data.setup("fit")
    module = make()
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="holds a pixel with both values and a class"):
        module.on_fit_start()


def test_weights_of_another_unit_are_refused(make: Make, data: CloudData) -> None:
    module = make()
    module.standardizer.partial_fit(5000 + 1000 * torch.rand(2, 4, 8, 8))
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="is the unit another"):
        module.on_fit_start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overlap": 1.0}, "model.overlap"),
        ({"threshold": 0.0}, "model.threshold"),
        ({"bands": ("B2", "B2")}, "model.bands"),
        ({"bands": ()}, "model.bands"),
    ],
)
def test_settings_out_of_range_are_refused(make: Make, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(**options)
