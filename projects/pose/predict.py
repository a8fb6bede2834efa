"""Pictures, videos and streams -> people as COCO results, and the same with people drawn into them.

pictures -> letterbox -> batches -> network -> people in pixels of the picture -> keypoints.json, overlays
video    -> frames, of which a few wait at most -> the same -> <name>_pose.json and .mp4, in flat memory
stream   -> see `projects.pose.predict_stream`
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

from common.data.gapless import gapless_frames
from common.data.read import Video
from common.data.stream import prefetch, sliding
from common.errors import UserError
from common.files import atomic_path, write_csv
from common.film import Append, even_film
from common.signals import Stopped, request
from projects.pose.coco.results import IMAGES, KEYPOINTS, to_results
from projects.pose.finder import Finder, Frame, Options, Predicted, find_people, shown_progress, start
from projects.pose.inputs import find_files, is_stream
from projects.pose.overlay import draw_people, save_overlay
from projects.pose.people import People, nobody
from projects.pose.pictures import image_ids, read_picture
from projects.pose.predict_stream import predict_stream


def predict(module: Finder, source: str, *, output: Path, options: Options) -> None:
    """Finds the people in whatever `source` is, and prints what was written.

    Args:
        module: is moved to the device and put in inference mode.
        source: a picture, a video, a folder of both, or a stream, see `is_stream`.
        output: folder of the results, made if need be.
        options: see there.

    Raises:
        UserError: there is nothing to look at, or, when the rest is done, some files cannot be read.
        Stopped: by a signal; of a stream, what came before is written.
    """
    if is_stream(source):
        _say(predict_stream(module, source, output=output, options=options))
        if request.reason is not None:
            raise Stopped(request.reason)
        return
    pictures, videos = find_files(Path(source))
    files = [*videos, *pictures]
    if output.resolve() == files[0].parent.resolve():
        raise UserError(f"{output}: holds what is to be looked at, and results might replace it; give another --output")
    lost = 0
    for video in videos:
        try:
            _say(predict_video(module, video, output=output, options=options))
        except UserError as error:
            if len(files) == 1:
                raise
            print(f"left out: {error}", flush=True)
            lost += 1
    if pictures:
        done = predict_pictures(module, pictures, output=output, options=options)
        _say(done)
        lost += len(done.damaged)
    if lost:
        raise UserError(f"{source}: {lost} of {len(files)} files cannot be read, as said above; the others are done")


def predict_pictures(module: Finder, pictures: Sequence[Path], *, output: Path, options: Options) -> Predicted:
    """Finds the people in pictures of any size and writes `keypoints.json` and `images.csv`.

    The former are COCO results of all pictures; places are in pixels of the picture as viewers show it, upright. The
    latter has a row `file,image_id,height,width` for each picture that could be read; ids are `image_ids`. With
    overlays, `<name>_pose.jpg` of a JPEG, `<name>_pose.png` of any other.

    Both tables appear when they are complete; after an error or an interrupt neither does. What cannot be read is
    left out and told.

    Raises:
        UserError: not one of the pictures can be read, or `output` cannot be written to.
    """
    started, people, rows = perf_counter(), 0, list[tuple[str, ...]]()
    ids, damaged = dict(zip(pictures, image_ids(pictures), strict=True)), list[str]()
    start(module, output, options)
    with (
        _results(output / KEYPOINTS) as write,
        shown_progress("pictures", len(pictures), options, unit="pictures") as advance,
        closing(prefetch(_readable(pictures, damaged, advance), 2)) as read,
    ):
        for some in sliding(read, options.batch_size, 0):
            found = find_people(module, [image for _, image in some], options)
            for (path, image), those in zip(some, found, strict=True):
                write(to_results(those, ids[path], module.skeleton))
                if options.overlay:
                    save_overlay(output, path, draw_people(image, those, module.skeleton))
                rows.append((_name(path), str(ids[path]), *map(str, image.shape[:2])))
                people += len(those.score)
                advance()
        if not rows:
            raise UserError("\n".join(damaged))
    write_csv(output / IMAGES, ("file", "image_id", "height", "width"), rows)
    seconds, overlay = perf_counter() - started, output if options.overlay else None
    return Predicted(output / KEYPOINTS, overlay, len(rows), people, seconds, damaged=tuple(damaged))


def predict_video(module: Finder, source: Path, *, output: Path, options: Options) -> Predicted:
    """Finds the people in every frame of a video and writes `<name>_pose.json` and `<name>_pose.mp4`.

    The former are COCO results, whose `image_id` is the number of the frame from 0, in pixels of the video. In a frame
    that cannot be decoded nobody is found; the overlay shows the one before it. Memory does not grow with the video.
    Both files appear when they are complete; after an error or an interrupt neither does.

    Raises:
        UserError: `source` is missing or not a video, or `output` cannot be written to.
    """
    started, people, undecodable = perf_counter(), 0, 0
    video = Video(source)
    start(module, output, options)
    results, film = (output / f"{source.stem}_pose{suffix}" for suffix in (".json", ".mp4"))
    with (
        _results(results) as write,
        _film(film, video) if options.overlay else nullcontext() as append,
        closing(prefetch(_found(module, video, options), 1)) as batches,
        shown_progress(source.name, len(video), options) as advance,
    ):
        for number, (frame, those, decoded) in enumerate(chain.from_iterable(batches)):
            write(to_results(those, number, module.skeleton))
            if append is not None:
                append(draw_people(frame, those, module.skeleton))
            people, undecodable = people + len(those.score), undecodable + (not decoded)
            advance()
    overlay = film if options.overlay else None
    return Predicted(results, overlay, len(video), people, perf_counter() - started, undecodable)


def _found(module: Finder, video: Video, options: Options) -> Iterator[list[tuple[Frame, People, bool]]]:
    """Every frame with its people, and whether it could be decoded, in lists of at most `batch_size`."""
    none = nobody(len(module.skeleton.joints))
    with closing(prefetch(gapless_frames(video), options.batch_size)) as frames:
        for some in sliding(frames, options.batch_size, 0):
            found = find_people(module, [frame for frame, _ in some], options)
            yield [
                (frame, people if decoded else none, decoded)
                for (frame, decoded), people in zip(some, found, strict=True)
            ]


def _readable(
    pictures: Sequence[Path], damaged: list[str], advance: Callable[[], None]
) -> Iterator[tuple[Path, Frame]]:
    """The pictures that can be read; why the others cannot goes to `damaged`."""
    for path in pictures:
        try:
            yield path, read_picture(path)
        except UserError as error:
            damaged.append(str(error))
            advance()


@contextmanager
def _results(path: Path) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Yields a function that appends COCO results to the list in a file: few of a long video's are ever in memory."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "["

        def write(results: list[dict[str, Any]]) -> None:
            nonlocal separator
            for result in results:
                file.write(f"{separator}\n{json.dumps(result, allow_nan=False)}")
                separator = ","

        yield write
        file.write("\n]\n" if separator == "," else "[]\n")


@contextmanager
def _film(path: Path, video: Video) -> Iterator[Append]:
    with atomic_path(path) as temporary, even_film(temporary, video.size_hw, video.fps) as append:
        yield append


def _name(path: Path) -> str:
    return path.name.encode("utf-8", "backslashreplace").decode()  # a file's name may be no text


def _say(done: Predicted) -> None:
    for reason in done.damaged:
        print(f"left out: {reason}")
    if not done.frames:
        return
    rate, lost = done.frames / done.seconds, f", {done.undecodable} could not be decoded" if done.undecodable else ""
    what = "pictures" if done.results.name == KEYPOINTS else "frames"
    print(f"{done.results}: {done.people} people in {done.frames} {what}, {rate:.1f} {what}/s{lost}", flush=True)
    if done.overlay:
        print(done.overlay, flush=True)
