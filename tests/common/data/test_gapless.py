"""Every frame has its number, whatever is lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from common.data.gapless import gapless_frames
from common.data.read import Video
from common.errors import UserError
from common.film import even_film


@pytest.fixture
def film(tmp_path: Path) -> Video:
    with even_film(tmp_path / "f.mp4", (32, 48), 25.0) as append:
        for number in range(8):
            append(np.full((32, 48, 3), 30 * number, np.uint8))
    return Video(tmp_path / "f.mp4")


def _lose(monkeypatch: pytest.MonkeyPatch, lost: set[int]) -> None:
    read = Video.frames

    def damaged(self: Video, indices: Sequence[int], *args: object) -> Iterator[tuple[int, np.ndarray]]:
        return ((number, frame) for number, frame in read(self, indices, *args) if number not in lost)  # type: ignore[arg-type]

    monkeypatch.setattr(Video, "frames", damaged)


@pytest.mark.parametrize(
    ("lost", "shown"),
    [
        (set(), [0, 1, 2, 3, 4, 5, 6, 7]),
        ({0, 1}, [2, 2, 2, 3, 4, 5, 6, 7]),
        ({3, 4}, [0, 1, 2, 2, 2, 5, 6, 7]),
        ({6, 7}, [0, 1, 2, 3, 4, 5, 5, 5]),
    ],
)
def test_a_lost_frame_is_the_one_before_it(
    film: Video, monkeypatch: pytest.MonkeyPatch, lost: set[int], shown: list[int]
) -> None:
    _lose(monkeypatch, lost)
    frames = list(gapless_frames(film))
    np.testing.assert_allclose([frame.mean() for frame, _ in frames], 30 * np.array(shown), atol=3)
    assert [number for number, (_, there) in enumerate(frames) if not there] == sorted(lost)


def test_frames_are_scaled(film: Video) -> None:
    assert {frame.shape for frame, _ in gapless_frames(film, (16, 24))} == {(16, 24, 3)}


def test_a_video_without_a_frame_is_told(film: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    _lose(monkeypatch, set(range(8)))
    with pytest.raises(UserError, match=r"f\.mp4: none of its 8 frames can be decoded"):
        next(gapless_frames(film))
