"""Folder -> clips: videos, their labels, and what is wrong with either."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.data.read import Video
from common.data.report import Problem
from common.errors import UserError
from projects.ball.labels import BallLabels, check, read_openttgames, read_tracknet

VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv"}
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
    root: Path, *, test_videos: Sequence[str] = (), val_videos: Sequence[str] = (), listings: Path | None = None
) -> tuple[list[Clip], list[Problem]]:
    """Every annotated video under `root`, sorted by name, and every problem found.

    Args:
        root: a folder in one of `LAYOUTS`.
        test_videos: names of videos to test on, besides those in a `test` folder.
        val_videos: names of videos to validate on.
        listings: see `Video`.

    Raises:
        UserError: no folder, no video, or a name that no video has.
    """
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}; expected {LAYOUTS}")
    videos = _find_videos(root)
    if not videos:
        raise UserError(f"data.root: no video in {root}; expected {LAYOUTS}")
    clips: list[Clip] = []
    problems = [
        Problem(
            path, "annotation without a video", f"expected {path.parents[1].parent / 'videos' / path.parent.name}.mp4"
        )
        for path in root.glob("*/annotations/*/ball_markup.json")
        if not any(video.stem == path.parent.name for video in videos.values())
    ]
    for name, path in sorted(videos.items()):
        clip, found = _read_clip(name, path, listings)
        clips += [clip] if clip else []
        problems += found
    return _assign(_assign(clips, test_videos, "test"), val_videos, "val"), problems


def _find_videos(root: Path) -> dict[str, Path]:
    nested = {
        f"{split}/{path.stem}": path for split in ("training", "test") for path in _videos_in(root / split / "videos")
    }
    return nested or {path.stem: path for path in _videos_in(root)}


def _videos_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]


def _read_clip(name: str, path: Path, listings: Path | None) -> tuple[Clip | None, list[Problem]]:
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
    return Clip(name, path, "test" if name.startswith("test/") else "train", size_hw, labels), problems


def _assign(clips: list[Clip], names: Sequence[str], split: str) -> list[Clip]:
    """Moves the named clips to `split`; a name may leave out the folder."""
    unknown = [name for name in names if not any(_is(clip, name) for clip in clips)]
    if unknown:
        known = ", ".join(clip.name for clip in clips)
        raise UserError(f"data.{split}_videos: no annotated video named {unknown[0]!r}; there are {known}")
    return [replace(clip, split=split) if any(_is(clip, name) for name in names) else clip for clip in clips]


def _is(clip: Clip, name: str) -> bool:
    return name in {clip.name, clip.name.split("/")[-1], clip.path.name}
