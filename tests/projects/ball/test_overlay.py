"""The overlay has every frame, marked where the ball is, in its own colours."""

from pathlib import Path

import numpy as np
import pytest

from common.data.read import Video
from projects.ball.overlay import overlay_video


def _written(path: Path, frames: list[np.ndarray], balls: list[tuple[float, float] | None], **options: float) -> Video:
    with overlay_video(path, frames[0].shape[:2], options.pop("fps", 30.0), **options) as draw:  # type: ignore[arg-type]
        for frame, ball in zip(frames, balls, strict=True):
            draw(frame, ball)
    return Video(path)


def _near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Mean (x, y) of the pixels of about this colour, empty if there are none."""
    y, x = np.nonzero(np.abs(image.astype(int) - colour).max(axis=2) < 70)
    return np.array([x.mean(), y.mean()]) if x.size else np.empty(0)


def test_the_ring_is_in_its_own_frame_and_the_tail_behind_it(tmp_path: Path) -> None:
    black = [np.zeros((160, 240, 3), np.uint8) for _ in range(8)]
    balls = [(30.0 + 24 * n, 80.0 - 5 * n) if n != 4 else None for n in range(8)]
    video = _written(tmp_path / "o.mp4", black, balls, tail=2)
    assert len(video) == 8
    for number, (frame, ball) in enumerate(zip(video.stream(), balls, strict=True)):
        ring = _near(frame, (255, 235, 60))
        if ball is None:
            assert ring.size == 0
            continue
        np.testing.assert_allclose(ring, ball, atol=1)  # colour has half the resolution
        for age in range(1, 4):
            past = balls[number - age] if number >= age else None
            if past is not None:
                x, y = round(past[0]), round(past[1])
                assert (frame[y - 1 : y + 2, x - 1 : x + 2].max() > 60) == (age <= 2)
    assert all(not frame.any() for frame in black), "the caller's frame is not drawn into"


@pytest.mark.parametrize(("size_hw", "even_hw"), [((64, 96), (64, 96)), ((65, 97), (64, 96))])
def test_odd_sizes_lose_a_line(tmp_path: Path, size_hw: tuple[int, int], even_hw: tuple[int, int]) -> None:
    video = _written(tmp_path / "o.mp4", [np.zeros((*size_hw, 3), np.uint8)], [None])
    assert video.size_hw == even_hw


@pytest.mark.parametrize(("fps", "expected"), [(25.0, 25), (30000 / 1001, 30000 / 1001), (120.0, 120), (0.0, 25)])
def test_the_frame_rate_is_kept(tmp_path: Path, fps: float, expected: float) -> None:
    frames = [np.zeros((32, 32, 3), np.uint8)] * 5
    assert _written(tmp_path / "o.mp4", frames, [None] * 5, fps=fps).fps == pytest.approx(expected, rel=1e-6)


def test_colours_survive(tmp_path: Path) -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:, :32], frame[:, 32:64], frame[:, 64:] = (200, 30, 40), (30, 190, 50), (240, 240, 250)
    read = next(_written(tmp_path / "o.mp4", [frame], [None]).stream())
    for column in (16, 48, 80):
        np.testing.assert_allclose(read[32, column].astype(int), frame[32, column], atol=5)
