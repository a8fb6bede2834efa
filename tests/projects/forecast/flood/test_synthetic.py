import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from common.errors import UserError
from projects.forecast.flood import synthetic
from projects.forecast.flood.simulation import find_simulations
from projects.forecast.flood.surfer import read_grid
from projects.forecast.flood.synthetic import MINUTES_PER_FRAME, write_dataset
from projects.forecast.flood.synthetic.scenario import BREACH_M, BREACH_M3S, Scenario, random_scenario
from projects.forecast.flood.synthetic.terrain import FEATURES, fractal, random_basin, random_bed

SIZE_HW, HOURS = (14, 17), 3
SMALL: Mapping[str, int] = {"train": 3, "val": 1, "test": 2}


def write(root: Path, workers: int = 1, seed: int = 0, hours: int = HOURS) -> None:
    write_dataset(root, simulations=SMALL, size_hw=SIZE_HW, hours=hours, seed=seed, workers=workers, progress=False)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def scenario(seed: int, number: int = 0, size_hw: tuple[int, int] = (30, 40), hours: int = 24) -> Scenario:
    return random_scenario(np.random.default_rng(seed), size_hw, number=number, hours=hours)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write(root)
    return root


def test_the_layout_is_that_of_parflood_with_lists(written: Path) -> None:
    names = {split: [f"{split}_{number + 1:03}" for number in range(count)] for split, count in SMALL.items()}
    frames = [f"flood{hour:04}.{kind}" for hour in range(HOURS + 1) for kind in ("DEP", "VVX", "VVY")]
    files = {f"{name}/{file}" for part in names.values() for name in part for file in ["flood.BTM", *frames]}
    lists = {f"filelists/{split}.csv" for split in SMALL}
    assert set(contents(written)) == files | lists | {"synthetic.json"}
    for split, part in names.items():
        assert (written / "filelists" / f"{split}.csv").read_text().splitlines() == ["name", *part]
    grid = read_grid(written / "train_001" / "flood0001.VVX")
    assert (grid.kind, grid.values.shape) == ("DSBB", SIZE_HW)
    assert (grid.x_limits, grid.y_limits) == ((50.0, 1650.0), (50.0, 1350.0))


def test_the_readers_find_what_was_simulated(written: Path) -> None:
    found = find_simulations(written, minutes_per_frame=MINUTES_PER_FRAME)
    assert not found.problems
    assert [one.name for one in found.simulations][:3] == ["test_001", "test_002", "train_001"]
    simulation = found.simulations[3]
    drawn = random_scenario(np.random.default_rng([0, 0, 1]), SIZE_HW, number=1, hours=HOURS)
    result = drawn.run([0.0, 60.0, 120.0, 180.0])
    assert simulation.description.minutes.tolist() == [0, 60, 120, 180]
    assert simulation.description.cell_m == 100
    np.testing.assert_array_equal(simulation.bed(), drawn.bed.astype(np.float32))
    for hour in range(HOURS + 1):
        maps = np.stack([result.depth[hour], result.vx[hour], result.vy[hour]])
        np.testing.assert_array_equal(simulation.read(hour), maps.astype(np.float32))
    assert np.nanmax(simulation.read(HOURS)[0]) > 0.1


def test_the_number_of_workers_changes_nothing_and_the_seed_all(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "same", workers=3)
    assert contents(tmp_path / "same") == contents(written)
    write(tmp_path / "other", seed=1, hours=1)
    beds = [read_grid(file).values for root in (written, tmp_path / "other") for file in sorted(root.glob("*/*.BTM"))]
    assert all(np.nanmean(np.abs(a - b)) > 0.01 for i, a in enumerate(beds) for b in beds[:i])


def test_only_what_is_missing_or_damaged_is_made_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(written, tmp_path / "copy")
    half = root / "train_002" / "flood0002.DEP"
    half.write_bytes(half.read_bytes()[:500])
    (root / "val_001" / "flood.BTM").unlink()
    shutil.rmtree(root / "test_001")
    made = list[int]()

    def counted(*arguments: object, **options: object) -> Scenario:
        made.append(1)
        return random_scenario(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "random_scenario", counted)
    write(root)
    assert len(made) == 3
    assert contents(root) == contents(written)
    write(root)
    assert len(made) == 3


def test_what_is_killed_leaves_whole_folders_alone_and_goes_on(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids, write_grid = list[Path](), synthetic.write_grid

    def killed(file: Path, *values: object, **limits: object) -> None:
        grids.append(file)
        if len(grids) == 20:  # within the second simulation
            raise KeyboardInterrupt
        write_grid(file, *values, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "write_grid", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synthetic.json", "train_001"]
    monkeypatch.setattr(synthetic, "write_grid", write_grid)
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
    (tmp_path / "train_001").mkdir()
    with pytest.raises(UserError, match="other data"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"simulations": {"training": 1}}, "'training'"),
        ({"simulations": {"test": -1}}, "-1"),
        ({"size_hw": (7, 48)}, r"\(7, 48\)"),
        ({"hours": 0}, "0"),
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
    expected = {"format": synthetic.FORMAT, "seed": 0, "size_hw": [14, 17], "hours": 3, "simulations": dict(SMALL)}
    assert found == expected


def test_a_breach_lies_in_the_basin_mostly_on_its_border_and_floods_start_dry_or_with_a_film() -> None:
    drawn = [scenario(seed, number=seed) for seed in range(60)]
    borders = 0
    for one in drawn:
        inside = np.isfinite(one.bed)
        assert inside[one.inflow.cell]
        borders += not scipy.ndimage.binary_erosion(inside)[one.inflow.cell]
        others = one.depth.copy()
        others[one.inflow.cell] = 0
        assert not others.any()
    assert 0.6 < borders / 60 < 0.95
    assert {float(one.depth[one.inflow.cell]) for one in drawn} == {0.0, BREACH_M}
    sides = {(row == 0, column == 0, row == 29, column == 39) for row, column in (one.inflow.cell for one in drawn)}
    assert len(sides) >= 5  # all four, and none of them
    assert [np.isnan(one.bed).any() for one in drawn] == [False, True, False] * 20


def test_half_of_the_hydrographs_are_constant_and_the_others_bring_about_as_much() -> None:
    inflows = [scenario(seed).inflow for seed in range(80)]
    changing = [one for one in inflows if len(one.m3s) > 1]
    assert 0.3 < len(changing) / 80 < 0.7
    assert all(one.m3s == (BREACH_M3S,) for one in inflows if one not in changing)
    means = np.array([one.volume(24.0 * 60) / 86400 for one in changing])
    assert means.min() > 0.5 * BREACH_M3S and means.max() < 1.6 * BREACH_M3S
    assert means.mean() == pytest.approx(BREACH_M3S, rel=0.15)
    shapes = {tuple(np.sign(np.diff(one.m3s))) for one in changing}
    assert shapes == {(1, 1), (-1, -1), (1, -1)}


@pytest.mark.parametrize("feature", FEATURES)
def test_relief_is_as_that_of_the_real_data(feature: str) -> None:
    for seed in range(8):
        bed = random_bed(np.random.default_rng(seed), (64, 64), feature)
        assert bed.shape == (64, 64) and np.isfinite(bed).all()
        assert 0.15 < bed.std() < 1.8


def test_a_dike_dams_and_a_channel_drains() -> None:
    """With the same draws, features change a part of the map: dikes raise it, channels lower it."""
    for seed in range(5):
        beds = {name: random_bed(np.random.default_rng(seed), (48, 48), name) for name in ("plain", "dike", "channel")}
        raised, lowered = beds["dike"] - beds["plain"], beds["plain"] - beds["channel"]
        assert raised.min() == 0 and raised.max() > 0.2
        assert 0.005 < np.mean(raised > 0) < 0.4
        assert lowered.min() >= 0 and lowered.max() > 0.4
        assert 0.02 < np.mean(lowered > 0.1) < 0.5


def test_noise_is_rougher_with_a_flatter_spectrum_and_its_sides_do_not_match() -> None:
    fields = [fractal(np.random.default_rng(0), (50, 70), slope=slope, largest=16.0) for slope in (3.0, 5.0, 8.0)]
    for field in fields:
        assert abs(field.mean()) < 1e-9 and field.std() == pytest.approx(1)
    steps = [np.abs(np.diff(field)).mean() for field in fields]
    assert steps[0] > 1.5 * steps[1] > 2 * steps[2]
    assert np.abs(fields[2][:, 0] - fields[2][:, -1]).mean() > 3 * steps[2]


@pytest.mark.parametrize("size_hw", [(8, 8), (48, 48), (9, 60)])
def test_a_basin_is_one_part_of_the_map(size_hw: tuple[int, int]) -> None:
    for seed in range(10):
        inside = random_basin(np.random.default_rng(seed), size_hw)
        assert 0.5 < inside.mean() < 0.98
        assert scipy.ndimage.label(inside)[1] == 1


def test_floods_spread_over_a_good_part_of_the_map_so_that_persistence_is_poor() -> None:
    for number in range(2):
        drawn = scenario(number, number, (48, 48), 24)
        result = drawn.run([60.0, 720.0, 1440.0])
        flooded = (result.depth > 0.05).sum(axis=(1, 2)) / np.isfinite(drawn.bed).sum()
        assert flooded[0] < 0.1
        assert 0.1 < flooded[2] < 0.9 and flooded[2] > 1.2 * flooded[1]
        assert np.nansum(result.depth[2]) * 1e4 == pytest.approx(result.volume_in[2])
        assert np.nanmax(np.hypot(result.vx, result.vy)) < 2
