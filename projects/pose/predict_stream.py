"""Stream of unknown length -> a line of people per frame, and a video with them drawn, whole whenever it ends.

stream, read in a thread -> what has come meanwhile -> network -> stream_pose.jsonl and stream_pose.mkv
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, count
from pathlib import Path
from time import perf_counter

from common.data.stream import arriving
from common.errors import UserError
from common.film import timed_film
from common.signals import Stopped, request
from projects.pose.coco.results import to_results
from projects.pose.finder import Finder, Options, Predicted, find_people, shown_progress, start
from projects.pose.inputs import Arrived, Stream
from projects.pose.overlay import draw_people
from projects.pose.people import People

Write = Callable[[Arrived, People], None]


def predict_stream(module: Finder, source: str, *, output: Path, options: Options) -> Predicted:
    """Finds the people in a stream until it ends or a signal comes; writes `stream_pose.jsonl` and `stream_pose.mkv`.

    The former has a line per frame, `{"frame": 0, "seconds": 0.0, "people": [...]}`: its number, its time from the
    first one, and COCO results with the number as `image_id`. Each line is handed to the system before the next frame
    is drawn, so that whatever ends the process, all but perhaps the last are whole; of the video, all but about the
    last second. Files that are there stay: the next ones are called `stream_pose_2`.

    The network sees at once what has come while it was busy, up to `batch_size` frames. After a signal, what it sees is
    finished and `common.signals.request` says so.

    Raises:
        UserError: nothing is sent, no frame of it can be decoded, or `output` cannot be written to.
    """
    started, people, frames, stream = perf_counter(), 0, 0, Stream(source)
    start(module, output, options)
    results, film = _unused(output)
    with (
        _signals_wait(),
        ExitStack() as files,
        closing(arriving(stream.frames(), options.batch_size, skip_late=options.skip_late)) as batches,
        shown_progress(stream.name, None, options) as advance,
    ):
        write = None
        while some := _next(batches):
            found = find_people(module, [one.image for one in some], options)
            write = write or files.enter_context(_files(results, film if options.overlay else None, module, stream))
            for one, those in zip(some, found, strict=True):
                write(one, those)
                people, frames = people + len(those.score), frames + 1
                advance()
    if not frames and not request.asked():
        raise UserError(f"{stream.name}: none of {stream.lost} frames can be decoded; is the video whole?")
    overlay = film if options.overlay else None
    return Predicted(results, overlay, frames, people, perf_counter() - started, stream.lost)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals are heard between frames only, and those of before no more."""
    request.reason, request.in_loop = None, True
    try:
        yield
    finally:
        request.in_loop = False


def _next(batches: Iterator[list[Arrived]]) -> list[Arrived]:
    """The next frames; none at the end, or after a signal, which ends the wait for them."""
    if request.asked():
        return []
    request.in_loop = False
    try:
        return next(batches, [])
    except Stopped:
        return []
    finally:
        request.in_loop = True


@contextmanager
def _files(results: Path, film: Path | None, module: Finder, stream: Stream) -> Iterator[Write]:
    """Yields a function that writes what was found in a frame."""
    with ExitStack() as files:
        lines = files.enter_context(results.open("xb"))
        append = None

        def write(frame: Arrived, people: People) -> None:
            nonlocal append
            said = to_results(people, frame.number, module.skeleton)
            line = {"frame": frame.number, "seconds": round(frame.seconds, 6), "people": said}
            lines.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            lines.flush()
            if film is not None:
                size_hw = (frame.image.shape[0], frame.image.shape[1])
                append = append or files.enter_context(timed_film(film, size_hw, stream.fps))
                append(draw_people(frame.image, people, module.skeleton), frame.seconds)

        yield write


def _unused(output: Path) -> tuple[Path, Path]:
    """Names for the lines and the video that no file has."""
    stems = chain(["stream_pose"], (f"stream_pose_{number}" for number in count(2)))
    files = ((output / f"{stem}.jsonl", output / f"{stem}.mkv") for stem in stems)
    return next((lines, film) for lines, film in files if not lines.exists() and not film.exists())
