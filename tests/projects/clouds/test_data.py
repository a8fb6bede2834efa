import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.blocks import MISSING, NOT_COUNTED
from common.data.random_tiles import RandomTiles
from common.errors import BadRecordError, UserError
from projects.clouds.data import CloudData
from projects.clouds.datasets import WholeScenes
from projects.clouds.scenes import Classes


def made(root: Path, **options: object) -> CloudData:
    data = CloudData(root=str(root), tile_hw=(32, 32), **options)  # type: ignore[arg-type]
    data.setup("fit")
    return data


def whole(data: CloudData, split: str) -> WholeScenes:
    scenes = data.datasets[split]
    assert isinstance(scenes, WholeScenes)
    return scenes


def train(data: CloudData) -> RandomTiles:
    tiles = data.datasets["train"]
    assert isinstance(tiles, RandomTiles)
    return tiles


def some(root: Path, size_hw: tuple[int, int] = (40, 50), count: int = 4) -> Path:
    """Scenes of three bands whose masks are one-hot: cloud above, shadow at the left, clear else."""
    random = np.random.default_rng(0)
    for folder in ("scenes", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        np.save(root / "scenes" / f"{number}.npy", random.random((*size_hw, 3), dtype=np.float32))
        onehot = np.zeros((*size_hw, 3), bool)
        onehot[..., 0] = True
        onehot[:10] = (False, True, False)
        onehot[10:, :5] = (False, False, True)
        np.save(root / "masks" / f"{number}.npy", onehot)
    return root


BANDS = {"bands": ("B4", "B3", "B2")}


def test_lists_say_what_is_for_what(cloud_scenes: Path) -> None:
    data = made(cloud_scenes)
    assert [len(train(data).blocks.scenes), len(whole(data, "val")), len(whole(data, "test"))] == [3, 1, 2]
    listed = (cloud_scenes / "filelists" / "test.csv").read_text().split()
    assert sorted(f"{scene.name}.npy" for scene in whole(data, "test").scenes) == sorted(listed)


def test_bands_come_by_name_and_in_order(cloud_scenes: Path) -> None:
    name = (cloud_scenes / "filelists" / "test.csv").read_text().split()[0]
    stored = np.load(cloud_scenes / "subscenes" / name)
    data = made(cloud_scenes, bands=("B11", "B2"))
    index = next(i for i, scene in enumerate(whole(data, "test").scenes) if f"{scene.name}.npy" == name)
    scene = whole(data, "test").scenes[index]
    np.testing.assert_array_equal(
        whole(data, "test").read_float(index, scene.box), stored[..., [11, 1]].transpose(2, 0, 1)
    )


@pytest.mark.parametrize(
    ("classes", "cloud", "counted"),
    [
        (Classes(), 500, 2000),
        (Classes(cloud=("CLOUD", "CLOUD_SHADOW")), 650, 2000),
        (Classes(ignored=("CLOUD_SHADOW",)), 500, 1850),
    ],
)
def test_shadow_counts_as_the_classes_say(tmp_path: Path, classes: Classes, cloud: int, counted: int) -> None:
    data = made(some(tmp_path / "root"), classes=classes, **BANDS)
    target = whole(data, "test").target(0)
    assert ((target == 1).sum(), (target != NOT_COUNTED).sum()) == (cloud, counted)


@pytest.mark.parametrize(
    "classes",
    [{"cloud": ("FOG",)}, {"cloud": ()}, {"ignored": ("CLOUD",)}, {"names": ("A", "A")}],
)
def test_classes_that_make_no_sense_are_refused(classes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UserError, match=r"data\.classes: found"):
        Classes(**classes)


def test_missing_values_count_nowhere(tmp_path: Path) -> None:
    root = some(tmp_path / "root")
    for file in (root / "scenes").iterdir():
        values = np.load(file)
        values[20:24, 30:36, 1] = np.nan
        np.save(file, values)
    data = made(root, **BANDS)
    assert (whole(data, "test").target(0) == NOT_COUNTED).sum() == 24
    tile = train(data)[0, 0]
    gone = tile["label"] == MISSING
    assert torch.equal(gone, ~torch.isfinite(tile["image"]).all(dim=0))
    for image, label in data.some_tiles(5):
        assert torch.equal(torch.isnan(image[0]).any(dim=0), torch.isnan(image[0]).all(dim=0))
        assert (label[0][torch.isnan(image[0, 0])] == NOT_COUNTED).all()


def test_without_lists_the_seed_divides_and_products_stay_together(cloud_scenes: Path, tmp_path: Path) -> None:
    for folder in ("subscenes", "masks"):
        shutil.copytree(cloud_scenes / folder, tmp_path / folder)
    first, again = made(tmp_path), made(tmp_path)
    assert "no lists: divided by seed 0" in first.describe()
    names = [[scene.name for scene in train(data).blocks.scenes] for data in (first, again)]
    assert names[0] == names[1]


def test_over_all_folds_each_scene_validates_once(tmp_path: Path) -> None:
    root = some(tmp_path / "root", count=8)
    seen = []
    for fold in range(3):
        data = made(root, fold=fold, folds=3, **BANDS)
        val = [scene.name for scene in whole(data, "val").scenes]
        test = [scene.name for scene in whole(data, "test").scenes]
        assert not {*val, *test} & {scene.name for scene in train(data).blocks.scenes}
        seen += val
    assert len(seen) == len(set(seen)) == 8 - len(test)
    with pytest.raises(UserError, match=r"data\.fold: found 3 of 3"):
        made(root, fold=3, folds=3, **BANDS)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    root = some(tmp_path / "root", count=5)
    (root / "masks" / "3.npy").unlink()
    (root / "filelists").mkdir()
    for split, name in (("train", "0.npy"), ("val", "1.npy"), ("test", "2.npy")):
        (root / "filelists" / f"{split}.csv").write_text(f"{name}\n")
    said = made(root, **BANDS).describe()
    assert "scene without a mask" in said
    assert "scene in no list" in said
    (root / "filelists" / "test.csv").write_text("3.npy\n")
    with pytest.raises(UserError, match=r"test\.csv: line 1: 3\.npy has no mask"):
        made(root, **BANDS)


def test_a_scene_cut_short_is_named_and_check_lists_it(tmp_path: Path) -> None:
    root = some(tmp_path / "root")
    bad = root / "scenes" / "1.npy"
    bad.write_bytes(bad.read_bytes()[:5000])
    with pytest.raises(BadRecordError, match=r"1\.npy"):
        made(root, **BANDS)
    data = CloudData(root=str(root), tile_hw=(32, 32), bands=("B4", "B3", "B2"))
    data.checking = True
    data.setup("fit")
    assert [problem.path for problem in data.lost_files] == [bad]


def test_pictures_with_masks_of_two_values(tmp_path: Path) -> None:
    for folder in ("scenes", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        pixels = np.full((40, 50, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scenes" / f"{number}.jpg")
        mask = np.zeros((40, 50), np.uint8)
        mask[:10] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    data = made(tmp_path, **BANDS)
    assert (whole(data, "test").target(0) == 1).sum() == 500
    assert train(data)[0, 0]["image"].dtype == torch.uint8


def test_real_scenes_in_the_layout(real_data: Path, tmp_path: Path) -> None:
    for folder in ("scenes", "masks", "filelists"):
        (tmp_path / folder).mkdir()
    for name, split in (("sentinel2", "train"), ("landsat7", "test")):
        with np.load(real_data / "clouds" / f"{name}.npz") as file:
            np.save(tmp_path / "scenes" / f"{name}.npy", file["img"])
            np.save(tmp_path / "masks" / f"{name}.npy", file["msk"])
        (tmp_path / "filelists" / f"{split}.csv").write_text(f"{name}.npy\n")
    classes = Classes(names=("SHADOW", "WATER", "SNOW", "LAND", "CLOUD"))
    data = made(tmp_path, band_names=("B2", "B3", "B4", "B8", "B11", "B12"), classes=classes)
    assert (whole(data, "test").target(0) == 1).sum() == 94451
    assert whole(data, "test").rgb(0).shape == (512, 512, 3)
    labels = train(data).batch(0, list(range(len(train(data)))))["label"]
    assert 0.1 < (labels == 1).float().mean() < 0.3  # 49597 of 262144 pixels
