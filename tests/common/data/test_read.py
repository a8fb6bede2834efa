"""A frame number means the same picture however it is reached."""

import os
import pickle
import random
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from common.data.read import Video
from common.errors import UserError

Write = Callable[..., Path]
Number = Callable[[np.ndarray], int]

OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
KINDS = {
    "late.mp4": {"start": 700},
    "early.mp4": {"start": -500, "container_options": {"avoid_negative_ts": "disabled"}},  # an edit cuts five frames
    "open.mp4": {"options": OPEN_GROUPS},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "variable.mp4": {"variable_rate": True},
    "plain.mkv": {},
    "plain.avi": {},
    "plain.ts": {},
    "mpeg4.avi": {"codec": "mpeg4"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_reads_exactly_the_frame_asked_for(kind: str, tmp_path: Path, write_video: Write, read_number: Number) -> None:
    video = Video(write_video(tmp_path / kind, **KINDS[kind]))
    cut = 5 if kind == "early.mp4" else 0
    streamed = list(video.stream())
    assert [read_number(frame) for frame in streamed] == list(range(cut, 60))
    assert len(video) == 60 - cut
    rng = np.random.default_rng(0)
    for _ in range(6):
        indices = rng.choice(len(video), size=rng.integers(1, 8), replace=False).tolist()
        frames = video.read(indices)
        assert sorted(frames) == sorted(indices)
        assert all(np.array_equal(frames[index], streamed[index]) for index in indices)


def test_real_clip_reads_like_a_full_decode(real_data: Path) -> None:
    path = real_data / "ball" / "badminton" / "train_00039.mp4"
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    video = Video(path)
    assert (len(video), video.size_hw, video.fps) == (len(decoded), (720, 1280), 30)
    flags = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    for indices in ([90, 3, 64, 65, 40], [89], [0, 12]):
        for index, frame in video.read(indices, (144, 256)).items():
            expected = decoded[index].reformat(256, 144, "rgb24", interpolation=flags).to_ndarray()
            np.testing.assert_array_equal(frame, expected)


def test_each_frame_is_decoded_once(tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from common.data import read

    video = Video(write_video(tmp_path / "v.mp4"))
    fed: list[int | None] = []
    decode = read._decode
    monkeypatch.setattr(read, "_decode", lambda packet: (fed.append(packet.pts), decode(packet))[1])
    video.read([2, 3, 4, 13, 50, 51])
    assert len(fed) == len(set(fed))
    assert len(fed) < 45  # of 60: what lies between 13 and 50 is passed over by a seek


def test_absent_beyond_the_end_and_refused_before_the_start(tmp_path: Path, write_video: Write) -> None:
    video = Video(write_video(tmp_path / "v.mp4", 20))
    assert sorted(video.read([25, 19, 19, 20])) == [19]
    assert video.read([]) == {}
    assert [len(list(video.stream(start=start, stop=stop))) for start, stop in ((5, 9), (15, 99), (30, None))] == [
        4,
        5,
        0,
    ]
    with pytest.raises(IndexError, match=r"frame -1 of .*numbers start at 0"):
        video.read([-1])


def test_resizes_about_pixel_centres_without_aliasing(tmp_path: Path) -> None:
    path, (height, width) = tmp_path / "v.mp4", (180, 320)
    y, x = np.mgrid[:height, :width]
    blob = 200 * np.exp(-((x - 200.5) ** 2 + (y - 60.5) ** 2) / 2 / 6**2)
    stripes = np.where(x % 2, 255, 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for grey in (blob, stripes):
            image = np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    for size_hw in ((90, 160), (72, 128), (270, 480)):
        weights = Video(path).read([0], size_hw)[0][..., 1].astype(float)
        assert weights.shape == size_hw
        weights[weights < 4] = 0
        rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
        centre = [(weights * grid).sum() / weights.sum() for grid in (columns, rows)]
        expected = [(200.5 + 0.5) * size_hw[1] / width - 0.5, (60.5 + 0.5) * size_hw[0] / height - 0.5]
        np.testing.assert_allclose(centre, expected, atol=0.03)
    assert np.ptp(Video(path).read([1], (90, 160))[1][:, 2:-2].astype(int)) <= 4  # even grey, not a moire


@pytest.mark.parametrize(
    ("source_hw", "size_hw"),
    [((720, 1280), (288, 512)), ((360, 640), (160, 288)), ((1080, 1920), (288, 512)), ((720, 1280), (160, 288))],
)
def test_a_small_ball_keeps_its_sub_pixel_place(
    source_hw: tuple[int, int], size_hw: tuple[int, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    ratio = np.divide(source_hw, size_hw)[::-1]
    corners = np.stack(np.meshgrid(*(np.arange(50, side - 60, 100) for side in source_hw[::-1])), axis=-1).reshape(
        -1, 2
    )
    balls = corners + rng.uniform(0, 10, corners.shape)
    bells = [
        np.exp(-((np.arange(side)[:, None] - at) ** 2) / 2 / 1.5**2)
        for side, at in zip(source_hw[::-1], balls.T, strict=True)
    ]
    grey = (40 + 200 * bells[1] @ bells[0].T).round().astype(np.uint8)
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
        (stream.height, stream.width), stream.pix_fmt = source_hw, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), format="rgb24")))
        container.mux(stream.encode())
    brightness = Video(path).read([0], size_hw)[0][..., 1].astype(float) - 40
    brightness[abs(brightness) <= 1] = 0  # rounding
    reach_x, reach_y = np.ceil(20 / ratio).astype(int)
    for expected in (balls + 0.5) / ratio - 0.5:
        column, row = expected.round().astype(int)
        box = slice(row - reach_y, row + reach_y + 1), slice(column - reach_x, column + reach_x + 1)
        rows, columns = np.mgrid[box]
        centre = [(brightness[box] * grid).sum() / brightness[box].sum() for grid in (columns, rows)]
        np.testing.assert_allclose(centre, expected, atol=0.05)


def test_fine_stripes_become_grey_at_an_uneven_ratio(tmp_path: Path) -> None:
    path, (height, width) = tmp_path / "v.mp4", (180, 320)
    waves = 128 + 100 * np.sin(0.9 * np.pi * np.mgrid[:height, :width])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for wave in waves:
            image = np.repeat(wave[..., None], 3, axis=2).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    for frame in Video(path).read([0, 1], (72, 128)).values():
        assert frame[4:-4, 4:-4].std() < 0.1 * waves.std()


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_turns_the_picture_upright(rotation: int, tmp_path: Path, write_video: Write) -> None:
    plain = Video(write_video(tmp_path / "plain.mp4", 3)).read([2], (48, 80))[2]
    video = Video(write_video(tmp_path / "turned.mp4", 3, rotation=rotation))
    upright = np.rot90(plain, rotation // 90)
    assert video.size_hw == ((96, 160) if rotation == 180 else (160, 96))
    np.testing.assert_array_equal(video.read([2], upright.shape[:2])[2], upright)
    np.testing.assert_array_equal(list(video.stream(upright.shape[:2]))[2], upright)


@pytest.mark.parametrize("spoil", ["zero", "random", "flip"])
@pytest.mark.parametrize("rank", [0, 14, 40])
def test_damage_is_absent_never_invented(
    rank: int, spoil: str, tmp_path: Path, write_video: Write, read_number: Number
) -> None:
    path = write_video(tmp_path / "v.mp4")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][rank]
        start, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    if spoil == "flip":
        content[start + size // 2] ^= 0xFF
    else:
        content[start + 8 : start + size] = bytes(size - 8) if spoil == "zero" else random.Random(0).randbytes(size - 8)
    path.write_bytes(content)
    video = Video(path)
    frames = video.read(range(60))
    assert len(video) == 60
    assert all(read_number(frame) == index for index, frame in frames.items())
    assert set(range(45, 60)) <= frames.keys()
    assert spoil == "flip" or len(frames) < 60
    streamed = []
    if len(frames) < 60:
        with pytest.raises(UserError, match=r"v\.mp4: frame \d+ of 60 cannot be decoded"):
            streamed.extend(video.stream())
        first_lost = min(set(range(60)) - frames.keys())
        streamed = [frame for _, frame in zip(range(first_lost - 4), video.stream(), strict=False)]
    assert all(np.array_equal(frame, frames[index]) for index, frame in enumerate(streamed))


def test_a_truncated_file_has_the_frames_that_are_there(
    tmp_path: Path, write_video: Write, read_number: Number
) -> None:
    whole = write_video(tmp_path / "whole.mp4", container_options={"movflags": "+faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    video = Video(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 60
    assert 10 < len(video) < 50
    assert [read_number(frame) for frame in video.stream()] == list(range(len(video)))
    assert sorted(video.read(range(60))) == list(range(len(video)))


def test_a_forked_video_leaves_its_parent_alone(tmp_path: Path, write_video: Write, read_number: Number) -> None:
    video = Video(write_video(tmp_path / "v.mp4"))
    video.read([0])
    child = os.fork()
    if child == 0:
        os._exit(0 if read_number(video.read([33])[33]) == 33 else 1)
    assert [read_number(video.read([index])[index]) for index in (50, 5, 25)] == [50, 5, 25]
    assert os.waitpid(child, 0)[1] == 0


def test_closes_and_opens_again(tmp_path: Path, write_video: Write, read_number: Number) -> None:
    video = Video(write_video(tmp_path / "v.mp4", 20))
    video.read([3])
    before = len(list(Path("/proc/self/fd").iterdir()))
    video.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1
    assert read_number(video.read([7])[7]) == 7
    copy = pickle.loads(pickle.dumps(video))
    assert len(copy) == 20
    np.testing.assert_array_equal(copy.read([7])[7], video.read([7])[7])


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.mp4: no such video file"):
        Video(tmp_path / "none.mp4")
    for name, content in (("text.mp4", b"hello"), ("empty.mp4", b""), ("notes.txt", b"hello\n" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: not a readable video|{name}: holds no video"):
            Video(tmp_path / name)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "none"))
        sound.writeframes(bytes(1600))
    with pytest.raises(UserError, match=r"sound\.wav: holds no video"):
        Video(tmp_path / "sound.wav")


def test_a_video_without_time_stamps_is_refused(tmp_path: Path, write_video: Write) -> None:
    video = Video(write_video(tmp_path / "raw.h264"))
    with pytest.raises(UserError, match=r"raw\.h264: its frames carry no time stamps.*ffmpeg -i"):
        len(video)
