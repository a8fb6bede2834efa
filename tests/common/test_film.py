"""Films keep their frames, their times, and whatever was written when they end early."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from common.data.read import Video
from common.film import even_film, timed_film

SIZE_HW = (64, 96)


def _grey(value: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    return np.full((*size_hw, 3), value, np.uint8)


def _seconds(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def test_an_even_film_has_its_frames_in_order_at_its_rate(tmp_path: Path) -> None:
    with even_film(tmp_path / "f.mp4", (65, 97), 30000 / 1001) as append:
        for number in range(12):
            append(_grey(20 * number, (65, 97)))
    video = Video(tmp_path / "f.mp4")
    assert (len(video), video.size_hw) == (12, SIZE_HW)  # an odd line is cut
    assert video.fps == pytest.approx(30000 / 1001)
    np.testing.assert_allclose([frame.mean() for frame in video.stream()], 20 * np.arange(12), atol=3)


def test_a_timed_film_keeps_times_and_makes_them_rise(tmp_path: Path) -> None:
    with timed_film(tmp_path / "f.mkv", SIZE_HW, 25.0) as append:
        for seconds in (0.0, 0.04, 3.0, 2.0, 2.0, 3.5):
            append(_grey(90), seconds)
    assert _seconds(tmp_path / "f.mkv") == pytest.approx([0, 0.04, 3.0, 3.001, 3.002, 3.5])


def test_frames_of_another_size_are_scaled(tmp_path: Path) -> None:
    with timed_film(tmp_path / "f.mkv", SIZE_HW, 0.0) as append:
        append(_grey(50), 0.0)
        append(_grey(200, (31, 201)), 0.1)
    frames = list(Video(tmp_path / "f.mkv").stream())
    assert [frame.shape for frame in frames] == [(*SIZE_HW, 3)] * 2
    assert frames[1].mean() == pytest.approx(200, abs=3)


def test_a_killed_writer_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    with timed_film(tmp_path / "f.mkv", SIZE_HW, 25.0) as append:
        for number in range(100):
            append(_grey(2 * number), number / 25)
        shutil.copy(tmp_path / "f.mkv", tmp_path / "killed.mkv")
    left = Video(tmp_path / "killed.mkv")
    assert 100 - 25 - 5 <= len(left) <= 100
    np.testing.assert_allclose([frame.mean() for frame in left.stream()][:70], 2 * np.arange(70), atol=3)


def test_an_error_ends_a_film_that_can_be_played(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), timed_film(tmp_path / "f.mkv", SIZE_HW, 25.0) as append:
        for number in range(10):
            append(_grey(90), number / 25)
        raise RuntimeError("stop")
    assert len(Video(tmp_path / "f.mkv")) == 10
