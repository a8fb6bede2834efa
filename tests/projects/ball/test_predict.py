"""Every row and every mark belongs to its own frame; memory is bounded; files are whole or absent."""

import signal
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.data.read import Video
from common.errors import UserError
from projects.ball.decode import Located
from projects.ball.predict import Predicted, find_videos, predict_video

SIZE_HW = (96, 192)
ABSENT = 7


class BrightSpot(nn.Module):
    """Says that the ball is the centroid of what is bright; keeps the place of it in every frame of each window."""

    def __init__(self, offsets: tuple[int, ...] = (-2, -1, 0, 1, 2)) -> None:
        super().__init__()
        self.offsets, self.size_hw, self.threshold = offsets, (48, 96), 0.5
        self.seen: list[list[float]] = []

    def locate(self, frames: Tensor) -> Located:
        assert frames.dtype == torch.float32
        assert frames.shape[1:] == (len(self.offsets), 3, *self.size_hw)
        assert not self.training
        light = (frames.mean(dim=2) - 100).clamp(min=0)
        total = light.sum(dim=(2, 3)).clamp(min=1)
        x = (light.sum(dim=2) * torch.arange(96)).sum(dim=2) / total
        y = (light.sum(dim=3) * torch.arange(48)).sum(dim=2) / total
        self.seen += x.tolist()
        target = self.offsets.index(0)
        points = torch.stack([x[:, target], y[:, target]], dim=1)
        return Located(points, frames[:, target].amax(dim=(1, 2, 3)) / 255)


def _ball(number: int) -> tuple[float, float]:
    """Centre of the 8 x 8 block in this frame."""
    return 19.5 + 8 * (number % 20), 31.5 + 8 * (number % 3)


def _film(path: Path, count: int = 19, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """A lossless video whose ball tells the frame's number; in frame 7 it is absent."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuv444p"
        for number in range(count):
            frame = np.zeros((*size_hw, 3), np.uint8)
            left, top = (int(value - 3.5) for value in _ball(number))
            frame[top : top + 8, left : left + 8] = 0 if number == ABSENT else 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _predict(module: Any, source: Path, output: Path, **options: Any) -> Predicted:
    defaults: dict[str, Any] = {"batch_size": 4, "device": torch.device("cpu"), "autocast": None, "progress": False}
    return predict_video(module, source, output=output, **defaults | options)


def _rows(path: Path) -> np.ndarray:
    assert path.read_text().splitlines()[0] == "frame,x,y,score"
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("count", [1, 2, 19])
def test_each_row_is_the_ball_of_its_frame_in_video_pixels(tmp_path: Path, batch_size: int, count: int) -> None:
    source = _film(tmp_path / "film.mp4", count)
    result = _predict(BrightSpot(), source, tmp_path / "out", batch_size=batch_size, overlay=False)
    rows = _rows(result.csv)
    assert (result.frames, result.overlay, result.undecodable) == (count, None, ())
    np.testing.assert_array_equal(rows[:, 0], np.arange(count))
    expected = np.array([(-1, -1) if number == ABSENT else _ball(number) for number in range(count)])
    np.testing.assert_allclose(rows[:, 1:3], expected, atol=0.02)
    np.testing.assert_allclose(rows[:, 3], [0 if number == ABSENT else 1 for number in range(count)], atol=0.01)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["film_ball.csv"]


@pytest.mark.parametrize("offsets", [(-2, -1, 0, 1, 2), (-8, -4, 0), (0, 1, 2), (-1, 0, 3), (0,)])
def test_windows_hold_their_offsets_and_repeat_the_ends(tmp_path: Path, offsets: tuple[int, ...]) -> None:
    module = BrightSpot(offsets)
    _predict(module, _film(tmp_path / "film.mp4", 7), tmp_path, overlay=False)
    wanted = [[_ball(min(max(number + offset, 0), 6))[0] for offset in offsets] for number in range(7)]
    np.testing.assert_allclose((np.array(module.seen) + 0.5) * 2 - 0.5, wanted, atol=0.02)


def test_the_overlay_marks_the_right_frame(tmp_path: Path) -> None:
    result = _predict(BrightSpot(), _film(tmp_path / "film.mp4"), tmp_path / "out")
    assert result.overlay is not None
    overlay = Video(result.overlay)
    assert (len(overlay), overlay.size_hw, overlay.fps) == (19, SIZE_HW, 30)
    for number, frame in enumerate(overlay.stream()):
        image = frame.astype(int)
        y, x = np.nonzero((image[..., 0] > 160) & (image[..., 1] > 150) & (image[..., 2] < 110))
        if number == ABSENT:
            assert x.size == 0
        else:
            np.testing.assert_allclose((x.mean(), y.mean()), _ball(number), atol=1)


def test_a_video_of_odd_size_keeps_its_coordinates(tmp_path: Path) -> None:
    source = _film(tmp_path / "film.mp4", 5, (95, 191))
    result = _predict(BrightSpot(), source, tmp_path / "out")
    assert result.overlay is not None
    assert Video(result.overlay).size_hw == (94, 190)
    np.testing.assert_allclose(
        _rows(result.csv)[:, 1:3], [_ball(number) for number in range(5)], atol=0.25
    )  # the scaler's own error


@pytest.mark.parametrize("overlay", [False, True])
def test_memory_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlay: bool) -> None:
    read, alive, most = Video.frames, 0, 0

    def freed() -> None:
        nonlocal alive
        alive -= 1

    def counted(self: Video, *args: Any) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal alive, most
        for number, frame in read(self, *args):
            alive += 1
            most = max(most, alive)
            weakref.finalize(frame, freed)
            yield number, frame
            del frame

    monkeypatch.setattr(Video, "frames", counted)
    _predict(BrightSpot(), _film(tmp_path / "film.mp4", 150), tmp_path, overlay=overlay)
    chunk, waiting, full = 4 + 4, 4, 4
    assert 0 < most <= chunk + waiting + overlay * full + 8  # 8: in the hands of the five generators


@pytest.mark.parametrize("end", ["error", "interrupt"])
def test_a_run_that_ends_early_leaves_nothing(tmp_path: Path, end: str) -> None:
    class Ends(BrightSpot):
        def locate(self, frames: Tensor) -> Located:
            if len(self.seen) >= 8 and end == "interrupt":
                signal.raise_signal(signal.SIGINT)
            elif len(self.seen) >= 8:
                raise RuntimeError("out of memory")
            return super().locate(frames)

    source = _film(tmp_path / "film.mp4", 60)
    with pytest.raises(KeyboardInterrupt if end == "interrupt" else RuntimeError):
        _predict(Ends(), source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_undecodable_frames_are_named_and_every_frame_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, lost = Video.frames, {0, 3, 4, 18}

    def damaged(self: Video, indices: Sequence[int], *args: Any) -> Iterator[tuple[int, np.ndarray]]:
        return ((number, frame) for number, frame in read(self, indices, *args) if number not in lost)

    monkeypatch.setattr(Video, "frames", damaged)
    result = _predict(BrightSpot(), _film(tmp_path / "film.mp4"), tmp_path / "out")
    monkeypatch.undo()
    assert result.undecodable == (0, 3, 4, 18)
    rows = _rows(result.csv)
    for number in range(19):
        expected = (-1, -1) if number in lost | {ABSENT} else _ball(number)
        np.testing.assert_allclose(rows[number, 1:3], expected, atol=0.02)
    assert rows[sorted(lost), 3].tolist() == [0] * 4
    assert result.overlay is not None
    assert len(Video(result.overlay)) == 19


def test_autocast_reaches_the_network(tmp_path: Path) -> None:
    class Product(BrightSpot):
        def locate(self, frames: Tensor) -> Located:
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
            return super().locate(frames)

    _predict(Product(), _film(tmp_path / "film.mp4", 3), tmp_path, autocast=torch.bfloat16, overlay=False)


def test_progress_shows_frames_per_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _predict(BrightSpot(), _film(tmp_path / "film.mp4"), tmp_path / "out", overlay=False, progress=True)
    shown = capsys.readouterr().out
    assert "film.mp4" in shown
    assert "19/19" in shown
    assert "frames/s" in shown


def test_wrong_sources_and_outputs_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"gone\.mp4"):
        _predict(BrightSpot(), tmp_path / "gone.mp4", tmp_path)
    with pytest.raises(UserError, match=r"text\.mp4"):
        _predict(BrightSpot(), tmp_path / "text.mp4", tmp_path)
    film = _film(tmp_path / "film.mp4", 2)
    with pytest.raises(UserError, match=r"text\.mp4: cannot write there"):
        _predict(BrightSpot(), film, tmp_path / "text.mp4")


def test_find_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "labels.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in find_videos(tmp_path)] == ["a.MOV", "b.mp4"]
    assert find_videos(tmp_path / "labels.csv") == [tmp_path / "labels.csv"]  # reading it will say what it is
    (tmp_path / "b.avi").touch()
    with pytest.raises(UserError, match="several videos are called b"):
        find_videos(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        find_videos(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"found an empty folder.*\.mp4"):
        find_videos(tmp_path / "empty")
