import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from common.errors import UserError
from projects.ball import synthetic
from projects.ball.synthetic import write_dataset
from projects.ball.synthetic.flight import DRAG, GRAVITY, RADIUS, TABLE_HEIGHT, play
from projects.ball.synthetic.planes import Planes
from projects.ball.synthetic.rally import annotate, contact_frames, random_rally
from projects.ball.synthetic.render import Rally, Sight

Unchecked = Callable[[], AbstractContextManager[None]]
SIZE_HW = (72, 128)
SMALL: Mapping[str, int] = {"training": 1, "test": 1}


def write(root: Path, workers: int = 1, seed: int = 0, rallies: Mapping[str, int] = SMALL) -> None:
    write_dataset(root, rallies=rallies, size_hw=SIZE_HW, seed=seed, workers=workers, progress=False)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write(root)
    return root


@pytest.fixture(scope="module")
def sighted(unchecked: Unchecked) -> list[tuple[Rally, list[Sight]]]:
    with unchecked():
        rallies = [random_rally((7, 0, number), (72, 128)) for number in range(2)]
        return [(rally, [rally.frame(index)[1] for index in range(rally.length)]) for rally in rallies]


def test_the_layout_is_that_of_openttgames(written: Path) -> None:
    games = ["training/annotations/game_01", "test/annotations/test_01"]
    files = {f"{game}/{name}_markup.json" for game in games for name in ("ball", "events")}
    files |= {game.replace("annotations", "videos") + ".mp4" for game in games} | {"synthetic.json"}
    assert set(contents(written)) == files
    for game in games:
        ball = json.loads((written / game / "ball_markup.json").read_text())
        events = json.loads((written / game / "events_markup.json").read_text())
        with av.open(written / (game.replace("annotations", "videos") + ".mp4")) as video:
            stream = video.streams.video[0]
            assert ((stream.height, stream.width), stream.average_rate) == (SIZE_HW, Fraction(120))
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            frames = sum(1 for _ in video.decode(stream))
        assert 42 <= frames <= 60
        assert set(events.values()) <= {"bounce", "net", "empty_event"}
        assert all(0 <= int(frame) < frames for frame in [*ball, *events])
        assert all(any(-4 <= int(frame) - int(event) <= 12 for event in events) for frame in ball)
        for label in ball.values():
            absent = label == {"x": -1, "y": -1}
            assert absent or (0 <= label["x"] <= SIZE_HW[1] - 1 and 0 <= label["y"] <= SIZE_HW[0] - 1)


def test_the_number_of_workers_changes_nothing(written: Path, tmp_path: Path, unchecked: Unchecked) -> None:
    with unchecked():
        write(tmp_path, workers=2)
    assert contents(tmp_path) == contents(written)


def test_seed_and_split_change_the_scene() -> None:
    seeds = [(0, 0, 0), (0, 1, 0), (1, 0, 0)]
    first, *others = [random_rally(seed, SIZE_HW).frame(0)[0].astype(int) for seed in seeds]
    assert all(np.abs(first - other).mean() > 3 for other in others)


def test_a_broken_run_goes_on_where_it_stopped(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = shutil.copytree(written, tmp_path / "copy")
    (root / "test/annotations/test_01/ball_markup.json").unlink()
    made = list[tuple[int, ...]]()

    def counted(seed: tuple[int, ...], size_hw: tuple[int, int]) -> Rally:
        made.append(seed)
        return random_rally(seed, size_hw)

    monkeypatch.setattr(synthetic, "random_rally", counted)
    write(root)
    assert made == [(0, 1, 0)]
    assert contents(root) == contents(written)
    write(root)
    assert len(made) == 1


def test_a_killed_game_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def short(seed: tuple[int, ...], size_hw: tuple[int, int]) -> Rally:
        return replace(random_rally(seed, size_hw), length=5)

    monkeypatch.setattr(synthetic, "random_rally", short)
    monkeypatch.setattr(synthetic, "annotate", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, rallies={"test": 1})
    assert set(contents(tmp_path)) == {"synthetic.json", "test/videos/test_01.mp4"}
    monkeypatch.setattr(synthetic, "annotate", annotate)
    write(tmp_path, rallies={"test": 1})
    assert "test/annotations/test_01/ball_markup.json" in contents(tmp_path)


def test_other_data_in_the_folder_is_refused(written: Path, tmp_path: Path) -> None:
    before = contents(written)
    with pytest.raises(UserError, match=r'synthetic\.json: found .*"seed": 0.*asked for .*"seed": 3.*delete'):
        write(written, seed=3)
    assert contents(written) == before
    (tmp_path / "training").mkdir()
    with pytest.raises(UserError, match="other data"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rallies": {"train": 1}}, "'train'"),
        ({"rallies": {"test": -1}}, "-1"),
        ({"size_hw": (145, 256)}, "145"),
        ({"seed": -1}, "-1"),
        ({"workers": 0}, "0"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_dataset(tmp_path, **wrong)  # type: ignore[arg-type]
    assert not contents(tmp_path)


def test_the_label_is_the_centroid_of_the_ball(unchecked: Unchecked) -> None:
    """Black hall, even light, no noise: what the ball adds to a frame is centred at its label."""
    with unchecked():
        errors = centroid_errors()
    assert len(errors) > 25
    assert max(errors) < 0.1


def centroid_errors() -> list[float]:
    errors = list[float]()
    for number in range(3):
        rally = random_rally((3, 0, number), (360, 640))
        black = Planes(0 * rally.scene.background.luma, 0 * rally.scene.background.chroma)
        scene = replace(rally.scene, background=black, net=0 * rally.scene.net)
        light = replace(rally.light, gain=0 * rally.light.gain + 1, noise=0 * rally.light.noise)
        rally = replace(rally, scene=scene, light=light, players=(), wanderers=())
        arcs = (np.array(rally.flight.starts) - rally.start) * rally.fps
        for index in range(0, rally.length, 4):
            smooth = np.abs(arcs - index).min() > 0.5  # no bounce within the exposure
            (frame, sight), (empty, _) = rally.frame(index), rally.frame(index, ball=False)
            luma = frame[:360].astype(float) - empty[:360]
            border = np.concatenate([luma[0], luma[-1], luma[:, 0], luma[:, -1]])
            if smooth and sight.share > 0.999 and not border.any():
                y, x = np.indices(luma.shape)
                centroid = np.array([(luma * x).sum(), (luma * y).sum()]) / luma.sum()
                errors.append(float(np.abs(centroid - sight.point_xy).max()))
    return errors


def test_labels_are_sparse_and_a_tenth_of_them_absences(sighted: list[tuple[Rally, list[Sight]]]) -> None:
    frames = visible = absent = 0
    for rally, sights in sighted:
        ball, events = annotate(rally, sights, np.random.default_rng(0))
        frames += rally.length
        gone = [frame for frame, label in ball.items() if label["x"] == -1]
        absent, visible = absent + len(gone), visible + len(ball) - len(gone)
        assert all(sights[int(frame)].share < 0.05 for frame in gone)
        assert {int(frame): kind for frame, kind in events.items()}.items() >= contact_frames(rally).items()
        assert contact_frames(rally)
    assert 0.6 < (visible + absent) / frames < 0.95
    assert 0.05 < absent / (visible + absent) < 0.18


def test_a_ball_labelled_visible_changes_the_picture(sighted: list[tuple[Rally, list[Sight]]]) -> None:
    for rally, sights in sighted:
        ball, _ = annotate(rally, sights, np.random.default_rng(0))
        for name, label in list(ball.items())[::5]:
            frame, empty = (rally.frame(int(name), ball=shown)[0][:72].astype(int) for shown in (True, False))
            change = np.abs(frame - empty)
            if label["x"] == -1:
                assert change.max() < 30
            else:
                x, y = round(label["x"]), round(label["y"])
                assert change[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].max() > 12


@pytest.mark.parametrize("seed", range(6))
def test_flight_obeys_gravity_and_drag_and_loses_energy(seed: int) -> None:
    flight = play(np.random.default_rng(seed), 2.0)
    ends = [*flight.starts[1:], flight.end]
    strokes = [stroke.time for stroke in flight.strokes]
    for start, end in zip(flight.starts, ends, strict=True):
        times = np.linspace(start + 1e-6, end - 1e-6, 200)
        states = flight.states(times)
        velocity = states[:, 3:]
        speed = np.linalg.norm(velocity, axis=1)
        assert states[:, 2].min() > RADIUS - 1e-3
        energy = GRAVITY * states[:, 2] + speed**2 / 2
        assert (np.diff(energy) < 1e-5).all()
        if end - start > 0.05:
            step = times[1] - times[0]
            acceleration = np.gradient(states[:, 2], step, edge_order=2)
            acceleration = np.gradient(acceleration, step, edge_order=2)[5:-5]
            expected = -GRAVITY - DRAG * (speed * velocity[:, 2])[5:-5]
            np.testing.assert_allclose(acceleration, expected, atol=0.2)
    for time, contact in flight.contacts:
        if contact == "bounce":
            before, after = flight.states(np.array([time - 1e-5, time + 1e-5]))
            assert abs(before[2] - TABLE_HEIGHT - RADIUS) < 1e-3
            assert after[5] == pytest.approx(-0.9 * before[5], rel=0.01, abs=0.01)
    assert all(np.abs(flight.states(np.array([time]))[0, 0]) > 1.2 for time in strokes)
