"""Streams: a line per frame as it comes, and all of them whole when it ends, however it ends."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.read import Video
from common.errors import UserError
from common.signals import Stopped, request, stopping_on_signals
from projects.pose.finder import Options
from projects.pose.inputs import Arrived, Stream
from projects.pose.people import People
from projects.pose.predict import predict
from projects.pose.predict_stream import predict_stream
from tests.projects.pose.finders import BrightSquare, centres, place, write_film
from tests.projects.pose.test_inputs import piped

QUIET = Options(device=torch.device("cpu"), batch_size=4, progress=False)


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return write_film(tmp_path / "film.mkv", 30).read_bytes()


def _lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_every_frame_has_a_line_with_its_people(tmp_path: Path, film: bytes) -> None:
    module = BrightSquare()
    done = predict_stream(module, piped(film), output=tmp_path / "out", options=QUIET)
    lines = _lines(done.results)
    assert [line["frame"] for line in lines] == list(range(30))
    assert [line["seconds"] for line in lines] == pytest.approx([number / 25 for number in range(30)])
    for number, line in enumerate(lines):
        at, people = place(number), line["people"]
        assert isinstance(people, list)
        assert len(people) == (at is not None)
        if at is not None:
            np.testing.assert_allclose(centres(people)[number], at, atol=0.6)
    assert sum(module.batches) == 30
    assert max(module.batches) <= 4
    assert (done.frames, done.people, done.undecodable) == (30, 24, 0)
    assert done.overlay == tmp_path / "out" / "stream_pose.mkv"
    assert len(Video(done.overlay)) == 30


def test_earlier_results_stay(tmp_path: Path, film: bytes) -> None:
    options = Options(device=torch.device("cpu"), progress=False, overlay=False)
    for _ in range(3):
        predict(BrightSquare(), piped(film), output=tmp_path / "out", options=options)
    names = {"stream_pose.jsonl", "stream_pose_2.jsonl", "stream_pose_3.jsonl"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names


class Asks(BrightSquare):
    """Is sent a signal while it looks at its third batch."""

    def people(self, images: Tensor) -> list[People]:
        if len(self.batches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().people(images)


def test_after_a_signal_what_was_looked_at_is_written(tmp_path: Path, film: bytes) -> None:
    module = Asks()
    with stopping_on_signals(), pytest.raises(Stopped) as stopped:
        predict(module, piped(film), output=tmp_path / "out", options=QUIET)
    assert (stopped.value.code, stopped.value.reason) == (85, "SIGINT")
    seen = sum(module.batches)
    assert len(module.batches) == 3
    assert [line["frame"] for line in _lines(tmp_path / "out" / "stream_pose.jsonl")] == list(range(seen))
    assert len(Video(tmp_path / "out" / "stream_pose.mkv")) == seen


def test_a_signal_ends_the_wait_for_a_camera_that_is_silent(
    tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, all_seen, never = Stream.frames, threading.Event(), threading.Event()

    class Counts(BrightSquare):
        def people(self, images: Tensor) -> list[People]:
            found = super().people(images)
            if sum(self.batches) == 30:
                all_seen.set()
            return found

    def silent(self: Stream) -> Iterator[Arrived]:
        yield from frames(self)
        all_seen.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        never.wait()

    monkeypatch.setattr(Stream, "frames", silent)
    with stopping_on_signals(), pytest.raises(Stopped):
        predict(Counts(), piped(film), output=tmp_path / "out", options=QUIET)
    never.set()
    assert len(_lines(tmp_path / "out" / "stream_pose.jsonl")) == 30
    assert len(Video(tmp_path / "out" / "stream_pose.mkv")) == 30


def test_lines_are_there_before_the_next_frames_are_looked_at(tmp_path: Path, film: bytes) -> None:
    results = tmp_path / "out" / "stream_pose.jsonl"

    class Looks(BrightSquare):
        def people(self, images: Tensor) -> list[People]:
            assert (len(_lines(results)) if results.exists() else 0) == sum(self.batches)
            return super().people(images)

    predict_stream(Looks(), piped(film), output=tmp_path / "out", options=QUIET)


def test_an_error_keeps_what_was_written(tmp_path: Path, film: bytes) -> None:
    class Fails(BrightSquare):
        def people(self, images: Tensor) -> list[People]:
            if len(self.batches) == 2:
                raise RuntimeError("out of memory")
            return super().people(images)

    module = Fails()
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_stream(module, piped(film), output=tmp_path / "out", options=QUIET)
    assert len(_lines(tmp_path / "out" / "stream_pose.jsonl")) == sum(module.batches)
    assert len(Video(tmp_path / "out" / "stream_pose.mkv")) == sum(module.batches)
    assert not request.in_loop


def test_what_is_no_stream_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no readable video"):
        predict_stream(BrightSquare(), piped(b"hello"), output=tmp_path / "out", options=QUIET)
    assert list((tmp_path / "out").iterdir()) == []
