"""Videos whose frames carry their own number."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

BITS = 10
HEIGHT, WIDTH = 96, 160


@cache
def draw_number(number: int) -> np.ndarray:
    """Ten columns, bright where the number's bit is set, over noise that makes compression work."""
    frame = np.random.default_rng(number).integers(0, 30, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            frame[8:-8, bit * 16 : bit * 16 + 16] += 200
    return frame


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    def read(frame: np.ndarray) -> int:
        columns = frame[frame.shape[0] // 4 : -frame.shape[0] // 4].reshape(-1, BITS, frame.shape[1] // BITS, 3)
        return sum(1 << bit for bit in range(BITS) if columns[:, bit].mean() > 110)

    return read


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Encodes each kind of video once."""
    made: dict[str, bytes] = {}

    def write(path: Path, frames: int = 60, **settings: Any) -> Path:
        kind = f"{path.suffix} {frames} {settings}"
        if kind not in made:
            made[kind] = encode(path, frames, **settings).read_bytes()
        path.write_bytes(made[kind])
        return path

    return write


def encode(
    path: Path,
    frames: int,
    *,
    codec: str = "libx264",
    start: int = 0,
    variable_rate: bool = False,
    rotation: int = 0,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Keyframes 12 apart, two B-frames where the codec has them, time stamps in 1/3000 s."""
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=30, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 12
        stream.time_base = stream.codec_context.time_base = Fraction(1, 3000)
        if codec != "libvpx-vp9":
            stream.max_b_frames = 2
        if rotation:
            stream.set_display_rotation(rotation)
        pts = start
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 3000)
            pts += 40 + 37 * (number % 5) if variable_rate else 100
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
