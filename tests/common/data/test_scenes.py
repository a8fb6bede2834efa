"""Every format gives the same values for a box as for the whole, and a damaged file says so."""

import os
import pickle
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from common.data import picture_file
from common.data.npy_file import pick_channels
from common.data.scenes import SENTINEL2, open_scene
from common.data.tiles import Box
from common.errors import BadRecordError, UserError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

RNG = np.random.default_rng(0)


def boxes(size_hw: tuple[int, int], count: int = 6) -> list[Box]:
    """The whole, the corners' pixels and some more."""
    height, width = size_hw
    rng = np.random.default_rng(1)
    drawn = [(sorted(rng.choice(height + 1, 2, False)), sorted(rng.choice(width + 1, 2, False))) for _ in range(count)]
    some = [Box(int(rows[0]), int(rows[1]), int(columns[0]), int(columns[1])) for rows, columns in drawn]
    return [Box(0, height, 0, width), Box(0, 1, 0, 1), Box(height - 1, height, width - 1, width), *some]


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def write_tiff(path: Path, pixels: np.ndarray, *, names: tuple[str, ...] = (), **profile: Any) -> Path:
    """Pixels (bands, height, width)."""
    rasterio = pytest.importorskip("rasterio")
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
        file.write(pixels)
        if names:
            file.descriptions = names
    return path


def png_bytes(pixels: np.ndarray, *, bits: int = 16, more: bytes = b"") -> bytes:
    """A PNG by the letter of its standard: (height, width, channels), big-endian, no filter."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "uint16", "int16", ">f4", ">u2"])
@pytest.mark.parametrize("layout", ["last", "fortran", "first"])
def test_npy_gives_the_wanted_bands_in_the_wanted_order(kind: str, layout: str, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (37, 53, 13)).astype(kind)
    stored = {"last": pixels, "fortran": np.asfortranarray(pixels), "first": np.moveaxis(pixels, -1, 0).copy()}[layout]
    names = SENTINEL2 if layout == "first" else None
    scene = open_scene(save(tmp_path / "a.npy", stored), bands=["B4", "B8A", "B1", "B12"], band_names=names)
    assert (scene.size_hw, scene.bands) == ((37, 53), ("B4", "B8A", "B1", "B12"))
    for box in boxes((37, 53)):
        expected = pixels[box.top : box.bottom, box.left : box.right][..., [3, 8, 0, 12]].transpose(2, 0, 1)
        part = scene.read(box)
        np.testing.assert_array_equal(part, expected)
        assert part.dtype == scene.dtype == np.dtype(kind).newbyteorder("=")
        assert part.flags.c_contiguous
        assert part.flags.writeable


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)), st.data())
def test_channels_are_picked_from_any_layout(pixels: np.ndarray, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(3)))
    view = np.transpose(np.ascontiguousarray(np.transpose(pixels, order)), np.argsort(order))
    channels = data.draw(st.lists(st.integers(0, pixels.shape[2] - 1), max_size=5))
    np.testing.assert_array_equal(pick_channels(view, channels), np.moveaxis(pixels[:, :, channels], -1, 0))


def test_strips_of_wide_pixels_meet() -> None:
    pixels = RNG.random((50, 3000, 13), dtype=np.float32)  # one row and a half to a strip
    np.testing.assert_array_equal(pick_channels(pixels, [7, 2]), np.moveaxis(pixels[:, :, [7, 2]], -1, 0))


def test_one_tile_of_a_large_scene_takes_little_memory(tmp_path: Path) -> None:
    large = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (20_000, 20_000, 13))  # 20 GB, holes
    large[19_999, 19_999, 7] = 5
    large.flush()
    del large
    tracemalloc.start()
    scene = open_scene(tmp_path / "a.npy", bands=["B8"])
    part = scene.read_float(Box(19_744, 20_000, 19_744, 20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part[0, -1, -1] == 5
    assert part.sum() == 5
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (13, SENTINEL2),
        (12, ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")),
        (3, ("B4", "B3", "B2")),
        (1, ("grey",)),
    ],
)
def test_bands_are_named_by_their_number(count: int, names: tuple[str, ...], tmp_path: Path) -> None:
    assert open_scene(save(tmp_path / "a.npy", np.zeros((5, 6, count), np.uint8))).bands == names


def test_bands_that_nobody_names_are_not_guessed(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 99, (5, 6, 4), dtype=np.int16)
    with pytest.raises(UserError, match="4 channels without names"):  # B4 B3 B2 B8 or B2 B3 B4 B8?
        open_scene(save(tmp_path / "a.npy", pixels), bands=["B4", "B3", "B2", "B8"])
    grey = open_scene(save(tmp_path / "b.npy", pixels[:, :, 0]), bands=["B8"])
    np.testing.assert_array_equal(grey.read(Box(1, 4, 2, 6)), pixels[None, 1:4, 2:6, 0])
    three = save(tmp_path / "c.npy", pixels[:, :, :3])
    assert open_scene(three, bands=["B2", "B3", "B4"]).channels == (2, 1, 0)


@pytest.mark.parametrize(
    ("shape", "bands", "band_names", "message"),
    [
        ((5, 6, 13), ["B4", "B8a"], None, r"bands: found B8a, expected some of its 13 channels B1, B2, .*B12; choose"),
        ((5, 6, 3), ["B8", "B4", "B3"], None, r"bands: found B8, expected .* B4, B3, B2; choose .*band_names"),
        ((5, 6, 13), [], None, "bands: found none, expected some"),
        ((5, 6, 6), None, None, "6 channels without names; say in band_names"),
        ((5, 6, 6), ["B4"], None, "6 channels without names"),
        ((4, 50, 60), ["B4", "B3", "B2", "B8"], None, "60 channels without names"),
        ((5, 6, 3), None, ["a", "b"], "3 channels, band_names has 2: a, b"),
        ((5, 6, 3), None, ["a", "b", "a"], "3 channels, band_names has 3: a, b, a; expected another name for each"),
        ((3, 6, 3), None, ["a", "b", "c"], r"shape \(3, 6, 3\) and 3 band_names: .* first axis or the last"),
        ((2, 5, 6, 3), None, None, r"shape \(2, 5, 6, 3\), expected \(height, width, channels\)"),
        ((7,), None, None, r"shape \(7,\), expected"),
    ],
)  # fmt: skip
def test_a_band_that_is_not_there_is_named(
    shape: tuple[int, ...], bands: list[str] | None, band_names: list[str] | None, message: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=rf"a\.npy: {message}"):
        open_scene(path, bands=bands, band_names=band_names)


def test_the_names_of_a_file_hold_before_those_given(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 9, (3, 20, 30), dtype=np.int16)
    path = write_tiff(tmp_path / "a.tif", pixels, names=("B8", "B4", "B3"))
    assert open_scene(path, band_names=["x", "y", "z"]).bands == ("B8", "B4", "B3")
    assert open_scene(path, bands=["B3", "B8"], band_names=["B3", "B8", "B4"]).channels == (2, 0)
    assert open_scene(path, bands=["z"], band_names=["x", "y", "z"]).channels == (2,)  # the file's are of another kind
    with pytest.raises(UserError, match=r"found B11, expected some of its 3 channels B8, B4, B3"):
        open_scene(path, bands=["B8", "B11"], band_names=["B8", "B4", "B11"])
    with pytest.raises(UserError, match=r"found B11, expected some of its 3 channels B8, B4, B3"):
        open_scene(path, bands=["B11"])
    for names in (("B8", "", "B3"), ("a", "a", "a")):
        assert open_scene(write_tiff(path, pixels, names=names)).bands == ("B4", "B3", "B2")


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "uint16", "int16"])
@pytest.mark.parametrize("profile", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "deflate"}])
def test_geotiff_reads_windows(kind: str, profile: dict[str, Any], tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (5, 70, 45)).astype(kind)
    scene = open_scene(write_tiff(tmp_path / "a.TIF", pixels, names=tuple("abcde"), **profile), bands=["e", "a", "c"])
    assert (scene.size_hw, scene.dtype) == ((70, 45), np.dtype(kind))
    for box in boxes((70, 45)):
        np.testing.assert_array_equal(
            scene.read(box), pixels[[4, 0, 2], box.top : box.bottom, box.left : box.right], strict=True
        )


@pytest.mark.parametrize(
    ("kind", "nodata"), [("uint16", 0), ("int16", -32768), ("float32", -9999), ("float64", np.nan)]
)
def test_nodata_of_a_geotiff_is_missing(kind: str, nodata: float, tmp_path: Path) -> None:
    pixels = np.arange(1, 25, dtype=kind).reshape(2, 3, 4)
    pixels[0, 1, 2] = pixels[1, 2, 3] = nodata
    scene = open_scene(write_tiff(tmp_path / "a.tif", pixels, nodata=nodata), band_names=["B4", "B8"])
    box = Box(0, 3, 0, 4)
    assert [tuple(place) for place in np.argwhere(scene.missing(scene.read(box)))] == [(1, 2), (2, 3)]
    floats = scene.read_float(box)
    assert floats.dtype == np.float32
    assert [tuple(place) for place in np.argwhere(np.isnan(floats))] == [(0, 1, 2), (1, 2, 3)]
    assert floats[1, 1, 2] == 19


def test_layers_of_a_geotiff_say_what_is_missing(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = RNG.integers(1, 250, (3, 20, 30), dtype=np.uint16)
    path = write_tiff(tmp_path / "a.tif", pixels)
    layer = np.full((20, 30), 255, np.uint8)
    layer[5, 6] = 0
    with rasterio.open(path, "r+") as file:
        file.write_mask(layer)
    alpha = np.concatenate([pixels, layer[None].astype(np.uint16)])
    for file in (path, write_tiff(tmp_path / "b.tif", alpha, photometric="RGB", ALPHA="YES")):
        scene = open_scene(file, bands=["B2", "B4"])
        part = scene.read(Box(4, 8, 5, 9))
        assert part.dtype == scene.dtype == np.float32
        assert [tuple(place) for place in np.argwhere(scene.missing(part))] == [(1, 1)]
        np.testing.assert_array_equal(part[:, 2:], pixels[[2, 0], 6:8, 5:9].astype(np.float32))


def test_a_fourth_band_that_is_named_is_no_transparency(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (4, 20, 30), dtype=np.uint8)
    bands = ["B4", "B3", "B2", "B8"]
    path = write_tiff(tmp_path / "a.tif", pixels, photometric="RGB", ALPHA="YES")
    with pytest.raises(UserError, match=r"found B8, expected some of its 3 channels B4, B3, B2; .*band_names"):
        open_scene(path, bands=bands)
    for scene in (
        open_scene(path, bands=bands, band_names=bands),
        open_scene(write_tiff(tmp_path / "b.tif", pixels, names=tuple(bands), photometric="RGB", ALPHA="YES")),
    ):
        assert scene.bands == tuple(bands)
        np.testing.assert_array_equal(scene.read(Box(0, 20, 0, 30)), pixels, strict=True)


def test_without_rasterio_a_geotiff_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    with pytest.raises(UserError, match=r"rasterio: pip install 'rasterio>=1\.4'"):
        open_scene(tmp_path / "a.tif")


def test_a_geotiff_names_no_further_files(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    write_tiff(tmp_path / "secret.tif", np.ones((1, 5, 5), np.uint8))
    source = f"<SimpleSource><SourceFilename>{tmp_path / 'secret.tif'}</SourceFilename></SimpleSource>"
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    (tmp_path / "a.tif").write_text(f'<VRTDataset rasterXSize="5" rasterYSize="5">{band}</VRTDataset>')
    with pytest.raises(BadRecordError, match=r"a\.tif: no readable GeoTIFF"):
        open_scene(tmp_path / "a.tif")


def test_a_geotiff_that_is_one_piece_is_refused(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    shape = {"count": 1, "height": 20_000, "width": 20_000, "dtype": "float32", "compress": "deflate"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", blockysize=20_000, SPARSE_OK="YES", **shape):
        pass
    with pytest.raises(UserError, match=r"20000x20000 pixels, 1,600,000,000 bytes, expected at most .*TILED=YES"):
        open_scene(tmp_path / "a.tif")


MODES = {
    "RGB": (3, np.uint8), "L": (1, np.uint8), "I;16": (1, np.uint16), "RGBA": (4, np.uint8), "LA": (2, np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_png_pixels_and_alpha(mode: str, tmp_path: Path) -> None:
    count, kind = MODES[mode]
    pixels = RNG.integers(0, np.iinfo(kind).max + 1, (31, 17, count)).astype(kind)
    if mode.endswith("A"):
        pixels[..., -1] = RNG.choice([0, 1, 255], (31, 17))
    Image.fromarray(pixels[..., 0] if count == 1 else pixels).save(tmp_path / "a.png")
    scene = open_scene(tmp_path / "a.png")
    colours = pixels[..., :-1] if mode.endswith("A") else pixels
    expected: np.ndarray = np.moveaxis(colours, -1, 0)
    if mode.endswith("A"):
        expected = np.where(pixels[..., -1] == 0, np.float32(np.nan), expected.astype(np.float32))
    assert scene.bands == (("B4", "B3", "B2") if "RGB" in mode else ("grey",))
    for box in boxes((31, 17)):
        part = scene.read(box)
        wanted = expected[:, box.top : box.bottom, box.left : box.right]
        np.testing.assert_array_equal(part, wanted, strict=True)
        np.testing.assert_array_equal(scene.missing(part), np.isnan(wanted).any(axis=0))


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_keep_them(channels: int, tmp_path: Path) -> None:
    pixels = RNG.integers(1, 65536, (13, 11, channels), dtype=np.uint16)
    pixels[2, 3, -1] = 0
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    scene = open_scene(tmp_path / "a.png", bands=["B2", "B4"])
    expected = np.moveaxis(pixels[:, :, [2, 0]], -1, 0).astype(scene.dtype)
    if channels == 4:
        expected[:, 2, 3] = np.nan
    np.testing.assert_array_equal(scene.read(Box(0, 13, 0, 11)), expected, strict=True)
    assert scene.dtype == (np.uint16 if channels == 3 else np.float32)


def test_transparent_colours_of_a_png_are_missing(tmp_path: Path) -> None:
    grey = np.array([[7, 300], [7, 9]], np.uint16)
    (tmp_path / "a.png").write_bytes(png_bytes(grey[..., None], more=chunk(b"tRNS", struct.pack(">H", 7))))
    scene = open_scene(tmp_path / "a.png")
    part = scene.read(Box(0, 2, 0, 2))
    np.testing.assert_array_equal(part, grey[None], strict=True)
    np.testing.assert_array_equal(scene.missing(part), [[True, False], [True, False]])
    for pixels, bits in ((np.array([[[7, 7, 7], [7, 7, 8]]]), 8), (np.array([[[7, 7, 7], [700, 7, 8]]]), 16)):
        more = chunk(b"tRNS", struct.pack(">HHH", 7, 7, 7))
        (tmp_path / "b.png").write_bytes(png_bytes(pixels, bits=bits, more=more))
        scene = open_scene(tmp_path / "b.png")
        np.testing.assert_array_equal(scene.missing(scene.read(Box(0, 1, 0, 2))), [[True, False]])
        np.testing.assert_array_equal(scene.read(Box(0, 1, 1, 2))[:, 0, 0], pixels[0, 1])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.save(tmp_path / "c.png", transparency=0)
    part = open_scene(tmp_path / "c.png").read(Box(0, 1, 0, 2))
    np.testing.assert_array_equal(part[:, 0], [[np.nan, 4], [np.nan, 5], [np.nan, 6]])
    few_bits = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)) + chunk(b"tRNS", b"\0\1")
    few_bits += chunk(b"IDAT", zlib.compress(b"\0\x1b")) + chunk(b"IEND", b"")  # 0, 1, 2, 3
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + few_bits)
    scene = open_scene(tmp_path / "d.png")
    assert scene.read(Box(0, 1, 0, 4)).tolist() == [[[0, 85, 170, 255]]]
    assert scene.missing(scene.read(Box(0, 1, 0, 4))).tolist() == [[False, True, False, False]]


def test_jpeg_reads_as_pillow_does_whatever_its_suffix(tmp_path: Path) -> None:
    for name, count in (("a.jpg", 3), ("b.JPEG", 1), ("c.png", 3)):
        pixels = RNG.integers(0, 255, (40, 30, count), dtype=np.uint8)
        Image.fromarray(pixels[..., 0] if count == 1 else pixels).save(tmp_path / name, format="JPEG")
        expected = np.atleast_3d(np.asarray(Image.open(tmp_path / name)))[3:20, 4:9]
        np.testing.assert_array_equal(open_scene(tmp_path / name).read(Box(3, 20, 4, 9)), np.moveaxis(expected, -1, 0))


def test_a_picture_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        Image.fromarray(RNG.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    scenes = [open_scene(tmp_path / f"{name}.png") for name in "abc"]
    decoded: list[Path] = []
    decode = picture_file._decode
    kept = picture_file.Kept(lambda path: (decoded.append(path), decode(path))[1], most=2)
    monkeypatch.setattr(picture_file, "_DECODED", kept)
    for number in (0, 1, 0, 1, 1, 0, 2, 0, 1):
        scenes[number].read(Box(0, 2, 0, 2))
    assert [path.stem for path in decoded] == ["a", "b", "c", "b"]
    Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(tmp_path / "b.png")
    assert (scenes[1].read(Box(0, 9, 0, 9)) == 77).all()  # another file by now


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        (4, 5, 2),
        elements={"allow_nan": True, "allow_infinity": True, "allow_subnormal": False},
    )
)
def test_missing_is_where_a_float_is_not_finite(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> None:
    scene = open_scene(save(tmp_path_factory.getbasetemp() / "finite.npy", pixels), band_names=["a", "b"])
    values = scene.read(Box(0, 4, 0, 5))
    before = values.copy()
    floats = scene.read_float(Box(0, 4, 0, 5))
    np.testing.assert_array_equal(scene.missing(values), np.isnan(floats).any(axis=0))
    np.testing.assert_array_equal(values, before)
    large = np.abs(values.astype(np.float64))
    usable = large <= np.finfo(np.float32).max
    np.testing.assert_array_equal(floats[usable], values[usable].astype(np.float32))
    assert np.isnan(floats[large > 3.5e38]).all()
    assert not np.isinf(floats).any()


@pytest.mark.parametrize("box", [Box(0, 0, 0, 4), Box(-1, 2, 0, 4), Box(0, 2, 3, 3), Box(0, 6, 0, 4), Box(0, 2, 1, 7)])
def test_a_box_outside_is_a_mistake_of_the_caller(box: Box, tmp_path: Path) -> None:
    scene = open_scene(save(tmp_path / "a.npy", np.zeros((5, 6), np.uint8)))
    with pytest.raises(ValueError, match=r"is no part of .*a\.npy, 5x6 pixels") as caught:
        scene.read(box)
    assert not isinstance(caught.value, UserError)


def every_format(folder: Path) -> dict[str, Path]:
    pixels = RNG.integers(0, 250, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return {
        "npy": save(folder / "a.npy", pixels),
        "tif": write_tiff(folder / "a.tif", np.moveaxis(pixels, -1, 0)),
        "png": folder / "a.png",
    }


def test_scenes_are_read_by_threads_and_other_processes(tmp_path: Path) -> None:
    parts = boxes((40, 50), 40)
    for path in every_format(tmp_path).values():
        scene = open_scene(path, bands=["B2", "B4"])
        expected = [scene.read(box) for box in parts]
        start = threading.Barrier(3, timeout=60)

        def read_all(_: int, scene: Any = scene, start: Any = start) -> list[np.ndarray]:
            start.wait()
            return [scene.read(box) for box in parts]

        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(read_all, range(3)))
        assert all(np.array_equal(*pair) for result in results for pair in zip(result, expected, strict=True))
        with (
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
            get_context("fork").Pool(1) as forks,
        ):
            assert all(map(np.array_equal, forks.map(scene.read, parts), expected))
        assert np.array_equal(pickle.loads(pickle.dumps(scene)).read(parts[3]), expected[3])


def test_many_scenes_need_few_descriptors(tmp_path: Path) -> None:
    scenes = [open_scene(save(tmp_path / f"{number}.npy", np.full((3, 4), number, np.uint8))) for number in range(80)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in [*range(80), *range(80)]:
        assert scenes[number].read(Box(2, 3, 3, 4)).item() == number
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 32


# ---- damage


def npy_header(text: str) -> bytes:
    content = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(content)) + content


HEADERS = {
    "'descr': '<f4', 'fortran_order': False, 'shape': (9, 9, 13)": r"declares \(9, 9, 13\) of float32, 4,212 bytes",
    "'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000000000, 13)": "declares .* and 400 bytes",
    "'descr': '<f4', 'fortran_order': False, 'shape': (-10, -10, 1)": r"declares \(-10, -10, 1\)",
    "'descr': '<f4', 'fortran_order': False, 'shape': (0, 10, 10)": r"declares \(0, 10, 10\)",
    "'descr': '<f4', 'fortran_order': False, 'shape': (9, 10)": "declares .*360 bytes, and 400",
    "'descr': '<f4', 'fortran_order': False, 'shape': ()": r"declares \(\) of float32",
    "'descr': '|O', 'fortran_order': False, 'shape': (5, 10)": "holds object, expected plain numbers",
    "'descr': '|V4', 'fortran_order': False, 'shape': (10, 10)": r"holds \|V4, expected plain numbers",
    "'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (10, 10)": r"holds \[\('a', '<f4'\)\], expected plain",
    "'descr': '<c8', 'fortran_order': False, 'shape': (5, 10)": "holds complex64, expected float32, float64",
    "'descr': '<i8', 'fortran_order': False, 'shape': (5, 10)": "holds int64, expected float32, float64",
    "'descr': '|b1', 'fortran_order': False, 'shape': (20, 20)": "holds bool, expected float32",
    "'descr': '<M8[s]', 'fortran_order': False, 'shape': (5, 10)": "holds datetime64",
    "'descr': '<f4', 'fortran_order': 3, 'shape': (10, 10)": "no readable",
    "'descr': '<f4', 'fortran_order': False, 'shape': '10'": "no readable",
    "'descr': 'nothing', 'fortran_order': False, 'shape': (10, 10)": "no readable",
    "'descr': __import__('os').getpid(), 'fortran_order': False, 'shape': (10, 10)": "no readable",
    "'shape': (10, 10)": "no readable",
    "(" * 5000: "no readable",
    "-" * 9000 + "1": "no readable",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_a_stranger_is_refused(header: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy_header("{" + header + "}") + bytes(400))
    with pytest.raises(UserError, match=rf"a\.npy: .*{HEADERS[header]}"):
        open_scene(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[{"a": 1}, None]], dtype=object), allow_pickle=True)
    with pytest.raises(BadRecordError, match="holds object"):
        open_scene(path)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_bytes_are_a_scene_or_an_error_of_the_user(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "a.npy").exists():
        every_format(folder)
    suffix = data.draw(st.sampled_from(["npy", "png", "tif"]))
    content = bytearray((folder / f"a.{suffix}").read_bytes())
    place = data.draw(st.integers(0, min(len(content), 400)))
    if data.draw(st.booleans()):
        content[place : place + 4] = data.draw(st.binary(max_size=8))
    else:
        del content[place:]
    path = folder / f"spoilt.{suffix}"
    path.write_bytes(bytes(content))
    try:
        scene = open_scene(path)
        if max(scene.size_hw) < 1000:
            scene.read_float(Box(0, scene.size_hw[0], 0, scene.size_hw[1]))
    except UserError as error:
        assert str(path) in str(error)  # most damage is found, some makes another scene


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "deep.png"])
def test_a_cut_file_is_named(name: str, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (60, 50, 3), dtype=np.uint8)
    path = tmp_path / name
    if name == "a.tif":
        write_tiff(path, np.moveaxis(pixels, -1, 0), compress="deflate")
        content = bytearray(path.read_bytes())
        content[1000:4000] = bytes(3000)  # the list of pieces is at the end
        path.write_bytes(content)
    elif name == "deep.png":
        path.write_bytes(png_bytes(pixels)[:3000])
    else:
        Image.fromarray(pixels).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    scene = open_scene(path)
    with pytest.raises(BadRecordError, match=rf"{name}: .*[Cc]opy it again") as caught:
        scene.read(Box(0, 60, 0, 50))
    assert caught.value.path == path


def test_damage_in_one_geotiff_is_not_told_of_the_next(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (3, 60, 50), dtype=np.uint8)
    whole, cut = (write_tiff(tmp_path / name, pixels, compress="deflate") for name in ("whole.tif", "cut.tif"))
    content = bytearray(cut.read_bytes())
    content[1000:4000] = b"\xff" * 3000
    cut.write_bytes(content)
    scenes = {path: open_scene(path) for path in (whole, cut)}
    scenes[whole].read(Box(0, 1, 0, 1))
    for _ in range(2):
        with pytest.raises(BadRecordError, match=r"cut\.tif: rows 0 to 60, columns 0 to 50 cannot be read"):
            scenes[cut].read(Box(0, 60, 0, 50))
        assert open_scene(whole) == scenes[whole]
        np.testing.assert_array_equal(scenes[whole].read(Box(0, 60, 0, 50)), pixels)


def test_a_declared_size_is_bounded_before_it_is_decoded(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"1048576x1048576 pixels, expected at most 268,435,456 .*\.npy or GeoTIFF"):
        open_scene(tmp_path / "a.png")


def test_a_scene_that_changes_is_opened_anew(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.zeros((5, 6), np.uint8))
    scene = open_scene(path)
    save(path, np.ones((5, 6), np.uint8))
    os.utime(path, ns=(1, 1))
    assert (scene.read(Box(0, 5, 0, 6)) == 1).all()
    save(path, np.ones((6, 5), np.uint8))
    with pytest.raises(BadRecordError, match="another shape or type than when it was opened"):
        scene.read(Box(0, 5, 0, 5))
    path.unlink()
    with pytest.raises(BadRecordError, match=r"a\.npy: cannot be read \(No such file"):
        scene.read(Box(0, 5, 0, 5))


def test_what_is_no_scene_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.npy: no such scene"):
        open_scene(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"a\.jp2: found the suffix '\.jp2', expected one of \.npy, \.tif"):
        open_scene(tmp_path / "a.jp2")
    Image.fromarray(np.zeros((3, 3, 4), np.uint8), "CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg: a picture of mode CMYK, expected grey or RGB"):
        open_scene(tmp_path / "a.jpg")
