from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import BadRecordError
from projects.pose.pictures import image_ids, read_picture

RED = np.tile(np.uint8([200, 10, 30]), (6, 9, 1))


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colours_of_every_kind_of_file(tmp_path: Path, mode: str) -> None:
    name = "x.tif" if mode == "CMYK" else "x.png"
    image = Image.fromarray(RED)
    found = read_picture(saved(tmp_path / name, image.quantize() if mode == "P" else image.convert(mode)))
    assert found.dtype == np.uint8
    assert found.shape == (6, 9, 3)
    assert np.abs(found.astype(int) - RED).max() <= 1


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    pixels = np.dstack([RED, np.full(RED.shape[:2], 255, np.uint8)])
    pixels[0, 0, 3] = 0
    found = read_picture(saved(tmp_path / "x.png", Image.fromarray(pixels)))
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[0, 1].tolist() == [200, 10, 30]


def test_grey_of_8_and_16_bits(tmp_path: Path) -> None:
    grey = np.uint8([[0, 128, 255]])
    shallow = read_picture(saved(tmp_path / "a.png", Image.fromarray(grey)))
    deep = read_picture(saved(tmp_path / "b.png", Image.fromarray(grey.astype(np.uint16) * 257)))
    assert np.array_equal(shallow, deep)
    assert shallow[0, :, 1].tolist() == [0, 128, 255]


def turned(path: Path) -> Path:
    """6 rows and 9 columns in the file; upright it has 9 rows and 6 columns."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(path, Image.fromarray(RED), exif=exif)


def test_a_camera_s_note_turns_the_picture(tmp_path: Path) -> None:
    assert read_picture(turned(tmp_path / "x.png")).shape == (9, 6, 3)


@pytest.mark.parametrize("size_hw", [(6, 9), (9, 6)])
def test_annotations_say_which_way_up_they_count(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    assert read_picture(turned(tmp_path / "x.png"), size_hw=size_hw).shape[:2] == size_hw


def test_another_picture_s_annotations(tmp_path: Path) -> None:
    with pytest.raises(BadRecordError, match="has 9x6 pixels, its annotations say 8x6"):
        read_picture(saved(tmp_path / "x.png", Image.fromarray(RED)), size_hw=(6, 8))


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_damage(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is None:
        big = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        content = saved(path, Image.fromarray(big)).read_bytes()[:-2000]
    path.write_bytes(content)
    with pytest.raises(BadRecordError, match=r"x\.jpg"):
        read_picture(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadRecordError, match="gone"):
        read_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000785.jpg", "000000040083.jpg"], [785, 40083]),
        (["0.png"], [0]),
        (["7.jpg", "holiday.jpg", "9.jpg"], [1, 2, 3]),
        (["1.jpg", "01.jpg"], [1, 2]),
        (["-3.jpg", "4.jpg"], [1, 2]),
        (["٣.jpg"], [1]),  # a digit, but no COCO name
        ([], []),
    ],
)
def test_ids_are_the_names_where_all_are_numbers(names: list[str], ids: list[int]) -> None:
    assert image_ids([Path(name) for name in names]) == ids
