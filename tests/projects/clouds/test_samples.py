"""Which scenes are collected for pictures, and where they go."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from common.data.tiles import Box
from projects.clouds.samples import SamplePanels

NAN = float("nan")
IOUS = [0.9, 0.3, NAN, 0.2, 0.8, 0.1, 0.7, 0.5, 0.6, 0.4]


class Scenes:
    """Ten small scenes, named by their number."""

    def __len__(self) -> int:
        return len(IOUS)

    def __getitem__(self, index: int) -> int:
        return index

    def source_of(self, index: int) -> tuple[str, int]:
        return f"scene {index}", index

    def rgb(self, index: int, box: Box | None = None, *, most_px: int = 1024) -> np.ndarray:
        return np.full((6, 8, 3), index, np.uint8)


class Steps(lightning.LightningModule):
    """Answers as the clouds' module does; after each scene comes a row of padding."""

    threshold = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor) -> Tensor:
        return self.weight

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        return self.test_step(batch, batch_idx)

    def test_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        if batch_idx % 2:
            return {}
        valid = torch.ones(6, 8, dtype=torch.bool)
        valid[0] = False
        return {
            "scene": int(batch),
            "probability": torch.full((6, 8), 0.75),
            "target": torch.ones(6, 8, dtype=torch.uint8),
            "valid": valid,
            "iou": IOUS[int(batch)],
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorded(CSVLogger):
    """Remembers tables and images."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tables: list[tuple[str, list[str], list[list[Any]]]] = []
        self.images: list[tuple[str, list[str]]] = []

    def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
        self.tables.append((key, columns, data))

    def log_image(self, key: str, images: list[str]) -> None:
        self.images.append((key, images))

    def names(self) -> list[list[str]]:
        return [[row[0] for row in data] for _, _, data in self.tables]


def _run(verb: str, tmp_path: Path, panels: SamplePanels, **options: Any) -> Recorded:
    logger = Recorded(tmp_path)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=logger, callbacks=[panels], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=2, limit_train_batches=1, default_root_dir=tmp_path, **options
    )  # fmt: skip
    order = [index for scene in range(len(IOUS)) for index in (scene, scene)]  # the second one is padding
    loader: DataLoader[int] = DataLoader(Scenes(), sampler=order, batch_size=1)  # type: ignore[arg-type]
    if verb == "fit":
        trainer.fit(Steps(), DataLoader(range(1)), loader)  # type: ignore[arg-type]
    else:
        getattr(trainer, verb)(Steps(), loader, verbose=False)
    return logger


def _pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_test_shows_spread_scenes_and_the_worst_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = _run("test", tmp_path, SamplePanels(tmp_path / "pictures", spread=4, worst=3))
    assert _pictures(tmp_path / "pictures") == ["test.png"]
    assert logger.names() == [[f"scene {index}" for index in (0, 3, 6, 9, 5, 1, 7)]], (
        "3 is among the worst and not twice"
    )
    assert logger.images == [("test", [str(tmp_path / "pictures" / "test.png")])]
    assert "test.png (the last 3 rows are the worst scenes)" in capsys.readouterr().out


def test_the_table_has_pictures_and_numbers(tmp_path: Path) -> None:
    logger = _run("test", tmp_path, SamplePanels(tmp_path / "pictures"))
    ((key, columns, data),) = logger.tables
    assert key == "test/scenes"
    row = dict(zip(columns, data[1], strict=True))
    pictures = [row.pop(name) for name in ("image", "target", "prediction", "error map")]
    assert row == {"name": "scene 3", "IoU": 0.2, "cloud labelled": 1.0, "cloud predicted": 1.0}
    assert all(isinstance(picture, wandb.Image) for picture in pictures)
    assert pictures[0].image.getpixel((0, 0)) == (3, 3, 3)


def test_each_validation_of_a_training_has_its_picture_of_the_same_scenes(tmp_path: Path) -> None:
    logger = _run("fit", tmp_path, SamplePanels(tmp_path / "pictures", spread=3))
    assert _pictures(tmp_path / "pictures") == ["val_epoch_001.png", "val_epoch_002.png"], "none of the sanity check"
    assert logger.names() == [["scene 0", "scene 4", "scene 9"]] * 2
    assert {key for key, *_ in logger.tables} == {"val/scenes"}


def test_a_validation_alone_shows_the_worst_too(tmp_path: Path) -> None:
    logger = _run("validate", tmp_path, SamplePanels(tmp_path / "pictures", spread=1, worst=2))
    assert _pictures(tmp_path / "pictures") == ["val.png"]
    assert logger.names() == [["scene 0", "scene 5", "scene 3"]]


def test_no_scene_shown_is_no_picture(tmp_path: Path) -> None:
    _run("test", tmp_path, SamplePanels(tmp_path / "pictures", spread=0, worst=0))
    assert not (tmp_path / "pictures").exists()


def test_only_the_first_rank_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    _run("test", tmp_path, SamplePanels(tmp_path / "pictures"))
    assert not (tmp_path / "pictures").exists()
