"""Small files that declare great sizes."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from common.data.declared import declared_samples
from common.data.read import Video
from common.errors import UserError

MEASURE = """
import json, resource, sys
from pathlib import Path
from common.data.read import Video
from common.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
errors = []
for path in sys.argv[1:]:
    try:
        len(Video(Path(path)))
    except UserError as error:
        errors.append(str(error))
print(json.dumps([errors, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024]))
"""


def box(kind: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return (8 + len(body)).to_bytes(4, "big") + kind.encode() + body


def counts(kind: str, number: int) -> bytes:
    before = {"stsz": 8, "stz2": 8, "trun": 4}[kind]
    return box(kind, bytes(before), number.to_bytes(4, "big"), bytes(12))


def great_picture(path: Path, side: int, *, says: int) -> Path:
    """A video of one PNG of side x side zeros, in a container that says another side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer, rows = zlib.compressobj(1), bytes((side + 1) * 100)
    pixels = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = says, says, "gray"
        packet = av.Packet(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 30)
        packet.is_keyframe = True
        container.mux(packet)
    return path


def many_samples(path: Path, source: Path, number: int) -> Path:
    """A video whose header declares so many pictures of 100 bytes."""
    content = bytearray(source.read_bytes())
    for kind, place, value in (("stsz", 8, 100), ("stsz", 12, number), ("stsc", 16, number), ("stts", 12, number)):
        start = content.index(kind.encode()) + place
        content[start : start + 4] = value.to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_small_files_take_little_memory(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    source = write_video(tmp_path / "v.mp4", 20)
    paths = [
        many_samples(tmp_path / "many.mp4", source, 15_000_000),  # without the bound 1.1 GB
        great_picture(tmp_path / "lying.avi", 16_000, says=100),  # 500 MB
        great_picture(tmp_path / "honest.mov", 16_000, says=16_000),
    ]
    assert max(path.stat().st_size for path in paths) < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, check=True, timeout=120
    )
    errors, megabytes = json.loads(done.stdout)
    assert f"many.mp4: its header declares 15,000,000 samples in a file of {source.stat().st_size:,} bytes" in errors[0]
    for error, name in zip(errors[1:], ("lying.avi", "honest.mov"), strict=True):
        assert f"{name}: its pictures are declared as 16000x16000, expected at most 67,108,864 pixels" in error
        assert "scale it down" in error
    assert megabytes < 150


def test_a_great_picture_within_the_bound_is_read(tmp_path: Path) -> None:
    video = Video(great_picture(tmp_path / "v.mov", 8000, says=8000))
    assert (len(video), video.size_hw) == (1, (8000, 8000))
    assert video.read([0], (40, 40))[0].max() == 0


@pytest.mark.parametrize("kind", ["stsz", "stz2", "trun"])
def test_counts_are_found_wherever_they_are(kind: str, tmp_path: Path) -> None:
    inner = box("moov", box("mvhd", bytes(40)), box("trak", box("mdia", box("minf", box("stbl", counts(kind, 7))))))
    path = tmp_path / "v.mp4"
    for content, expected in (
        (box("ftyp", b"isom") + inner, 7),
        (inner + box("moof", box("traf", counts("trun", 5), counts("trun", 6))), 18),
        ((1).to_bytes(4, "big") + b"mdat" + (1016).to_bytes(8, "big") + bytes(1000) + inner, 7),  # a size of 64 bits
        (box("mdat", inner), 0),  # pictures that look like boxes
        (inner[:-8], 7),  # cut off
        (inner + b"\0\0\0\0mdat" + bytes(99), 7),  # a box to the end of the file
        (inner + b"\0\0\0\4free" + bytes(99), 7),  # a size that no box has
        (box("moov", inner, *[b""]), 7),
        (b"RIFF" + bytes(100), 0),
        (b"", 0),
    ):
        path.write_bytes(content)
        assert declared_samples(path) == expected
    deep = counts(kind, 7)
    for _ in range(5000):
        deep = box("moov", deep)
    path.write_bytes(deep)
    assert declared_samples(path) == 0  # and no recursion without end


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv"])
def test_a_file_that_names_other_files_is_no_video(name: str, tmp_path: Path, write_video: Callable[..., Path]) -> None:
    write_video(tmp_path / "other.mp4", 3)
    for content in (
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="not a readable video"):
            Video(tmp_path / name)


def test_too_long_a_video_is_refused(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.data import read

    video = Video(write_video(tmp_path / "v.mp4", 20))
    monkeypatch.setattr(read, "MOST_FRAMES", 19)
    with pytest.raises(UserError, match=r"v\.mp4: more than 19 frames; cut it into several videos"):
        len(video)
    monkeypatch.setattr(read, "MOST_FRAMES", 20)
    assert len(video) == 20
    assert np.isfinite(video.fps)
