import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from common.data.masks import open_mask
from common.data.scene_folder import find_scenes
from common.data.scenes import open_scene
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

CLASSES = ["CLEAR", "CLOUD", "CLOUD_SHADOW"]
NUMBERS = np.array([[0, 1, 2, 255], [2, 2, 1, 0], [255, 0, 0, 1]])
WHOLE = Box(0, 3, 0, 4)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def one_hot(numbers: np.ndarray, classes: int = 3) -> np.ndarray:
    """(height, width) -> bool (height, width, classes)."""
    return numbers[..., None] == np.arange(classes)


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.sampled_from([0, 1, 2, 255]))
)
def test_every_kind_of_file_says_the_same(tmp_path_factory: pytest.TempPathFactory, numbers: np.ndarray) -> None:
    folder = tmp_path_factory.getbasetemp()
    hot, signed = one_hot(numbers), np.where(numbers == 255, 2, numbers).astype(np.int8)
    palette = Image.fromarray(numbers, "P")
    palette.putpalette(list(range(256)) * 3)
    palette.save(folder / "palette.png")
    files = {
        save(folder / "bool.npy", hot): numbers,
        save(folder / "bytes.npy", hot.astype(np.uint8)): numbers,
        save(folder / "fortran.npy", np.asfortranarray(hot)): numbers,
        save(folder / "map.npy", numbers): numbers,
        save(folder / "wide.npy", numbers.astype(np.int64)): numbers,
        save(folder / "signed.npy", signed): signed,
        save(folder / "deep.npy", numbers[..., None].astype(">u2")): numbers,
        folder / "palette.png": numbers,
    }
    for path, expected in files.items():
        mask = open_mask(path, numbers.shape, classes=CLASSES)
        for box in (Box(0, numbers.shape[0], 0, numbers.shape[1]), Box(numbers.shape[0] // 2, numbers.shape[0], 0, 1)):
            part = expected[box.top : box.bottom, box.left : box.right].astype(np.uint8)
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(mask)).read(box), part, strict=True)


@pytest.mark.parametrize(
    ("levels", "mode", "expected"),
    [
        ([0, 255, 0, 255], "L", [0, 1, 0, 1]),
        ([255, 255, 255, 255], "L", [1, 1, 1, 1]),
        ([0, 0, 0, 0], "L", [0, 0, 0, 0]),
        ([0, 1, 255, 0], "L", [0, 1, 255, 0]),
        ([0, 255, 0, 255], "1", [0, 1, 0, 1]),
        ([0, 255, 0, 0], "P", [0, 255, 0, 0]),
        ([0, 2, 1, 255], "I;16", [0, 2, 1, 255]),
    ],
)
def test_png(levels: list[int], mode: str, expected: list[int], tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([levels], np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        picture = Image.fromarray(np.array([levels], np.uint8), "P")
        picture.putpalette(list(range(256)) * 3)
    (picture.convert("1") if mode == "1" else picture).save(tmp_path / "a.PNG")
    assert Image.open(tmp_path / "a.PNG").mode == mode
    mask = open_mask(tmp_path / "a.PNG", (1, 4), classes=CLASSES)
    assert mask.read(Box(0, 1, 0, 4)).tolist() == [expected]
    assert mask.read(Box(0, 1, 2, 4)).tolist() == [expected[2:]]  # whatever lies in the part


def test_bool_map(tmp_path: Path) -> None:
    mask = open_mask(save(tmp_path / "a.npy", np.array([[True, False]])), (1, 2), classes=["clear", "cloud"])
    np.testing.assert_array_equal(mask.read(Box(0, 1, 0, 2)), np.array([[1, 0]], np.uint8), strict=True)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("unlabelled", ["value", "nodata", "layer"])
def test_geotiff(unlabelled: str, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    stored = np.where(NUMBERS == 255, {"value": 255, "nodata": 77, "layer": 0}[unlabelled], NUMBERS).astype(np.int16)
    shape = {"count": 1, "height": 3, "width": 4, "dtype": "int16", "nodata": 77 if unlabelled == "nodata" else None}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **shape) as file:
        file.write(stored, 1)
        if unlabelled == "layer":
            file.write_mask(NUMBERS != 255)
    mask = open_mask(tmp_path / "a.tif", (3, 4), classes=CLASSES)
    np.testing.assert_array_equal(mask.read(WHOLE), NUMBERS.astype(np.uint8), strict=True)
    np.testing.assert_array_equal(mask.read(Box(1, 3, 0, 2)), NUMBERS[1:, :2].astype(np.uint8), strict=True)


def spoilt(kind: str, value: int) -> np.ndarray:
    numbers = NUMBERS.astype(kind)
    numbers[2, 3] = value
    return numbers


def two_classes() -> np.ndarray:
    hot = one_hot(NUMBERS)
    hot[1, 2, 2] = True
    return hot


def lying_bool() -> np.ndarray:
    raw = one_hot(NUMBERS).astype(np.uint8)
    raw[0, 3, 1] = 7
    return raw.view(bool)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            spoilt("uint8", 3),
            r"row 2, column 3: value 3, expected 0 to 2 \(CLEAR, CLOUD, CLOUD_SHADOW\) or 255 for none",
        ),
        (spoilt("int64", -1), "row 2, column 3: value -1, expected 0 to 2"),
        (spoilt("int64", 256), "row 2, column 3: value 256, expected"),
        (spoilt("int64", 2**40), "row 2, column 3: value 1099511627776, expected"),
        (spoilt("uint64", 2**64 - 1), "row 2, column 3: value 18446744073709551615, expected"),
        (two_classes(), "row 1, column 2: classes CLOUD and CLOUD_SHADOW, expected one class at most"),
        (one_hot(NUMBERS).astype(np.uint8) * 255, "row 0, column 0: value 255 in a one-hot mask, expected 0 and 1"),
        (lying_bool(), "row 0, column 3: value 7 in a one-hot mask"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(array: np.ndarray, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", array)
    mask = open_mask(path, (3, 4), classes=CLASSES)
    for box in (WHOLE, Box(0, 3, 2, 4)) if "column 0" not in message else (WHOLE,):
        with pytest.raises(BadRecordError, match=rf"a\.npy: {message}.*; mend the mask") as caught:
            mask.read(box)
        assert caught.value.path == path
    good = Box(0, 1, 1, 3)
    if "255 in a one-hot" not in message:
        assert mask.read(good).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (NUMBERS.T, BadRecordError, "4x3 pixels, expected 3x4 as its scene has"),
        (one_hot(NUMBERS)[:, :, :2], UserError, r"2 channels of bool, expected .* 3 of bool or uint8 \(CLEAR, CLOUD"),
        (one_hot(NUMBERS).astype(np.int64), UserError, "3 channels of int64, expected"),
        (NUMBERS.astype(np.float32), UserError, "holds float32, expected bool, uint8"),
        (np.zeros((3, 4, 3, 1), bool), UserError, r"shape \(3, 4, 3, 1\), expected"),
    ],
)
def test_a_mask_of_another_kind_is_refused(
    array: np.ndarray, error: type[UserError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=rf"a\.npy: {message}") as caught:
        open_mask(save(tmp_path / "a.npy", array), (3, 4), classes=CLASSES)
    assert type(caught.value) is error


def test_a_file_that_is_no_mask_is_named(tmp_path: Path) -> None:
    for name, message in (("a.npy", "no such mask"), ("a.jpg", r"found the suffix '\.jpg', expected one of")):
        with pytest.raises(UserError, match=message):
            open_mask(tmp_path / name, (3, 4), classes=CLASSES)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: a picture of mode RGB, expected grey or a palette"):
        open_mask(tmp_path / "a.png", (3, 4), classes=CLASSES)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    with pytest.raises(BadRecordError, match=r"b\.png: no readable PNG"):
        open_mask(tmp_path / "b.png", (3, 4), classes=CLASSES)


@pytest.mark.parametrize("box", [Box(0, 4, 0, 4), Box(-1, 1, 0, 4), Box(0, 3, 2, 2), Box(0, 3, 0, 5)])
def test_a_box_outside_is_a_mistake_of_the_caller(box: Box, tmp_path: Path) -> None:
    mask = open_mask(save(tmp_path / "a.npy", NUMBERS), (3, 4), classes=CLASSES)
    with pytest.raises(ValueError, match=r"is no part of .*a\.npy, 3x4 pixels") as caught:
        mask.read(box)
    assert not isinstance(caught.value, UserError)


def test_real_scenes_in_this_layout(real_data: Path, tmp_path: Path) -> None:
    """Two real scenes, 0 shadow, 1 water, 2 absent, 3 land, 4 cloud, become one-hot CLEAR, CLOUD, CLOUD_SHADOW."""
    names = ["B2", "B3", "B4", "B8", "B11", "B12"]
    for folder in ("scenes", "masks"):
        (tmp_path / folder).mkdir()
    originals = {}
    for file in sorted((real_data / "clouds").glob("*.npz")):
        with np.load(file) as content:
            image, numbers = content["img"], content["msk"][..., 0]
        originals[f"{file.stem}.npy"] = image, numbers
        save(tmp_path / "scenes" / f"{file.stem}.npy", image)
        hot = np.stack([(numbers == 1) | (numbers == 3), numbers == 4, numbers == 0], axis=-1)
        save(tmp_path / "masks" / f"{file.stem}.npy", hot)
    found = find_scenes(tmp_path)
    assert list(found.pairs) == ["landsat7.npy", "sentinel2.npy"]
    assert found.problems == ()
    for name, (image, numbers) in originals.items():
        scene = open_scene(found.pairs[name].scene, bands=["B4", "B3", "B2", "B8"], band_names=names)
        mask = open_mask(found.pairs[name].mask, scene.size_hw, classes=CLASSES)
        for box in (Box(0, 512, 0, 512), Box(100, 357, 255, 511)):
            part = np.s_[box.top : box.bottom, box.left : box.right]
            np.testing.assert_array_equal(scene.read_float(box), np.moveaxis(image[part][..., [2, 1, 0, 3]], -1, 0))
            expected = np.select([numbers[part] == 4, numbers[part] == 0], [1, 2], 0)
            np.testing.assert_array_equal(mask.read(box), expected)
            assert not scene.missing(scene.read(box)).any()
    clouds = {name: int((open_mask(pair.mask, (512, 512), classes=CLASSES).read(Box(0, 512, 0, 512)) == 1).sum())
              for name, pair in found.pairs.items()}  # fmt: skip
    assert clouds == {"landsat7.npy": 94_451, "sentinel2.npy": 49_597}
