"""Rendered table-tennis rallies in the layout of OpenTTGames, with exact labels.

flight (physics) and camera -> scene, players, light -> render (frames) -> rally (labels) -> files, here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
from jaxtyping import UInt8
from rich.progress import track

from common.data.manifest import claim
from common.errors import UserError
from common.files import atomic_path, write_text
from common.pool import in_processes
from projects.ball.synthetic.rally import FPS, annotate, random_rally
from projects.ball.synthetic.render import Sight

FORMAT = 1  # to be raised by every change of the pixels or the labels
SPLITS = ("training", "test")  # a split's place is part of its games' seeds, so that no scene is in both
RALLIES: Mapping[str, int] = MappingProxyType({"training": 56, "test": 12})


def write_dataset(
    root: Path,
    *,
    rallies: Mapping[str, int] = RALLIES,
    size_hw: tuple[int, int] = (360, 640),
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> None:
    """Writes rallies as videos (H.264, 120 fps) with annotations, exactly as OpenTTGames lays them out.

    `<root>/<split>/videos/<game>.mp4`, `<root>/<split>/annotations/<game>/ball_markup.json` (0-based frame -> x, y in
    pixels of the video, pixel centres at integers; x = y = -1: labelled as absent; no key: not labelled) and
    `events_markup.json` beside it (frame -> bounce, net or empty_event). A game with `ball_markup.json` is complete and
    is not made again, so that a broken run goes on where it stopped. The same arguments give the same annotations and
    frames, whatever the number of workers.

    Args:
        root: folder to fill; made when missing.
        rallies: number of games per split, "training" and "test".
        size_hw: size of the frames, even numbers.
        seed: whole number >= 0.
        workers: processes that render.
        progress: whether to show a progress bar.

    Raises:
        UserError: `root` holds another data set, or an argument is out of range.
    """
    _check(rallies, size_hw, seed, workers)
    claim(root, {"format": FORMAT, "seed": seed, "size_hw": list(size_hw), "rallies": dict(rallies)}, SPLITS)
    missing = [game for game in _games(root, rallies, size_hw, seed) if not game.complete()]
    if missing:
        done = in_processes([game.write for game in missing], workers)
        for _ in track(done, "rendering rallies", total=len(missing), disable=not progress):
            pass


@dataclass(frozen=True)
class _Game:
    video: Path
    annotations: Path
    seed: tuple[int, int, int]
    size_hw: tuple[int, int]

    def complete(self) -> bool:
        events, ball = self.annotations / "events_markup.json", self.annotations / "ball_markup.json"
        return self.video.is_file() and events.is_file() and ball.is_file()

    def write(self) -> None:
        """Writes the video, then the events, then the ball, which says that the game is complete."""
        rally = random_rally(self.seed, self.size_hw)
        sights = list[Sight]()

        def frames() -> Iterator[UInt8[np.ndarray, "lines w"]]:
            for index in range(rally.length):
                frame, sight = rally.frame(index)
                sights.append(sight)
                yield frame

        (self.annotations / "ball_markup.json").unlink(missing_ok=True)
        with atomic_path(self.video) as path:
            _encode(path, frames(), self.size_hw)
        ball, events = annotate(rally, sights, np.random.default_rng([*self.seed, 1]))
        write_text(self.annotations / "events_markup.json", json.dumps(events))
        write_text(self.annotations / "ball_markup.json", json.dumps(ball))


def _check(rallies: Mapping[str, int], size_hw: tuple[int, int], seed: int, workers: int) -> None:
    for split, count in rallies.items():
        if split not in SPLITS or count < 0:
            raise UserError(
                f"rallies: found {split!r}: {count}; give a number >= 0 for {' and '.join(map(repr, SPLITS))}"
            )
    if any(side % 2 or side < 64 for side in size_hw):
        raise UserError(f"size_hw: found {size_hw}; H.264 in yuv420p needs even numbers; give two of at least 64")
    if seed < 0 or workers < 1:
        raise UserError(f"seed and workers: found {seed} and {workers}; give a seed >= 0 and at least 1 worker")


def _games(root: Path, rallies: Mapping[str, int], size_hw: tuple[int, int], seed: int) -> Iterable[_Game]:
    for split, count in rallies.items():
        for number in range(count):
            name = f"{'test' if split == 'test' else 'game'}_{number + 1:02}"
            video, annotations = root / split / "videos" / f"{name}.mp4", root / split / "annotations" / name
            yield _Game(video, annotations, (seed, SPLITS.index(split), number), size_hw)


def _encode(path: Path, frames: Iterable[UInt8[np.ndarray, "lines w"]], size_hw: tuple[int, int]) -> None:
    with av.open(path, "w") as container:
        options = {"crf": "18", "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=options)
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 24  # a jump to a frame decodes at most 24
        stream.codec_context.thread_count = 1  # the games are what runs in parallel
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p")))
        container.mux(stream.encode())
