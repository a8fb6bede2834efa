import multiprocessing
import os
import signal
import socket
import stat
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import atomic_folder, atomic_path, require_writable, sweep, write_csv, write_text


def test_the_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("torn")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _contents(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["one", "a.b", "long" * 50])
def test_the_folder_appears_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    with atomic_folder(path) as made:
        (made / "file").write_text("half")
        assert not path.exists()
        (made / "deep").mkdir()
        (made / "deep" / "file").write_text("whole")
    assert _contents(tmp_path) == {f"new/{name}/file": "half", f"new/{name}/deep/file": "whole"}
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").mkdir()
    assert stat.filemode(path.stat().st_mode) == stat.filemode((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("replace", [False, True])
def test_an_error_leaves_the_old_folder_and_nothing_else(replace: bool, tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.mkdir()
    (path / "file").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path, replace=replace) as made:
        (made / "file").write_text("torn")
        raise RuntimeError
    assert _contents(tmp_path) == {"one/file": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_writer_of_a_folder_wins_unless_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with atomic_folder(path) as mine:
        (mine / "file").write_text("mine")
        with atomic_folder(path) as other:
            (other / "file").write_text("theirs")
            (other / "more").write_text("theirs")
    assert _contents(tmp_path) == {"one/file": "theirs", "one/more": "theirs"}
    with atomic_folder(path, replace=True) as mine:
        (mine / "file").write_text("mine")
    assert _contents(tmp_path) == {"one/file": "mine"}
    assert list(tmp_path.iterdir()) == [path]


def _write_for_ever(path: Path, ready: Connection) -> None:
    with atomic_folder(path / "folder") as made, atomic_path(path / "file.txt") as temporary:
        (made / "half").write_text("half")
        temporary.write_text("half")
        ready.send(None)
        signal.pause()


def test_what_a_killed_writer_leaves_is_swept_once_it_is_dead(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    writer = context.Process(target=_write_for_ever, args=(tmp_path, there))
    writer.start()
    here.recv()
    left = set(tmp_path.iterdir())
    assert len(left) == 2
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == left, "it is alive"
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert set(tmp_path.iterdir()) == left
    sweep(tmp_path, below=False)
    assert list(tmp_path.iterdir()) == []


def test_only_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = socket.gethostname()
    names = {
        f".a.{here}~{dead.pid}~x1_y.tmp": False,
        f".a.{here}~{os.getpid()}~x1_y.tmp": True,
        f".a.elsewhere~{dead.pid}~x1_y.tmp": True,
        ".old.elsewhere~7~x1_y.tmp": False,
        ".mine.tmp": True,
        f"a.{here}~{dead.pid}~x1_y.tmp": True,
        f".a.{here}~{dead.pid}~x1_y": True,
    }
    for folder in (tmp_path, tmp_path / "below"):
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "file").write_text("half")
        os.utime(folder / ".old.elsewhere~7~x1_y.tmp", (0, 0))
    kept = {name for name, stays in names.items() if stays}
    sweep(tmp_path, below=False)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "below"}
    assert {path.name for path in (tmp_path / "below").iterdir()} == set(names)
    sweep(tmp_path)
    assert {path.name for path in (tmp_path / "below").iterdir()} == kept


def test_a_link_to_a_folder_is_swept_and_the_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("whole")
    link = tmp_path / ".latest.elsewhere~7~link.tmp"
    link.symlink_to("folder")
    os.utime(tmp_path / "folder", (0, 0))
    sweep(tmp_path)
    assert _contents(tmp_path) == {"folder/file": "whole"}
    assert not link.is_symlink()


def test_a_table_has_six_digits_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    rows = [("a, b", 1.0, float("nan")), ('"', 1234567.8, -1e-9)]
    write_csv(path, ("name", "x", "y"), iter(rows))
    assert path.read_bytes() == b'name,x,y\n"a, b",1,\n"""",1.23457e+06,-1e-09\n'


def test_a_folder_to_write_to_is_made_and_left_empty_and_anything_else_is_told(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: cannot write there \(.*\); expected a folder that you may write to"):
        require_writable(tmp_path / "file")
