"""Files and streams are told apart, numbered, and streams read as they come."""

import os
import threading
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from common.errors import UserError
from common.film import timed_film
from projects.pose.inputs import Arrived, Stream, find_files, is_stream


def _film(path: Path, frames: int = 12, **options: str) -> Path:
    with timed_film(path, (64, 96), 25.0) as append:
        for number in range(frames):
            append(np.full((64, 96, 3), 4 * number, np.uint8), 7.0 + number * (0.04 if number < 6 else 0.1))
    return path


def piped(content: bytes) -> str:
    """The address of a pipe into which a thread writes."""
    receiver, sender = os.pipe()

    def send() -> None:
        with open(sender, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)

    threading.Thread(target=send, daemon=True).start()
    return f"pipe:{receiver}"


def test_a_folders_pictures_and_videos_are_sorted_and_nothing_below_counts(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "film.MOV", "notes.txt", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.jpg").touch()
    pictures, videos = find_files(tmp_path)
    assert [path.name for path in pictures] == ["a.PNG", "b.jpg"]
    assert [path.name for path in videos] == ["b.mp4", "film.MOV"]
    assert find_files(tmp_path / "b.jpg") == ([tmp_path / "b.jpg"], [])
    assert find_files(tmp_path / "notes.txt") == ([], [tmp_path / "notes.txt"])  # reading it will say what it is
    (tmp_path / "b.png").touch()
    with pytest.raises(UserError, match=r"several pictures are called b.*b\.jpg and b\.png"):
        find_files(tmp_path)


def test_what_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "a.mp4").touch()
    for source in ("-", "rtsp://camera/1", "udp://@:5000", "HTTPS://host/x.m3u8", "pipe:3", "/dev/null"):
        assert is_stream(source), source
    assert is_stream(str(tmp_path / "pipe.mp4"))
    for source in ("a.mp4", "C:/a.mp4", "", ".", "pipe:", "folder:x", str(tmp_path / "a.mp4")):
        assert not is_stream(source), source


def test_frames_come_with_their_number_and_time_from_the_first(tmp_path: Path) -> None:
    stream = Stream(piped(_film(tmp_path / "f.mkv").read_bytes()))
    frames = list(stream.frames())
    assert (stream.fps, stream.lost, len(frames)) == (25, 0, 12)
    assert [frame.number for frame in frames] == list(range(12))
    assert frames[1].seconds == pytest.approx(0.04)
    assert [frame.seconds for frame in frames] == pytest.approx(
        [number * 0.04 if number < 6 else number * 0.1 for number in range(12)]
    )
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 4 * np.arange(12), atol=2)


def test_a_stream_without_time_stamps_has_those_of_arrival() -> None:
    frames: list[Arrived] = []
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 96, 64, "yuv420p", 25  # type: ignore[assignment]
    encoder.options = {"preset": "ultrafast"}
    raw = b"".join(
        bytes(packet)
        for picture in [*(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8)) for _ in range(5)), None]
        for packet in encoder.encode(picture)
    )
    frames = list(Stream(piped(raw)).frames())
    assert len(frames) == 5
    assert frames[0].seconds == 0
    assert all(a.seconds <= b.seconds for a, b in pairwise(frames))


def test_a_stream_that_is_cut_or_damaged_gives_what_can_be_decoded(tmp_path: Path) -> None:
    content = _film(tmp_path / "f.mkv", 60).read_bytes()
    cut = list(Stream(piped(content[: 2 * len(content) // 3])).frames())
    assert 20 < len(cut) < 60
    spoilt = bytearray(content)
    for at in np.random.default_rng(0).integers(len(content) // 3, len(content), 40):
        spoilt[at] ^= 0xFF
    stream = Stream(piped(bytes(spoilt)))
    frames = list(stream.frames())
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert 10 < len(frames) < 60


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100, b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_video_is_told(content: bytes) -> None:
    with pytest.raises(UserError, match=r"pipe:.*no readable video"):
        next(Stream(piped(content)).frames())


def test_an_address_reads_no_file_of_this_machine_and_tells_no_password(tmp_path: Path) -> None:
    _film(tmp_path / "f.mkv")
    with pytest.raises(UserError, match="no readable video"):
        next(Stream(f"file://{tmp_path / 'f.mkv'}").frames())
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:1: no readable video \(Connection refused\)") as refused:
        next(Stream("tcp://me:secret@127.0.0.1:1").frames())
    assert "secret" not in str(refused.value)
