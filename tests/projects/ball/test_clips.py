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


@pytest.fixture
def listed(copy: Path) -> Path:
    """The rallies, of which lists name three for training, one for validation, none for testing."""
    names = sorted(path.name for path in (copy / "training" / "videos").iterdir())
    for split, part in {"train": names[:2], "val": names[2:3], "test": []}.items():
        rows = "".join(f"training/videos/{name},made\n" for name in part)
        (copy / f"{split}.csv").write_text("video,note\n" + rows)
    return copy


def test_lists_give_the_splits(listed: Path) -> None:
    clips, problems = find_clips(listed)
    assert [clip.split for clip in clips] == ["train", "train", "val"]
    assert all(clip.name.startswith("training/videos/") and (listed / f"{clip.name}.mp4").is_file() for clip in clips)
    assert {(problem.path, problem.kind) for problem in problems} == {(listed, "video in no list")}
    assert "left out: 2 x video in no list" in report(problems)


def test_a_listed_video_may_lie_anywhere_below(real_data: Path, tmp_path: Path) -> None:
    for name in ("train_00039.mp4", "train_00039.csv", "train_00002.mp4"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        shutil.copy(real_data / "ball" / "badminton" / name, tmp_path / "clips" / name)
    (tmp_path / "test.csv").write_text("video\nclips/train_00039.mp4\n")
    clips, problems = find_clips(tmp_path)
    assert [(clip.name, clip.split) for clip in clips] == [("clips/train_00039", "test")]
    assert [(problem.kind, problem.detail) for problem in problems if "list" in problem.kind] == [
        ("video in no list", "clips/train_00002.mp4")
    ]


def test_the_table_of_a_video_called_train_is_no_list(real_data: Path, tmp_path: Path) -> None:
    for suffix in (".mp4", ".csv"):
        shutil.copy(real_data / "ball" / "badminton" / f"train_00039{suffix}", tmp_path / f"train{suffix}")
    clips, _ = find_clips(tmp_path)
    assert [(clip.name, clip.split) for clip in clips] == [("train", "train")]


def test_wrong_lists_are_named(listed: Path) -> None:
    with pytest.raises(UserError, match=r"data\.test_videos and data\.val_videos: found \['game_1'\], but the lists"):
        find_clips(listed, val_videos=["game_1"])
    first = (listed / "train.csv").read_text().splitlines()[1]
    (listed / "test.csv").write_text(f"video,note\n{first}\n")
    with pytest.raises(UserError, match=r"test\.csv: line 2: .* is listed for train and for test"):
        find_clips(listed)
    (listed / "test.csv").write_text("file\n")
    with pytest.raises(UserError, match=r"test\.csv: header: found 'file', expected video once each"):
        find_clips(listed)
    for split in ("train", "val", "test"):
        (listed / f"{split}.csv").write_text("video\n")
    with pytest.raises(UserError, match=r"data\.root: no video in "):
        find_clips(listed)


def test_a_listed_video_outside_needs_leave(listed: Path) -> None:
    outside = listed.parent / "outside.mp4"
    inside = next((listed / "test" / "videos").iterdir())
    inside.rename(outside)
    inside.symlink_to(outside)
    (listed / "test.csv").write_text(f"video\n{inside.relative_to(listed)}\n")
    with pytest.raises(UserError, match=r"test\.csv: line 2: .* is a link to .*outside\.mp4"):
        find_clips(listed)
    clips, _ = find_clips(listed, follow_links=True)
    assert [clip.split for clip in clips] == ["test", "train", "train", "val"]
