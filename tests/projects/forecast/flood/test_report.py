"""The report of how much frames differ: its table, picture and answer, on simulations with a known end."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from common.errors import BadRecordError, UserError
from projects.forecast.flood.maps import Description
from projects.forecast.flood.report import COLUMNS, report_activity
from projects.forecast.flood.report_figure import draw_activity
from projects.forecast.flood.survey import Plan, examine, examine_all, settled_hours, summary

stock = Axes.imshow
HOURLY = Plan(past=2, future=1, step_minutes=60.0)


@dataclass
class Pool:
    """Water of some depth in one of four cells, one more is outside; a frame per depth, hourly unless told."""

    name: str
    depths: list[float]
    minutes: list[float] = field(default_factory=list)
    damaged: int | None = None
    path: Path = Path("pool.h5")

    @property
    def description(self) -> Description:
        minutes = np.array(self.minutes or 60.0 * np.arange(len(self)), dtype=np.float64)
        return Description(self.name, (1, 5), 100.0, None, minutes, "hdf5")

    def __len__(self) -> int:
        return len(self.depths)

    def bed(self) -> np.ndarray:
        return np.array([[0, 0, 0, 0, np.nan]], dtype=np.float32)

    def read(self, frame: int) -> np.ndarray:
        if frame == self.damaged:
            raise BadRecordError(self.path, f"frame {frame} is torn")
        maps = np.zeros((3, 1, 5), dtype=np.float32)
        maps[:, 0, 0] = self.depths[frame], 0, 2
        maps[:, 0, 4] = np.nan
        return maps


def test_of_one_simulation() -> None:
    found = examine(Pool("one", [0, 1, 1.5, 1.5, 1.5]), HOURLY)
    assert found.minutes.tolist() == [[0, 60], [60, 120], [120, 180], [180, 240]]
    assert found.hours.tolist() == [1, 2, 3, 4]
    assert found.changes.wet_m.tolist() == [1, 0.5, 0, 0]
    assert found.changes.depth_m.tolist() == [0.25, 0.125, 0, 0], "the cell outside does not count"
    assert found.static.tolist() == [False, False, True]
    assert found.flooded == 0.25


def test_when_a_change_has_settled() -> None:
    hours = np.array([1.0, 2.0, 3.0, 4.0])
    assert settled_hours(hours, np.array([1.0, 0.5, 0.1, 0.1])) == 3
    assert math.isnan(settled_hours(hours, np.array([0.05, 1.0, 0.05, 0.2]))), "it comes back"
    assert settled_hours(hours, np.array([0.0, 1.0, 0.2, 0.05])) == 4
    assert math.isnan(settled_hours(hours, np.zeros(4)))
    assert math.isnan(settled_hours(hours[:0], np.zeros(0)))


def test_the_answer() -> None:
    pools = [Pool("a", [0, 1, 1.5, 1.5, 1.5]), Pool("b", [0, 0.25, 0.5, 0.75, 1]), Pool("lone", [1])]
    found, problems = examine_all(pools, HOURLY, progress=False)
    assert problems == []
    assert summary(found) == [
        "1 of 6 windows (16.7%) are static: no step of theirs changes the wet cells by 1 mm on average",
        "change per step over the wet cells: 625 / 250 / 125 mm (first / median / last; medians of 2 simulations), "
        "down to a tenth of the greatest after 3 h in 1 of them",
        "change per step over the basin: 156 / 62.5 / 31.2 mm (first / median / last; medians of 2 simulations), "
        "down to a tenth of the greatest after 3 h in 1 of them",
    ]
    assert summary(found[2:]) == ["no window fits into any of 1 simulations"]
    assert "never down to a tenth" in summary(found[1:2])[1]


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half_hourly = Pool("half, hourly", [0, 1, 2, 4], minutes=[0, 30, 60, 90])
    torn = Pool("torn", [0, 1, 2], damaged=2)
    report_activity(
        [half_hourly, torn, Pool("lone", [1])],
        output=tmp_path / "new",
        past=1,
        future=1,
        step_minutes=60.0,
        progress=False,
    )
    with (tmp_path / "new" / "report.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        ["half, hourly", "0", "60", "0.5", "2", "0.25", "1"],
        ["half, hourly", "30", "90", "0.75", "3", "0.25", "1.5"],
    ]
    printed = capsys.readouterr().out
    assert "1 x simulation that cannot be read in pool.h5: torn: frame 2 is torn" in printed
    assert "0 of 2 windows (0.0%)" in printed
    assert "no window" in printed, "the lone frame's row"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["report.csv", "report.png"]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torn: frame 0 is torn"):
        report_activity([Pool("torn", [0, 1], damaged=0)], output=tmp_path, past=1, future=1, step_minutes=60.0)
    with pytest.raises(UserError, match=r"pool.h5: fast: frames 60 minutes apart"):
        report_activity([Pool("fast", [0, 1])], output=tmp_path, past=1, future=1, step_minutes=90.0)
    assert list(tmp_path.iterdir()) == []


def test_of_many_the_stillest_and_the_liveliest_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pools = [Pool(f"n{number}", [0, number / 100, number / 50]) for number in range(40)]
    report_activity(pools, output=tmp_path, past=1, future=1, step_minutes=60.0, progress=False)
    printed = capsys.readouterr().out
    listed = [number for number in range(40) if f" n{number} " in printed]
    assert listed == [*range(12), *range(28, 40)]
    assert "medians of 40 simulations" in printed


@pytest.mark.parametrize("pools", [[Pool("lone", [1])], [Pool("still", [1, 1, 1])], [Pool("two", [0, 1])]])
def test_a_picture_of_little(pools: list[Pool], tmp_path: Path) -> None:
    draw_activity(tmp_path / "report.png", [examine(pool, HOURLY) for pool in pools])
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.size[0] > 1000


def test_rows_of_unequal_intervals_share_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        Axes, "imshow", lambda self, grid, **options: drawn.append(grid) or stock(self, grid, **options)
    )
    fine = Pool("fine", [0, 1, 1, 2, 2], minutes=[0, 30, 60, 90, 120])
    gap = Pool("gap", [0, 1, 2, 6], minutes=[0, 60, 180, 240])
    draw_activity(tmp_path / "report.png", [examine(pool, HOURLY) for pool in (fine, gap)])
    np.testing.assert_array_equal(drawn[0], [[np.nan, 1, 1, np.nan, np.nan], [np.nan, 1, np.nan, np.nan, 4]])
