"""Annotations as they are on disk."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from projects.ball.labels import BallLabels, check, read_openttgames, read_tracknet


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_real_game_annotation(real_data: Path) -> None:
    folder = real_data / "ball" / "openttgames"
    labels = read_openttgames(folder / "ball_markup.json", folder / "events_markup.json")
    assert len(labels.frames) == 805
    assert (~labels.visible).sum() == 6
    assert Counter(labels.events.values()) == {"bounce": 31, "net": 18, "empty_event": 6}
    assert (np.diff(labels.frames) > 0).all()
    first = int(np.flatnonzero(labels.frames == 997)[0])
    assert labels.points_xy[first].tolist() == [563, 500]
    assert (labels.points_xy[~labels.visible] == 0).all()
    kept, problems = check(labels, path=folder, video_length=10**6, video_size_hw=(1080, 1920))
    assert len(kept.frames) == 804
    assert [(problem.kind, problem.detail.split(":")[0]) for problem in problems] == [
        ("point outside the picture", "frame 7586")  # x = 200, y = -1: an error in the published file
    ]


def test_the_real_clips(real_data: Path) -> None:
    lengths = {"train_00002": 176, "train_00014": 138, "train_00029": 146, "train_00039": 91}
    for name, length in lengths.items():
        file = real_data / "ball" / "badminton" / f"{name}.csv"
        table = np.genfromtxt(file, delimiter=",", skip_header=1)
        labels = read_tracknet(file, (720, 1280))
        np.testing.assert_array_equal(labels.frames, table[:, 0])
        np.testing.assert_array_equal(labels.visible, table[:, 1] == 1)
        expected = (table[:, 2:4] * [1280, 720])[labels.visible]
        np.testing.assert_allclose(labels.points_xy[labels.visible], expected, rtol=1e-6)
        kept, problems = check(labels, path=file, video_length=length, video_size_hw=(720, 1280))
        assert len(kept.frames) == min(length, len(table))
        assert len(problems) == len(table) - len(kept.frames)


def test_openttgames_literal(tmp_path: Path) -> None:
    ball = write(tmp_path / "b.json", {"12": {"x": -1, "y": -1}, "3": {"x": 5.5, "y": 6, "extra": 1}})
    labels = read_openttgames(ball, write(tmp_path / "e.json", {"9": "net", "2": "bounce"}))
    assert labels.frames.tolist() == [3, 12]
    assert labels.points_xy.tolist() == [[5.5, 6], [0, 0]]
    assert labels.visible.tolist() == [True, False]
    assert list(labels.events.items()) == [(2, "bounce"), (9, "net")]
    assert (labels.frames.dtype, labels.points_xy.dtype, labels.visible.dtype) == (np.int64, np.float32, np.bool_)
    assert len(read_openttgames(write(tmp_path / "none.json", {}), None).frames) == 0


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("Frame,Visibility,X,Y", ["4,1,10,20", "0,0,0,0", "2,3,1.5,2", "3,2,8,9"]),
        ("Frame,Ball,x,y", ["4,1,0.1,0.4", "0,0,-1.0,-1.0", "2,1,0.015,0.04", "3,1,0.08,0.18"]),
        (
            "\ufeffFrame, Event, file name, visibility, x, y",
            ["4,,a,1,10,20", "0,,,0,,", "2,hit,a,2,1.5,2", "3,,,1,8,9", ""],
        ),
    ],
)
def test_tracknet_literal(header: str, rows: list[str], tmp_path: Path) -> None:
    labels = read_tracknet(write(tmp_path / "t.csv", "\n".join([header, *rows])), (50, 100))
    assert labels.frames.tolist() == [0, 2, 3, 4]
    assert labels.visible.tolist() == [False, True, True, True]
    np.testing.assert_allclose(labels.points_xy, [[0, 0], [1.5, 2], [8, 9], [10, 20]], rtol=1e-6)
    assert labels.events == {}


def test_check_drops_and_names(tmp_path: Path) -> None:
    labels = BallLabels(
        frames=np.array([1, 2, 3, 4, 5, 10, 11]),
        points_xy=np.array([[0, 0], [99.5, 49.5], [-1, 20], [20, 50], [0, 0], [5, 5], [500, 5]], dtype=np.float32),
        visible=np.array([True, True, True, True, False, True, True]),
        events={2: "net", 9: "bounce", 10: "bounce"},
    )
    kept, problems = check(labels, path=tmp_path, video_length=10, video_size_hw=(50, 100))
    assert kept.frames.tolist() == [1, 2, 5]
    assert kept.points_xy.tolist() == [[0, 0], [99.5, 49.5], [0, 0]]
    assert kept.visible.tolist() == [True, True, False]
    assert kept.events == {2: "net", 9: "bounce"}
    assert [(problem.kind, problem.detail) for problem in problems] == [
        ("label beyond the end of the video", "frame 10, the video has 10 frames"),
        ("label beyond the end of the video", "frame 11, the video has 10 frames"),
        ("point outside the picture", "frame 3: x=-1, y=20 in 100x50"),
        ("point outside the picture", "frame 4: x=20, y=50 in 100x50"),
        ("event beyond the end of the video", "frame 10, the video has 10 frames"),
    ]
    assert {problem.path for problem in problems} == {tmp_path}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": {"x": 1, "y": 2}', r"not valid JSON: .*line 1"),
        ("[1]", r"file: found 'list', expected an object keyed by frame"),
        ('{"1": {"x": 1, "y": 2}, "1": {"x": 3, "y": 4}}', r"key '1': found .*expected each key once"),
        ('{"1": {"x": 1, "x": 3, "y": 4}}', r"key 'x': found '\[1, 3\]', expected each key once"),
        ('{"1": {"x": 1, "y": 2}, "01": {"x": 3, "y": 4}}', r"key '01': found '1', expected each frame once"),
        ('{"-1": {"x": 1, "y": 2}}', r"key '-1': found '-1', expected a whole number from 0"),
        ('{"1.5": {"x": 1, "y": 2}}', r"key '1.5': found '1.5', expected a whole number from 0"),
        ('{"a": {"x": 1, "y": 2}}', r"key 'a': found 'a', expected a finite number"),
        ('{"1": {"x": 1}}', r"frame 1: found .*expected an object \{"),
        ('{"1": [1, 2]}', r"frame 1: found '\[1, 2\]', expected an object"),
        ('{"1": {"x": "5", "y": 2}}', r"frame 1, key 'x': found '5', expected a finite number"),
        ('{"1": {"x": true, "y": 2}}', r"frame 1, key 'x': found 'True', expected a finite number"),
        ('{"1": {"x": NaN, "y": 2}}', r"frame 1, key 'x': found 'nan', expected a finite number"),
    ],
)
def test_a_bad_ball_markup_is_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"ball\.json: {message}"):
        read_openttgames(write(tmp_path / "ball.json", content), None)


def test_bad_events_and_files_are_named(tmp_path: Path) -> None:
    ball = write(tmp_path / "b.json", {})
    with pytest.raises(UserError, match=r"e\.json: frame 7: found 'serve', expected one of bounce, net, empty_event"):
        read_openttgames(ball, write(tmp_path / "e.json", {"7": "serve"}))
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        read_openttgames(tmp_path / "none.json", None)
    (tmp_path / "u.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"u\.csv: not a UTF-8 text file"):
        read_tracknet(tmp_path / "u.csv", (50, 100))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"header: found '', expected Frame,Visibility,X,Y or Frame,Ball,x,y"),
        ("Frame,Visible,X,Y\n1,1,1,1", r"header: found 'frame,visible,x,y'"),
        ("Frame,Ball,x,y\n1,1,.1,.1\n1,0,0,0", r"line 3, column Frame: found '1', expected each frame once"),
        ("Frame,Ball,x,y\n-1,1,.1,.1", r"line 2, column Frame: found '-1', expected a whole number from 0"),
        ("Frame,Ball,x,y\n1,2,.1,.1", r"line 2, column ball: found '2', expected a whole number from 0 to 1"),
        ("Frame,Visibility,X,Y\n1,4,1,1", r"line 2, column visibility: found '4', expected .* to 3"),
        ("Frame,Ball,x,y\n1,1,,.1", r"line 2, column x: found '', expected a finite number"),
        ("Frame,Ball,x,y\n1,1,.1", r"line 2, column y: found 'None', expected a finite number"),
        ("Frame,Ball,x,y\n1,1,nan,.1", r"line 2, column x: found 'nan', expected a finite number"),
    ],
)
def test_a_bad_table_is_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"t\.csv: {message}"):
        read_tracknet(write(tmp_path / "t.csv", content), (50, 100))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, r"not valid JSON: maximum recursion depth"),
        ('{"1": {"x": ' + "9" * 5000 + ', "y": 2}}', r"not valid JSON: Exceeds the limit"),
        ('{"1": {"x": ' + "9" * 400 + ', "y": 2}}', r"frame 1, key 'x': found '999.*, expected a finite number"),
        ('{"1e18": {"x": 1, "y": 2}}', r"key '1e18': found '1e\+18', expected a finite number, at most 1,000,000,000"),
        ('{"1": [' + "0," * 8_000_001 + "0]}", r"file: found '8,000,003 values', expected at most 8,000,000"),
        ('{"1": "' + "x" * (64 << 20) + '"}', r"67,108,\d+ bytes, expected a text file of at most 67,108,864"),
        ('{"1": {"x": 1, "y": 2}\0}', r"line 1 holds a zero byte"),
    ],
    ids=["deep", "digits", "huge", "far", "many", "long", "zero"],
)
def test_what_would_fill_the_memory_is_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"ball\.json: {message}"):
        read_openttgames(write(tmp_path / "ball.json", content), None)


def test_a_double_key_is_found_in_one_pass(tmp_path: Path) -> None:
    rows = ", ".join(f'"{frame}": 0' for frame in range(100_000))
    with pytest.raises(UserError, match=r"key '99999': found '\[0, 1\]', expected each key once"):
        read_openttgames(write(tmp_path / "ball.json", f'{{{rows}, "99999": 1}}'), None)


def test_a_table_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: 2,000,001 lines, expected at most 2,000,000"):
        read_tracknet(write(tmp_path / "t.csv", "Frame,Ball,x,y\n" + "\n" * 2_000_000), (50, 100))
    with pytest.raises(UserError, match=r"t\.csv: line 2, column Frame: found '1000000000000.0'"):
        read_tracknet(write(tmp_path / "t.csv", "Frame,Ball,x,y\n1e12,0,0,0"), (50, 100))
