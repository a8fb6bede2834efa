"""Folder -> clips: videos, their labels, and what is wrong with either.

Where the folder holds `train.csv`, `val.csv` or `test.csv` with a column `video`, these lists give the splits, and only
what they name is read; see `common.data.filelists`. Else a `test` folder and the settings give them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from common.data.filelists import find_lists, read_lists
from common.data.read import Video
from common.data.report import Problem
from common.errors import UserError
from projects.ball.labels import BallLabels, check, read_openttgames, read_tracknet

VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv"}
COLUMN = "video"
"""Header of the column of a list that holds paths of videos from the root."""

LAYOUTS = (
    "<root>/{training,test}/videos/<game>.mp4 with <root>/{training,test}/annotations/<game>/ball_markup.json "
    "(OpenTTGames), or <root>/<game>.mp4 with <root>/<game>.csv (TrackNet)"
)


@dataclass(frozen=True)
class Clip:
    """One video with its labels.

    Attributes:
        name: unique in the data set, such as "training/game_1".
        path: the video file.
        split: "train", "val" or "test".
        size_hw: of the video's frames.
        labels: points in the video's pixels; all of them inside the video.
    """

    name: str
    path: Path
    split: str
    size_hw: tuple[int, int]
    labels: BallLabels


def find_clips(
    root: Path,
    *,
    test_videos: Sequence[str] = (),
    val_videos: Sequence[str] = (),
    listings: Path | None = None,
    follow_links: bool = False,
) -> tuple[list[Clip], list[Problem]]:
    """Every annotated video under `root`, sorted by name, and every problem found.

    Args:
        root: a folder in one of `LAYOUTS`.
        test_videos: names of videos to test on, besides those in a `test` folder; not with lists.
        val_videos: names of videos to validate on; not with lists.
        listings: see `Video`.
        follow_links: whether lists may name links that lead out of `root`.

    Raises:
        UserError: no folder, no video, a name that no video has, or a list that is wrong.
    """
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}; expected {LAYOUTS}")
    found = _find_videos(root)
    listed = _find_listed(root, follow_links=follow_links)
    videos = found if listed is None else {name: path for name, (path, _) in listed.items()}
    if not videos:
        raise UserError(f"data.root: no video in {root}; expected {LAYOUTS}")
    if listed is not None and (test_videos or val_videos):
        raise UserError(
            f"data.test_videos and data.val_videos: found {[*test_videos, *val_videos]}, but the lists in {root} say "
            "which video is for what; give [] or remove the lists"
        )
    clips: list[Clip] = []
    problems = _without_video(root, {**found, **videos}) + ([] if listed is None else _unlisted(root, found, videos))
    for name, path in sorted(videos.items()):
        split = ("test" if name.startswith("test/") else "train") if listed is None else listed[name][1]
        clip, wrong = _read_clip(name, path, split, listings)
        clips += [clip] if clip else []
        problems += wrong
    return _assign(_assign(clips, test_videos, "test"), val_videos, "val"), problems


def _find_listed(root: Path, *, follow_links: bool) -> dict[str, tuple[Path, str]] | None:
    """Path and split of each listed video by its path from the root without suffix; None where there are no lists."""
    flat = {path.stem for path in _videos_in(root)}  # train.csv beside train.mp4 is the table of that video
    if not find_lists(root).keys() - flat:
        return None
    listed: dict[str, tuple[Path, str]] = {}
    for row in read_lists(root, [COLUMN], follow_links=follow_links):
        path = row.files[0]
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in listed:
            raise UserError(f"{row.origin}: {path} and {listed[name][0]} would have the same name; rename one")
        listed[name] = path, row.split
    return listed


def _unlisted(root: Path, found: Mapping[str, Path], listed: Mapping[str, Path]) -> list[Problem]:
    """Videos that no list names, in the known places and beside those that are listed."""
    beside = chain.from_iterable(map(_videos_in, {path.parent for path in listed.values()}))
    others = {*found.values(), *beside} - set(listed.values())
    return [Problem(root, "video in no list", path.relative_to(root).as_posix()) for path in others]


def _without_video(root: Path, videos: Mapping[str, Path]) -> list[Problem]:
    stems = {path.stem for path in videos.values()}
    return [
        Problem(
            path, "annotation without a video", f"expected {path.parents[1].parent / 'videos' / path.parent.name}.mp4"
        )
        for path in root.glob("*/annotations/*/ball_markup.json")
        if path.parent.name not in stems
    ]


def _find_videos(root: Path) -> dict[str, Path]:
    nested = {
        f"{split}/{path.stem}": path for split in ("training", "test") for path in _videos_in(root / split / "videos")
    }
    return nested or {path.stem: path for path in _videos_in(root)}


def _videos_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]


def _read_clip(name: str, path: Path, split: str, listings: Path | None) -> tuple[Clip | None, list[Problem]]:
    markup = path.parents[1] / "annotations" / path.stem / "ball_markup.json"
    table = path.with_suffix(".csv")
    if not markup.is_file() and not table.is_file():
        return None, [Problem(path, "video without annotation", f"expected {markup} or {table}")]
    try:
        video = Video(path, listings=listings)
        length, size_hw = len(video), video.size_hw
    except UserError as error:
        return None, [Problem(path, "video that cannot be read", str(error))]
    if markup.is_file():
        events = markup.with_name("events_markup.json")
        labels, source = read_openttgames(markup, events if events.is_file() else None), markup
    else:
        labels, source = read_tracknet(table, size_hw), table
    labels, problems = check(labels, path=source, video_length=length, video_size_hw=size_hw)
    return Clip(name, path, split, size_hw, labels), problems


def _assign(clips: list[Clip], names: Sequence[str], split: str) -> list[Clip]:
    """Moves the named clips to `split`; a name may leave out the folder."""
    unknown = [name for name in names if not any(_is(clip, name) for clip in clips)]
    if unknown:
        known = ", ".join(clip.name for clip in clips)
        raise UserError(f"data.{split}_videos: no annotated video named {unknown[0]!r}; there are {known}")
    return [replace(clip, split=split) if any(_is(clip, name) for name in names) else clip for clip in clips]


def _is(clip: Clip, name: str) -> bool:
    return name in {clip.name, clip.name.split("/")[-1], clip.path.name}
