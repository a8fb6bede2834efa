"""Ball annotations on disk -> frames, points and events."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from common.data.report import Problem
from common.data.text import LARGEST_ROWS, read_table, read_text
from common.errors import UserError

EVENTS = ("bounce", "net", "empty_event")
ABSENT = -1  # x and y of a labelled absence in OpenTTGames
LARGEST = 10**9  # frame or coordinate: two years of video, and no picture is as wide


@dataclass(frozen=True)
class BallLabels:
    """Labels of one video; a frame that is not in `frames` is unlabelled, which says nothing about the ball.

    Attributes:
        frames: rising frame numbers from 0.
        points_xy: ball centre in pixels of the video, (0, 0) where it is absent.
        visible: False is a labelled absence.
        events: frame number -> "bounce", "net" or "empty_event".
    """

    frames: Int64[np.ndarray, " labels"]
    points_xy: Float32[np.ndarray, "labels 2"]
    visible: Bool[np.ndarray, " labels"]
    events: dict[int, str] = field(default_factory=dict)


def read_openttgames(ball_markup: Path, events_markup: Path | None) -> BallLabels:
    """Reads the JSON files of OpenTTGames (Voeikov et al., TTNet, CVPR workshops 2020).

    `ball_markup.json` is `{"997": {"x": 563, "y": 500}}`: 0-based frame, pixels of the video; x = y = -1 is a labelled
    absence. `events_markup.json` is `{"1001": "bounce"}`.

    Raises:
        UserError: a file is missing or is not of this form.
    """
    rows = []
    for frame, point in _by_frame(ball_markup).items():
        if not isinstance(point, dict) or not {"x", "y"} <= point.keys():
            raise _unexpected(ball_markup, f"frame {frame}", point, 'an object {"x": number, "y": number}')
        x, y = (_number(point[axis], ball_markup, f"frame {frame}, key {axis!r}") for axis in "xy")
        visible = (x, y) != (ABSENT, ABSENT)
        rows.append((frame, x if visible else 0.0, y if visible else 0.0, visible))
    events = {} if events_markup is None else _by_frame(events_markup)
    for frame, event in events.items():
        if event not in EVENTS:
            raise _unexpected(events_markup, f"frame {frame}", event, f"one of {', '.join(EVENTS)}")
    return _labels(rows, dict(sorted(events.items())))


def read_tracknet(file: Path, video_size_hw: tuple[int, int]) -> BallLabels:
    """Reads a CSV of the TrackNet family, one row per labelled frame.

    Two headers are known: `Frame,Visibility,X,Y` with pixels of the video (Huang et al., TrackNet, AVSS 2019;
    visibility 0 = not in the picture, 1 = clear, 2 = blurred, 3 = occluded, of which 1 to 3 count as visible) and
    `Frame,Ball,x,y` with coordinates divided by the video's width and height (TrackNetV3 tools; 0 = not visible).
    Frames count from 0. Other columns are ignored.

    Args:
        file: the CSV.
        video_size_hw: (height, width) of the video in pixels.

    Raises:
        UserError: the file is missing or is not of this form.
    """
    header, table = _table(file)
    flag = next((name for name in ("visibility", "ball") if {"frame", name, "x", "y"} <= set(header)), None)
    if flag is None:
        raise _unexpected(file, "header", ",".join(header), "Frame,Visibility,X,Y or Frame,Ball,x,y")
    height, width = video_size_hw
    scale_x, scale_y = (1, 1) if flag == "visibility" else (width, height)
    rows: dict[int, tuple[int, float, float, bool]] = {}
    for line, row in table:
        frame = _whole(row["frame"], file, f"line {line}, column Frame")
        if frame in rows:
            raise _unexpected(file, f"line {line}, column Frame", frame, "each frame once")
        visible = _whole(row[flag], file, f"line {line}, column {flag}", 3 if flag == "visibility" else 1) > 0
        x, y = (_number(_parsed(row[axis]), file, f"line {line}, column {axis}") if visible else 0.0 for axis in "xy")
        rows[frame] = (frame, x * scale_x, y * scale_y, visible)
    return _labels(rows.values(), {})


def check(
    labels: BallLabels, *, path: Path, video_length: int, video_size_hw: tuple[int, int]
) -> tuple[BallLabels, list[Problem]]:
    """Drops and names labels and events beyond the video's end, and points outside its picture.

    A point is inside when it is on one of the picture's pixels, that is from -0.5 to size - 0.5.

    Args:
        labels: as read.
        path: the annotation file, for the report.
        video_length: frames of the video.
        video_size_hw: (height, width) of the video in pixels.
    """
    height, width = video_size_hw
    beyond = labels.frames >= video_length
    inside = ((labels.points_xy >= -0.5) & (labels.points_xy <= np.array([width, height]) - 0.5)).all(axis=1)
    outside = labels.visible & ~inside & ~beyond
    end = f"the video has {video_length} frames"
    problems = [
        *(Problem(path, "label beyond the end of the video", f"frame {n}, {end}") for n in labels.frames[beyond]),
        *(
            Problem(path, "point outside the picture", f"frame {n}: x={x:g}, y={y:g} in {width}x{height}")
            for n, (x, y) in zip(labels.frames[outside], labels.points_xy[outside], strict=True)
        ),
        *(Problem(path, "event beyond the end of the video", f"frame {n}, {end}")
          for n in labels.events if n >= video_length),
    ]  # fmt: skip
    keep = ~beyond & ~outside
    events = {frame: event for frame, event in labels.events.items() if frame < video_length}
    return BallLabels(labels.frames[keep], labels.points_xy[keep], labels.visible[keep], events), problems


def _labels(rows: Iterable[tuple[int, float, float, bool]], events: dict[int, str]) -> BallLabels:
    columns = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)
    return BallLabels(
        columns[:, 0].astype(np.int64), columns[:, 1:3].astype(np.float32), columns[:, 3].astype(bool), events
    )


def _by_frame(path: Path) -> dict[int, Any]:
    """A JSON object keyed by frame, with whole keys; twice the same key is an error, which `json` alone hides."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in pairs)
        if len(counts) < len(pairs):
            twice = counts.most_common(1)[0][0]
            raise _unexpected(path, f"key {twice!r}", [value for key, value in pairs if key == twice], "each key once")
        return dict(pairs)

    text = read_text(path)
    values = sum(map(text.count, ",[{"))  # at least as many as there are values, which would fill the memory
    if values > 4 * LARGEST_ROWS:
        raise _unexpected(path, "file", f"{values:,} values", f"at most {4 * LARGEST_ROWS:,}, the labels of one video")
    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}; copy the file again or mend that line") from error
    if not isinstance(content, dict):
        raise _unexpected(path, "file", type(content).__name__, "an object keyed by frame")
    by_frame: dict[int, Any] = {}
    for key, value in content.items():
        frame = _whole(key, path, f"key {key!r}")
        if frame in by_frame:
            raise _unexpected(path, f"key {key!r}", frame, "each frame once")
        by_frame[frame] = value
    return by_frame


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    """Lower-case column names, and the line number and cells of each row; cells missing at a row's end are None."""
    lines = read_table(path)
    header = [name.strip().lower() for name in next(lines, (1, []))[1]]
    return header, [(line, dict(zip(header, [*cells, *[None] * len(header)], strict=False))) for line, cells in lines]


def _number(value: object, path: Path, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise _unexpected(path, where, value, f"a finite number, at most {LARGEST:,}")
    return float(value)


def _parsed(text: str | None) -> float | str | None:
    """The number that a cell or key spells; the text itself if it spells none."""
    try:
        return float(text or "")
    except ValueError:
        return text


def _whole(text: str | None, path: Path, where: str, highest: int | None = None) -> int:
    number = _number(_parsed(text), path, where)
    if not number.is_integer() or number < 0 or (highest is not None and number > highest):
        raise _unexpected(path, where, text, "a whole number from 0" + ("" if highest is None else f" to {highest}"))
    return int(number)


def _unexpected(path: Path | None, where: str, found: object, expected: str) -> UserError:
    return UserError(f"{path}: {where}: found {str(found)[:200]!r}, expected {expected}; mend the file or leave it out")
