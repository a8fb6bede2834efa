import json
import re
import shutil
from collections.abc import Mapping
from itertools import pairwise
from itertools import product as pairs
from math import radians
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from projects.clouds import synthetic
from projects.clouds.bands import BANDS
from projects.clouds.synthetic import write_dataset
from projects.clouds.synthetic.bands import COVERS, LIBRARY
from projects.clouds.synthetic.clouds import DROPLETS, HAZE, ICE, WEATHER, Layer, Matter
from projects.clouds.synthetic.ground import Ground, number, patches
from projects.clouds.synthetic.lands import LANDS, glint
from projects.clouds.synthetic.light import CLEAR, CLOUD, CLOUD_DEPTH, SHADOW, Air, Light, beam, classify
from projects.clouds.synthetic.noise import Field, fractal
from projects.clouds.synthetic.scene import random_product, random_scene
from projects.clouds.synthetic.sun import Sun

SIZE_HW = (61, 48)
SMALL: Mapping[str, int] = {"train": 4, "val": 1, "test": 1}
NAME = re.compile(r"S2[AB]_MSIL1C_2018\d{4}T10\d{4}_N0206_R\d{3}_T(29|3[0-7])[C-X]{3}_2018\d{4}T13\d{4}(_[12])?\.npy")
AFTERNOON_IN_THE_NORTH_WEST = Sun(radians(45), radians(315))
AIR = Air(vapour=1.0, aerosol=0.1)


def write(root: Path, workers: int = 1, seed: int = 0, scenes: Mapping[str, int] = SMALL) -> None:
    write_dataset(root, scenes=scenes, size_hw=SIZE_HW, seed=seed, workers=workers, progress=False)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def listed(root: Path, split: str) -> list[str]:
    return (root / "filelists" / f"{split}.csv").read_text().splitlines()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write(root)
    return root


def test_the_layout_is_that_of_the_catalogue(written: Path) -> None:
    names = [name for split in SMALL for name in listed(written, split)]
    files = {f"{folder}/{name}" for folder in ("subscenes", "masks") for name in names}
    files |= {f"filelists/{split}.csv" for split in SMALL} | {"synthetic.json"}
    assert set(contents(written)) == files
    assert [len(listed(written, split)) for split in SMALL] == [4, 1, 1]
    for name in names:
        assert NAME.fullmatch(name)
        scene, mask = (np.load(written / folder / name) for folder in ("subscenes", "masks"))
        assert (scene.shape, scene.dtype) == ((*SIZE_HW, 13), np.float32)
        assert (mask.shape, mask.dtype) == ((*SIZE_HW, 3), np.bool_)
        assert (mask.sum(axis=-1) == 1).all()
        assert np.isfinite(scene).all() and scene.min() >= 0 and 0.1 < scene.max() < 2.5
        np.testing.assert_allclose(scene * 10_000, np.round(scene * 10_000), atol=0.01)


def test_default_sizes_are_mixed_and_the_set_is_small() -> None:
    sizes = [synthetic.SIZES_HW[i % 4] for count in synthetic.SCENES.values() for i in range(count)]
    assert {(1022, 1022), (777, 1301)} <= set(sizes)
    assert sum(height * width for height, width in sizes) * (13 * 4 + 3) < 550e6


def test_the_number_of_workers_changes_nothing(written: Path, tmp_path: Path) -> None:
    write(tmp_path, workers=3)
    assert contents(tmp_path) == contents(written)


def test_seed_and_split_change_the_scenes(written: Path, tmp_path: Path) -> None:
    write(tmp_path, seed=1)
    names = [{name for split in SMALL for name in listed(root, split)} for root in (written, tmp_path)]
    assert not names[0] & names[1]
    scenes = [np.load(file) for file in sorted((written / "subscenes").iterdir())]
    assert all(np.abs(a - b).mean() > 0.01 for i, a in enumerate(scenes) for b in scenes[:i])


def test_sub_scenes_of_a_product_stay_in_one_split(tmp_path: Path) -> None:
    write_dataset(tmp_path, scenes={"train": 9, "val": 5, "test": 5}, size_hw=(5, 7), progress=False)
    products = {
        split: [re.sub(r"(_[12])?\.npy", "", name) for name in listed(tmp_path, split)]
        for split in ("train", "val", "test")
    }
    assert [len(set(names)) for names in products.values()] == [7, 4, 4]
    first, second, third = map(set, products.values())
    assert not first & second and not first & third and not second & third


def test_only_what_is_missing_or_damaged_is_made_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(written, tmp_path / "copy")
    names = listed(root, "train")
    half = root / "subscenes" / names[1]
    half.write_bytes(half.read_bytes()[:5000])
    (root / "masks" / names[2]).unlink()
    np.save(root / "subscenes" / names[3], np.zeros((2, 2, 13), dtype=np.float32))
    made = list[int]()

    def counted(*arguments: object) -> object:
        made.append(1)
        return random_scene(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "random_scene", counted)
    write(root)
    assert len(made) == 3
    assert contents(root) == contents(written)
    write(root)
    assert len(made) == 3


def test_lists_appear_when_all_scenes_are_there(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = np.save, list[Path]()

    def killed(path: Path, array: np.ndarray) -> None:
        if len(saved) == 3:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        saved.append(path)
        save(path, array)

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert sorted(path.split("/")[0] for path in contents(tmp_path)) == [
        "masks",
        "subscenes",
        "subscenes",
        "synthetic.json",
    ]
    monkeypatch.setattr(np, "save", save)
    write(tmp_path)
    assert contents(tmp_path) == contents(written)


def test_other_data_in_the_folder_is_refused(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(written)
    with pytest.raises(UserError, match=r'synthetic\.json: found .*"seed": 0.*asked for .*"seed": 3.*delete'):
        write(written, seed=3)
    monkeypatch.setattr(synthetic, "FORMAT", synthetic.FORMAT + 1)
    with pytest.raises(UserError, match="delete"):
        write(written)
    assert contents(written) == before
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="other data"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scenes": {"training": 1}}, "'training'"),
        ({"scenes": {"test": -1}}, "-1"),
        ({"size_hw": (0, 256)}, r"\(0, 256\)"),
        ({"seed": -1}, "-1"),
        ({"workers": 0}, "0"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_dataset(tmp_path, **wrong)  # type: ignore[arg-type]
    assert not contents(tmp_path)


def test_the_manifest_says_what_was_asked_for(written: Path) -> None:
    found = json.loads((written / "synthetic.json").read_text())
    assert found == {"format": synthetic.FORMAT, "seed": 0, "size_hw": list(SIZE_HW), "scenes": dict(SMALL)}


@pytest.mark.parametrize(("land", "weather"), list(pairs(LANDS, WEATHER)))
def test_every_land_stands_every_weather(land: str, weather: str) -> None:
    rng = np.random.default_rng(5)
    scene, mask = random_scene(rng, (37, 53), random_product(rng, land), weather)
    assert np.isfinite(scene).all() and scene.min() >= 0
    cloud = mask[..., 1].mean()
    low, high = {"clear": (0, 0), "overcast": (0.7, 1)}.get(weather, (0.02, 0.95))
    assert low <= cloud <= high
    assert weather != "clear" or mask[..., 0].all()


@settings(deadline=None)
@given(latitude=st.floats(-80, 80), day=st.integers(1, 365))
def test_the_sun_stands_where_vectors_say(latitude: float, day: int) -> None:
    tilt = radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    hour, place = radians(-22.5), radians(latitude)
    sun = np.array([np.cos(tilt) * np.cos(hour), -np.cos(tilt) * np.sin(hour), np.sin(tilt)])
    up = np.array([np.cos(place), 0, np.sin(place)])
    north = np.array([-np.sin(place), 0, np.cos(place)])
    found = Sun.at(latitude, day)
    assert found.zenith == pytest.approx(np.arccos(sun @ up), abs=1e-7)
    assert found.azimuth == pytest.approx(np.arctan2(sun[1], sun @ north) % (2 * np.pi), abs=1e-7)


def test_the_sun_at_an_equinox() -> None:
    """Day 81, 10:30: at the equator due east and 22.5 degrees from straight above."""
    for latitude, zenith, azimuth in ((0.0, 22.5, 90.0), (50.0, 53.57, 151.6)):
        sun = Sun.at(latitude, 81)
        assert np.degrees([sun.zenith, sun.azimuth]) == pytest.approx([zenith, azimuth], abs=0.05)


def plain(cover: str, size_hw: tuple[int, int] = (64, 64)) -> Ground:
    ones = np.ones(size_hw, dtype=np.float32)
    return Ground(np.full(size_hw, number(cover)), ones, 0 * ones)


def disc(depth: float, height_m: float, matter: Matter = DROPLETS, *, at: tuple[int, int] = (32, 32)) -> Layer:
    y, x = np.mgrid[:64, :64]
    inside = (y - at[0]) ** 2 + (x - at[1]) ** 2 <= 36
    return Layer(np.where(inside, np.float32(depth), np.float32(0)), height_m, matter)


def seen(cover: str, layers: list[Layer], band: str, sun: Sun = AFTERNOON_IN_THE_NORTH_WEST) -> Field:
    ground = plain(cover)
    dark = np.zeros_like(ground.gain)
    return Light(ground, dark, layers, sun=sun, air=AIR).band(BANDS.index(band))


def test_a_shadow_lies_height_times_tangent_away_from_the_sun() -> None:
    assert Sun(radians(45), radians(135)).shadow(2000.0) == (-71, -71)  # sun in the south-east: up and left
    assert Sun(radians(45), radians(180)).shadow(1000.0) == (-50, 0)
    assert Sun(0.0, 1.0).shadow(9000.0) == (0, 0)
    cloud = disc(20.0, 400.0)
    classes = classify([cloud], AFTERNOON_IN_THE_NORTH_WEST, cloud.depth)
    centre = [tuple(np.argwhere(classes == kind).mean(axis=0)) for kind in (CLOUD, SHADOW)]
    assert centre[0] == (32, 32)
    assert centre[1] == (32 + 14, 32 + 14)  # 20 pixels to the south-east
    assert (classes == SHADOW).sum() == (classes == CLOUD).sum()


def test_the_shadow_is_dark_where_it_is_labelled_and_only_there() -> None:
    cloud = disc(20.0, 400.0)
    classes = classify([cloud], AFTERNOON_IN_THE_NORTH_WEST, cloud.depth)
    for band, most in (("B2", 0.8), ("B8", 0.5), ("B11", 0.5)):
        image = seen("meadow", [cloud], band)
        assert image[classes == SHADOW].max() < most * image[classes == CLEAR].min()
        assert np.ptp(image[classes == CLEAR]) < 1e-6
    blue, infrared = (seen("straw", [cloud], band)[classes == SHADOW].mean() for band in ("B2", "B8A"))
    assert blue / seen("straw", [], "B2").mean() > infrared / seen("straw", [], "B8A").mean()  # sky light is blue


def test_a_shadow_under_cloud_is_cloud_and_a_high_cloud_shades_a_low_one() -> None:
    low, high = disc(20.0, 400.0, at=(46, 46)), disc(20.0, 800.0)
    classes = classify([low, high], AFTERNOON_IN_THE_NORTH_WEST, low.depth)
    assert (classes[low.depth > 0] == CLOUD).all()
    shaded, free = (seen("water", layers, "B4")[46, 46] for layers in ([low, high], [low]))
    assert shaded < 0.6 * free


@pytest.mark.parametrize("cover", ["water", "conifer", "meadow", "soil", "asphalt"])
@pytest.mark.parametrize("matter", [DROPLETS, ICE])
def test_cloud_is_brighter_than_what_is_below_and_more_so_the_deeper(cover: str, matter: Matter) -> None:
    overhead = Sun(0.0, 0.0)
    for band in ("B2", "B3", "B4"):
        clear = seen(cover, [], band, overhead)[32, 32]
        depths = (0.7, 2.0, 6.0, 20.0, 60.0)
        values = [seen(cover, [disc(depth, 2000.0, matter)], band, overhead)[32, 32] for depth in depths]
        assert all(np.diff([clear, *values]) > 0)
        assert 0.6 < values[-1] < 1.1


def test_snow_is_as_bright_as_cloud_but_dark_in_the_short_wave_infrared() -> None:
    cloud = disc(25.0, 400.0)
    for band in ("B3", "B4", "B8"):
        assert 0.8 < seen("snow", [], band).mean() / seen("meadow", [cloud], band)[32, 32] < 1.25
    for band in ("B11", "B12"):
        assert seen("snow", [], band).mean() < 0.3 * seen("meadow", [cloud], band)[32, 32]


def test_high_cirrus_is_seen_in_b10_and_nothing_low_is() -> None:
    ground, low = seen("sand", [], "B10"), seen("sand", [disc(20.0, 1000.0)], "B10")
    high = seen("sand", [disc(1.0, 9000.0, ICE)], "B10")
    assert ground.max() < 1e-3
    assert low.max() < 0.02
    assert high[32, 32] > 0.08


def test_thin_cloud_counts_from_the_stated_depth_and_haze_never() -> None:
    sun = Sun(0.3, 2.0)
    for depth, kind in ((CLOUD_DEPTH * 0.99, CLEAR), (CLOUD_DEPTH, CLOUD)):
        cloud = disc(depth, 400.0)
        assert classify([cloud], sun, cloud.depth)[32, 32] == kind
    two = [disc(CLOUD_DEPTH / 2, 400.0), disc(CLOUD_DEPTH / 2, 9000.0, ICE)]
    assert classify(two, sun, two[0].depth)[32, 32] == CLOUD
    haze = disc(3.0, 400.0, HAZE)
    assert (classify([haze], sun, haze.depth) == CLEAR).all()
    blue, red = (
        seen("water", [haze], band, sun)[32, 32] - seen("water", [], band, sun)[32, 32] for band in ("B2", "B4")
    )
    assert blue > red > 0.02


def test_light_through_layers_is_at_most_all_of_it() -> None:
    layers = [disc(depth, 1000.0 * (i + 1), matter) for i, (depth, matter) in enumerate([(0.3, HAZE), (5.0, ICE)])]
    light = beam(layers, AFTERNOON_IN_THE_NORTH_WEST, 0.0, layers[0].depth)
    assert light.min() > 0
    assert light.max() <= 1 + 1e-6
    assert (beam(layers, AFTERNOON_IN_THE_NORTH_WEST, 9000.0, layers[0].depth) == 1).all()


def test_slopes_towards_the_sun_are_brighter_by_the_cosine_of_incidence() -> None:
    y, _ = np.mgrid[:64, :64].astype(np.float32)
    rising_southwards = 20 * 0.1 * y  # the surface faces north
    sun = Sun(radians(40), radians(0))
    faced = sun.slopes(rising_southwards)[5:-5]
    expected = np.cos(radians(40) - np.arctan(0.1)) / np.cos(radians(40))
    np.testing.assert_allclose(faced, expected, rtol=1e-4)
    away = Sun(radians(40), radians(180)).slopes(rising_southwards)[5:-5]
    np.testing.assert_allclose(away, np.cos(radians(40) + np.arctan(0.1)) / np.cos(radians(40)), rtol=1e-4)


def test_glint_is_on_water_only_and_grows_with_the_sun() -> None:
    ground = plain("water")
    ground.paint(np.arange(64)[:, None] + np.zeros((1, 64), int) < 20, "sand")
    low, high = (glint(np.random.default_rng(0), ground, radians(zenith)) for zenith in (60, 20))
    assert (high[:20] == 0).all()
    assert high[20:].mean() > 5 * low[20:].mean()
    assert 0.01 < high[20:].mean() < 0.5


def test_spectra_have_the_features_that_tell_covers_apart() -> None:
    spectra = dict(zip(COVERS, LIBRARY, strict=True))
    red, edge, infrared, swir = (BANDS.index(band) for band in ("B4", "B6", "B8", "B11"))
    for leaves in ("conifer", "broadleaf", "meadow", "crop", "maize"):
        assert spectra[leaves][infrared] > 4 * spectra[leaves][red]
        assert spectra[leaves][edge] > 2 * spectra[leaves][red]
    for mineral in ("soil", "sand", "dune", "chalk", "rock"):
        assert (np.diff(spectra[mineral][: swir - 1]) > 0).all()
    for water in ("water", "turbid"):
        assert spectra[water][infrared] < 0.03
    assert LIBRARY.shape == (21, 13)
    assert LIBRARY.min() >= 0 and LIBRARY.max() <= 0.9


@pytest.mark.parametrize("slope", [2.0, 8 / 3, 4.0])
def test_noise_has_the_spectrum_that_it_says(slope: float) -> None:
    field = fractal(np.random.default_rng(1), (256, 200), slope=slope, largest=1e6)
    assert abs(float(field.mean())) < 1e-4
    assert float(field.std()) == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.fft2(field)) ** 2
    wave = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(200)[None])
    rings = np.geomspace(0.02, 0.45, 12)
    means = [power[(wave >= a) & (wave < b)].mean() for a, b in pairwise(rings)]
    fitted = np.polyfit(np.log(np.sqrt(rings[1:] * rings[:-1])), np.log(means), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.15)


def test_stretched_noise_is_longer_along_its_axis() -> None:
    along, across = (
        fractal(np.random.default_rng(2), (256, 256), slope=4.0, largest=10.0, stretch=(5.0, angle))
        for angle in (0.0, np.pi / 2)
    )
    steps = [[float(np.abs(np.diff(field, axis=axis)).mean()) for axis in (1, 0)] for field in (along, across)]
    assert steps[0][1] > 3 * steps[0][0]  # along the rows it changes slowly
    assert steps[1][0] > 3 * steps[1][1]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_patches_cover_their_share(share: float) -> None:
    covered = patches(np.random.default_rng(3), (150, 211), share, largest=20.0)
    assert covered.mean() == pytest.approx(share, abs=0.03)
