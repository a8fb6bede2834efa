import json
import shutil
from pathlib import Path

import pytest

from common.data.report import report
from common.errors import UserError
from projects.ball.clips import find_clips


@pytest.fixture
def copy(rallies: Path, tmp_path: Path) -> Path:
    """The rallies, to be damaged."""
    return Path(shutil.copytree(rallies, tmp_path / "copy"))


def test_the_openttgames_layout_is_read(rallies: Path) -> None:
    clips, problems = find_clips(rallies)
    assert [clip.split for clip in clips] == ["test"] + ["train"] * 4
    assert not problems
    for clip in clips:
        markup = json.loads((clip.path.parents[1] / "annotations" / clip.path.stem / "ball_markup.json").read_text())
        assert clip.labels.frames.tolist() == sorted(map(int, markup))
        assert clip.labels.visible.sum() == sum(place["x"] >= 0 for place in markup.values())


def test_every_problem_is_named_and_counted(copy: Path) -> None:
    annotations = copy / "training" / "annotations"
    first, second, third = sorted(path.name for path in annotations.iterdir())[:3]
    shutil.rmtree(annotations / first)
    (copy / "training" / "videos" / f"{second}.mp4").unlink()
    markup = annotations / third / "ball_markup.json"
    markup.write_text(
        json.dumps(json.loads(markup.read_text()) | {"90000": {"x": 5, "y": 5}, "1": {"x": 9999, "y": 5}})
    )
    clips, problems = find_clips(copy)
    assert len(clips) == 3
    text = report(problems)
    assert text.count("left out: 1 x") == 4
    for part in (f"{first}.mp4", f"{second}.mp4", "90000", "9999"):
        assert part in text


def test_a_video_that_is_none_is_named(copy: Path) -> None:
    path = sorted((copy / "training" / "videos").iterdir())[0]
    path.write_bytes(b"not a video")
    clips, problems = find_clips(copy)
    assert len(clips) == 4
    assert [problem.kind for problem in problems] == ["video that cannot be read"]
    assert problems[0].path == path


def test_a_flat_folder_with_csv_files_is_read(real_data: Path) -> None:
    clips, problems = find_clips(real_data / "ball" / "badminton", test_videos=["train_00039"])
    assert {clip.name: clip.split for clip in clips} == {
        "train_00002": "train", "train_00014": "train", "train_00029": "train", "train_00039": "test",
    }  # fmt: skip
    assert sum(len(clip.labels.frames) for clip in clips) + len(problems) == 551
    assert all(clip.size_hw == (720, 1280) for clip in clips)


def test_mistakes_are_named(rallies: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*absent; expected <root>/"):
        find_clips(tmp_path / "absent")
    with pytest.raises(UserError, match="no video in"):
        find_clips(tmp_path)
    with pytest.raises(UserError, match=r"data.val_videos: no annotated video named 'game_77'; there are test/"):
        find_clips(rallies, val_videos=["game_77"])
