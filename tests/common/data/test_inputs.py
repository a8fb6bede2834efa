"""Files are found by suffix, and those whose results would replace each other are refused."""

from pathlib import Path

import pytest

from common.data.inputs import VIDEOS, find_inputs, require_own_names
from common.errors import UserError


def test_a_file_is_itself_and_a_folder_its_known_files_sorted(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "labels.csv"):
        (tmp_path / name).touch()
    (tmp_path / "c.mp4").mkdir()
    assert [path.name for path in find_inputs(tmp_path, VIDEOS, what="video")] == ["a.MOV", "b.mp4"]
    assert find_inputs(tmp_path / "labels.csv", VIDEOS, what="video") == [tmp_path / "labels.csv"]


def test_nothing_found_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: no such file or folder; expected a video or a folder of videos"):
        find_inputs(tmp_path / "gone", VIDEOS, what="video")
    with pytest.raises(
        UserError, match=r"no video in this folder \(found an empty folder\); expected files like \.avi"
    ):
        find_inputs(tmp_path, VIDEOS, what="video")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"found notes\.txt"):
        find_inputs(tmp_path, VIDEOS, what="video")


def test_names_that_differ_in_the_suffix_only_are_refused() -> None:
    require_own_names([Path("a.mp4"), Path("b.mp4"), Path("a.b.mp4")], what="video")
    with pytest.raises(UserError, match=r"several videos are called a, .*: a\.mp4 and a\.avi; rename one"):
        require_own_names([Path("a.mp4"), Path("b.mp4"), Path("a.avi")], what="video")
