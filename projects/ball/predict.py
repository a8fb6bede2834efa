"""Video of any length -> table of ball positions and overlay video, in flat memory.

    frames at network size -> windows, one per frame -> batches -> network -> frame,x,y,score
    frames at full size    -> ring and tail -> H.264

Each line decodes the video for itself: the network then sees the same pixels as in training, which are scaled from the
decoder's picture and not from RGB, and a full frame never waits in memory for its batch. It costs no time: scaling an
RGB frame takes as long as decoding it.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from common.data.gapless import gapless_frames
from common.data.inputs import VIDEOS, find_inputs, require_own_names
from common.data.progress import progress_bar
from common.data.read import Video
from common.data.stream import padded, prefetch, sliding
from common.figures import Point
from common.files import atomic_path, require_writable
from common.shapes import Windows
from projects.ball.decode import Located
from projects.ball.overlay import overlay_video


@runtime_checkable
class Finder(Protocol):
    """The part of the ball module that prediction needs.

    Attributes:
        offsets: frames of the window, relative to the one in which the ball is found.
        size_hw: (height, width) of the input.
        threshold: least score of a ball.
    """

    offsets: tuple[int, ...]
    size_hw: tuple[int, int]
    threshold: float

    def to(self, device: torch.device, /) -> object: ...  # noqa: D102
    def eval(self) -> object: ...  # noqa: D102
    def locate(self, frames: Windows, /) -> Located:
        """Finds the ball in frames of 0..255."""


@dataclass(frozen=True)
class Predicted:
    """Result for one video.

    Attributes:
        csv: table `frame,x,y,score`.
        overlay: video with marks; None if it was not asked for.
        frames: number of frames, as many as rows and as frames of the overlay.
        seconds: time taken.
        undecodable: numbers of the frames that the file holds but that cannot be decoded.
    """

    csv: Path
    overlay: Path | None
    frames: int
    seconds: float
    undecodable: tuple[int, ...]


class Ball(NamedTuple):
    """What is said of one frame: the ball in pixels of the video, None where there is none, and its score."""

    xy: Point | None
    score: float
    decoded: bool


def find_videos(source: Path) -> list[Path]:
    """`source` itself if it is a file, else the videos in the folder, known by their suffix, sorted by name.

    Raises:
        UserError: when there is no such file, no video in the folder, or two whose results would have the same name.
    """
    videos = find_inputs(source, VIDEOS, what="video")
    require_own_names(videos, what="video")
    return videos


def predict_video(
    module: Finder,
    source: Path,
    *,
    output: Path,
    batch_size: int,
    device: torch.device,
    autocast: torch.dtype | None,
    overlay: bool = True,
    progress: bool = True,
) -> Predicted:
    """Finds the ball in every frame of one video and writes `<name>_ball.csv` and `<name>_ball.mp4`.

    The table has one row per frame: its number from 0, x and y in pixels of the video and the score. Where the score
    is below the module's threshold, x = y = -1. At the start and the end of the video, frames of the window that lie
    outside repeat the first or the last one. A frame that cannot be decoded repeats the one before it in windows and
    overlay, and its row says -1, -1 and score 0.

    Memory does not grow with the video. Both files appear when they are complete; after an error or an interrupt
    neither does.

    Args:
        module: is moved to `device` and put in inference mode.
        source: video file, see `find_videos` for folders.
        output: folder of the results, made if need be.
        batch_size: windows per call of the network.
        device: where the network runs.
        autocast: lower precision for the network; None for its own.
        overlay: whether to write the video with marks.
        progress: whether to show a bar with frames per second.

    Raises:
        UserError: when `source` is missing or not a video, or `output` cannot be written to.
    """
    started = perf_counter()
    video = Video(source)
    require_writable(output)
    table, marked = (output / f"{source.stem}_ball{suffix}" for suffix in (".csv", ".mp4"))
    module.to(device)
    module.eval()
    undecodable = []
    with (
        atomic_path(table) as temporary,
        temporary.open("w", encoding="utf-8") as rows,
        _overlay(marked, video) if overlay else nullcontext(lambda _: None) as draw,
        closing(prefetch(find_balls(module, video, batch_size, device=device, autocast=autocast), 2)) as batches,
        _progress(source.name, len(video), shown=progress) as advance,
    ):
        rows.write("frame,x,y,score\n")
        for number, ball in enumerate(chain.from_iterable(batches)):
            rows.write(_row(number, ball))
            draw(ball.xy)
            advance()
            undecodable += [] if ball.decoded else [number]
    return Predicted(table, marked if overlay else None, len(video), perf_counter() - started, tuple(undecodable))


def find_balls(
    module: Finder, video: Video, batch_size: int, *, device: torch.device, autocast: torch.dtype | None
) -> Iterator[list[Ball]]:
    """One `Ball` per frame of the video, in order and in lists of at most `batch_size`."""
    before, after = max(-min(module.offsets), 0), max(*module.offsets, 0)
    places = torch.tensor(module.offsets, device=device) + before
    scale_xy = np.divide(video.size_hw, module.size_hw)[::-1]
    with closing(prefetch(gapless_frames(video, module.size_hw), batch_size)) as frames:
        for chunk in sliding(padded(frames, before, after), batch_size, before + after):
            stacked = torch.from_numpy(np.stack([frame for frame, _ in chunk])).to(device)
            images = stacked.permute(0, 3, 1, 2).contiguous().float()  # planes lie ready for what follows: 1/5 faster
            targets = chunk[before : len(chunk) - after]
            windows = images[torch.arange(len(targets), device=device)[:, None] + places]
            with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
                found = module.locate(windows)
            points = (found.points_xy.double().cpu().numpy() + 0.5) * scale_xy - 0.5
            yield [
                Ball((x, y) if decoded and score >= module.threshold else None, score if decoded else 0.0, decoded)
                for (_, decoded), (x, y), score in zip(targets, points.tolist(), found.scores.tolist(), strict=True)
            ]


@contextmanager
def _overlay(path: Path, video: Video) -> Iterator[Callable[[Point | None], None]]:
    """Yields a function that marks the ball in the next frame and appends it to the video at `path`."""
    with (
        atomic_path(path) as temporary,
        overlay_video(temporary, video.size_hw, video.fps) as draw,
        closing(prefetch(gapless_frames(video), 4)) as frames,
    ):
        yield lambda ball: draw(next(frames)[0], ball)


def _row(number: int, ball: Ball) -> str:
    place = "-1,-1" if ball.xy is None else "{:.2f},{:.2f}".format(*ball.xy)
    return f"{number},{place},{ball.score:.4f}\n"


@contextmanager
def _progress(name: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    with progress_bar(shown, "frames") as bar:
        task = bar.add_task(name, total=total)
        yield lambda: bar.advance(task)
