import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from common.data.check import check_data
from common.errors import BadRecordError, UserError
from projects.pose import synthetic
from projects.pose.augment import PoseAugment
from projects.pose.data import PoseData
from projects.pose.datasets import PoseSamples
from projects.pose.skeleton import COCO
from tests.projects.pose.scenes import FIVE, person, truth_of

FOUR = {"train": "test_coco.json", "val": "test_coco.json"}
STILL = PoseAugment(flip=0.0, scale=0.0, rotate=0.0, translate=0.0, brightness=0.0, contrast=0.0, saturation=0.0,
                    gain=0.0, blur=0.0, noise=0.0)  # fmt: skip
POINTS = np.column_stack([np.linspace(20, 60, 17), np.linspace(10, 70, 17), np.full(17, 2)])
CROWD = {"iscrowd": 1, "segmentation": {"size": [80, 100], "counts": [4000, 2000, 2000]}}
"""Columns 50 to 74 of a picture, as run lengths down the columns."""


def some(root: Path, people: Sequence[int], split: str = "train") -> Path:
    """Pictures of 80 x 100 pixels with so many labelled people each, and a file that says so."""
    (root / split).mkdir(parents=True)
    for number in range(1, len(people) + 1):
        pixels = np.random.default_rng(number).integers(0, 255, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / split / f"{number}.jpg")
    annotations = [person(POINTS, image_id=number) for number, count in enumerate(people, 1) for _ in range(count)]
    write(root, annotations, images=len(people), split=split)
    return root


def write(root: Path, annotations: list[dict[str, Any]], *, images: int, split: str) -> None:
    numbered = [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]
    path = root / "annotations" / f"person_keypoints_{split}2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(truth_of(numbered, tuple(range(1, images + 1)))))


def made(root: Path, **settings: Any) -> PoseData:
    defaults = {"size_hw": (64, 96), "batch_size": 4, "num_workers": 0, "cache": 0}
    data = PoseData(root=str(root), **(defaults | settings))
    data.setup("fit")
    return data


def part(data: PoseData, split: str) -> PoseSamples:
    samples = data.datasets[split]
    assert isinstance(samples, PoseSamples)
    return samples


def test_real_pictures_are_letterboxed_with_everybody_s_joints(real_data: Path) -> None:
    data = made(real_data / "pose" / "coco", size_hw=(256, 384), **FOUR)
    assert "pictures: 4 train, 4 val, 0 test; people with joints: 12 train, 12 val, 0 test" in data.describe()
    content = json.loads((real_data / "pose" / "coco" / "test_coco.json").read_text())
    for row, image in enumerate(sorted(content["images"], key=lambda each: each["id"])):
        size = np.array([image["width"], image["height"]])
        inner = np.round(size * min(np.array([384, 256]) / size))
        offset = (np.array([384, 256]) - inner) // 2
        people = [one for one in content["annotations"] if one["image_id"] == image["id"] and one["num_keypoints"]]
        labels = np.array([one["keypoints"] for one in people], float).reshape(-1, 17, 3)
        sample = part(data, "val")[0, row]
        points, visibility = (sample[key].numpy()[:, COCO.joint_of_keypoint] for key in ("points_xy", "visibility"))
        np.testing.assert_array_equal(visibility[: len(people)], labels[..., 2])
        assert not visibility[len(people) :].any()
        expected = (labels[..., :2] + 0.5) * inner / size - 0.5 + offset
        seen = labels[..., 2] > 0
        np.testing.assert_allclose(points[: len(people)][seen], expected[seen], atol=1e-3)
        colours = sample["frame"][..., :3].float()
        assert sample["image_id"] == image["id"]
        with Image.open(real_data / "pose" / "coco" / image["file_name"]) as picture:
            mean = np.asarray(picture.convert("RGB")).mean() * inner.prod() / (384 * 256)
        assert colours.mean() == pytest.approx(mean, abs=0.5)
        assert not colours[:, : int(offset[0])].any() and not colours[: int(offset[1])].any()


def test_regions_without_keypoints_are_ignored_in_real_pictures(real_data: Path) -> None:
    data = made(real_data / "pose" / "coco", size_hw=(256, 384), **FOUR)
    content = json.loads((real_data / "pose" / "coco" / "test_coco.json").read_text())
    for row, (number, scale) in enumerate([(785, 0.6), (40083, 384 / 500), (196141, 256 / 429), (197388, 0.6)]):
        image = next(each for each in content["images"] if each["id"] == number)
        size, covered = (image["height"], image["width"]), {True: 0, False: 0}
        for one in (each for each in content["annotations"] if each["image_id"] == number):
            drawn = rle.decode(rle.merge(rle.frPyObjects(one["segmentation"], *size)))
            covered[one["num_keypoints"] > 0] |= drawn
        expected = np.sum(covered[False] & ~np.asarray(covered[True], np.uint8) & 1) * scale**2
        ignored = part(data, "train")[0, row]["frame"][..., 3]
        assert set(ignored.unique().tolist()) <= {0, 255}
        assert int((ignored > 0).sum()) == pytest.approx(expected, rel=0.15)
        assert (expected > 0) == (number in (40083, 196141))


def test_training_leaves_out_pictures_without_people_and_says_which(tmp_path: Path) -> None:
    root = some(some(tmp_path, (1, 0, 2, 0, 1)), (0, 3), "val")
    write(root, [person(POINTS, image_id=n) for n in (1, 3, 5)] + [person(image_id=2)], images=5, split="train")
    data = made(root)
    assert part(data, "train").image_ids.tolist() == [1, 3, 5]
    assert part(data, "val").image_ids.tolist() == [1, 2]  # whoever is found in the first is wrong
    assert [len(part(data, split).ground_truth["images"]) for split in ("train", "val", "test")] == [3, 2, 0]
    said = data.describe()
    assert "pictures: 3 train, 2 val, 0 test; people with joints: 3 train, 3 val, 0 test" in said
    assert f"left out: 2 x training picture without a labelled person in {root}/annotations" in said
    assert "2.jpg (id 2); 4.jpg (id 4)" in said


def test_without_a_file_a_share_is_for_validation(tmp_path: Path) -> None:
    data = made(some(tmp_path, [1] * 20), val_fraction=0.2)
    chosen = part(data, "val").image_ids.tolist()
    assert sorted([*part(data, "train").image_ids.tolist(), *chosen]) == list(range(1, 21))
    assert "pictures: 16 train, 4 val, 0 test (val: 4 of 20 training pictures)" in data.describe()
    assert [image["id"] for image in part(data, "val").ground_truth["images"]] == chosen
    assert {one["image_id"] for one in part(data, "val").ground_truth["annotations"]} == set(chosen)
    assert part(made(tmp_path, val_fraction=0.2), "val").image_ids.tolist() == chosen
    assert part(made(tmp_path, val_fraction=0.2, seed=1), "val").image_ids.tolist() != chosen


def test_over_all_folds_each_picture_validates_once(tmp_path: Path) -> None:
    root = some(some(tmp_path, (1,) * 7), (1, 1), "val")
    seen = []
    for fold in range(3):
        data = made(root, fold=fold, folds=3)
        seen += part(data, "val").image_ids.tolist()
        assert not {*part(data, "val").image_ids} & {*part(data, "train").image_ids}
        assert f"(val: fold {fold} of 0..2 of the training pictures)" in data.describe()
    assert seen == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fold": 5}, "data.fold: found 5 of 5 folds; expected 0..4"),
        ({"fold": 0, "folds": 1}, "data.fold: found 0 of 1 folds"),
        ({"fold": 0, "val": "mine.json"}, "data.fold 0 and data.val mine.json both name"),
        ({"val_fraction": 1.0}, "data.val_fraction: found 1.0; expected a share between 0 and 1"),
        ({"skeleton": "horse"}, "skeleton: found 'horse'; expected coco or the path of a YAML file"),
        ({"train": "absent.json"}, "data.train: no file"),
        ({"root": "/absent"}, "data.root: no folder /absent"),
    ],
)
def test_settings_that_make_no_data_are_named(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    root = some(tmp_path, (1,))
    with pytest.raises(UserError, match=re.escape(said)):
        PoseData(**({"root": str(root)} | settings)).setup("fit")


def test_annotations_of_another_skeleton_are_refused(tmp_path: Path) -> None:
    root = some(tmp_path, (1, 1))
    (root / "fish.yaml").write_text(FIVE.replace("category: 3", "category: 1"))
    with pytest.raises(UserError, match=r"person_keypoints_train2017\.json: .* the skeleton 'fish' has \['tail'"):
        made(root, skeleton=str(root / "fish.yaml"))


def test_pictures_that_are_not_there_are_said_and_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    root = some(tmp_path, (1, 1, 1))
    (root / "train" / "2.jpg").unlink()
    data = made(root)
    assert "left out: 1 x picture that is not there in " in data.describe()
    assert [problem.kind for problem in data.lost_records] == ["picture that is not there"]  # `check` lists it
    assert sorted([*part(data, "train").image_ids, *part(data, "val").image_ids]) == [1, 3]
    for name in ("1.jpg", "3.jpg"):
        (root / "train" / name).unlink()
    with pytest.raises(UserError, match=r"none of its 3 pictures, such as '1\.jpg'"):
        made(root)


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures of which one is cut short, and that one."""
    root = some(some(tmp_path / "damaged", (1,) * 8), (1, 1), "val")
    path = root / "train" / "3.jpg"
    path.write_bytes(path.read_bytes()[:700])
    return root, path


def test_a_damaged_picture_ends_training(damaged: tuple[Path, Path]) -> None:
    data = made(damaged[0])
    for read in (data.train_dataloader(), data.some_frames(8)):
        with pytest.raises(BadRecordError, match="no readable picture") as raised:
            list(read)
        assert raised.value.path == damaged[1]


def test_a_picture_that_may_be_skipped_is_named_and_counts_nowhere(
    damaged: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(damaged[0], skip_damaged=0.2)
    data.trainer = SimpleNamespace(training=True, global_rank=0, world_size=1, num_devices=1, node_rank=0,
                                   is_global_zero=True, state=SimpleNamespace(fn="fit"), limit_train_batches=2,
                                   )  # type: ignore[assignment] # fmt: skip
    lost = 0
    for batch in data.train_dataloader():
        moved = data.on_after_batch_transfer({name: values.clone() for name, values in batch.items()}, 0)
        gone = ~batch["valid"]
        lost += int(gone.sum())
        assert (moved["ignored"][gone] == 255).all() and not moved["visibility"][gone].any()
        assert moved["visibility"][~gone].flatten(1).any(dim=1).all()
    assert lost == 1
    assert f"skipped: {damaged[1]}: sample 2 (3.jpg 3): no readable picture" in capsys.readouterr().out
    assert len(list(data.some_frames(100))) == 7
    assert f"skipped in statistics: {damaged[1]}: " in capsys.readouterr().out


def test_check_lists_what_cannot_be_read(damaged: tuple[Path, Path], tmp_path: Path) -> None:
    root, path = damaged
    data = PoseData(root=str(root), size_hw=(64, 96))
    assert not check_data(data, tmp_path / "check.csv")
    with (tmp_path / "check.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:2] for row in rows[1:]] == [[str(path), "damaged record"]]
    assert rows[1][2].startswith("3.jpg 3 of train: no readable picture")
    path.write_bytes((root / "train" / "1.jpg").read_bytes())
    assert check_data(PoseData(root=str(root), size_hw=(64, 96)), tmp_path / "check.csv")


def test_padding_has_no_people_and_is_ignored(tmp_path: Path) -> None:
    data = made(some(some(tmp_path, (1, 1)), (2, 1, 1), "val"), batch_size=5)
    batch = next(iter(data.val_dataloader()))
    moved = data.on_after_batch_transfer(batch, 0)
    assert "frame" not in moved
    assert (moved["image"].shape, moved["image"].dtype) == ((5, 3, 64, 96), torch.float32)
    assert batch["valid"].tolist() == [True] * 3 + [False] * 2
    assert (moved["ignored"][3:] == 255).all() and not moved["ignored"][:3].any()
    assert moved["visibility"].dtype == torch.uint8
    assert (moved["visibility"] > 0).any(dim=2).sum(dim=1).tolist() == [2, 1, 1, 0, 0]


def test_pictures_change_in_training_alone_and_in_every_epoch(tmp_path: Path) -> None:
    data = made(some(tmp_path, (1, 1, 1, 1)))
    epochs = [part(data, "train").batch(epoch, [0, 1, 2]) for epoch in (0, 1)]
    assert torch.equal(epochs[0]["frame"], epochs[1]["frame"])

    def shown(batch: dict[str, torch.Tensor], *, training: bool, augment: PoseAugment) -> dict[str, torch.Tensor]:
        data.augment, data.trainer = augment, SimpleNamespace(training=training)  # type: ignore[assignment]
        return data.on_after_batch_transfer(dict(batch), 0)

    plain = shown(epochs[0], training=False, augment=PoseAugment())
    assert torch.equal(plain["image"], epochs[0]["frame"][..., :3].permute(0, 3, 1, 2).float())
    assert torch.equal(plain["points_xy"], epochs[0]["points_xy"])
    still = shown(epochs[0], training=True, augment=STILL)
    assert all(torch.equal(still[name], plain[name]) for name in plain)
    first, again, later = (shown(epochs[n], training=True, augment=PoseAugment()) for n in (0, 0, 1))
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["points_xy"], again["points_xy"])
    for name in ("image", "points_xy"):
        assert not torch.equal(first[name], plain[name]) and not torch.equal(first[name], later[name])


def test_batches_depend_neither_on_workers_nor_on_the_cache(tmp_path: Path) -> None:
    some(tmp_path, (1, 2, 1, 1, 3, 1, 1))
    streams = [
        [{key: values.clone() for key, values in batch.items()} for batch in made(tmp_path, **given).train_dataloader()]
        for given in ({}, {"num_workers": 2}, {"cache": "50%"})
    ]
    for one, *others in zip(*streams, strict=True):
        assert all(torch.equal(one[key], other[key]) for other in others for key in one)


def test_other_annotations_of_the_same_pictures_are_cached_apart(tmp_path: Path) -> None:
    root = some(tmp_path, (1, 1, 1, 1))
    crowded = [person(POINTS, image_id=n) for n in (1, 2, 3, 4)] + [person(image_id=n, **CROWD) for n in (1, 2, 3, 4)]
    numbered = [one | {"id": number} for number, one in enumerate(crowded, 1)]
    (root / "train" / "crowded.json").write_text(json.dumps(truth_of(numbered, (1, 2, 3, 4))))
    train = "annotations/person_keypoints_train2017.json"
    data = made(root, train=train, val="train/crowded.json", cache="50%")
    ignored = [next(iter(data.loader(split)))["frame"][..., 3].float().mean() for split in ("train", "val")]
    assert ignored[0] == 0
    assert ignored[1] > 10


def test_without_a_folder_synthetic_people_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "write_dataset", lambda root, **_: some(root, (1, 1, 1)))
    data = PoseData(store=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert f"data: {tmp_path}/pose/synthetic: pictures: 2 train, 1 val" in data.describe()


def test_frames_for_statistics_are_spread_over_the_training_pictures(tmp_path: Path) -> None:
    data = made(some(some(tmp_path, (1,) * 9), (1,), "val"), batch_size=2)
    frames = list(data.some_frames(2))
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 4
    expected = [part(data, "train")[0, index]["frame"][..., :3] for index in (0, 2, 5, 8)]
    assert all(torch.equal(frame, wanted) for frame, wanted in zip(frames, expected, strict=True))
