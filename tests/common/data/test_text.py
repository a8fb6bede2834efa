from pathlib import Path

import pytest

from common.data import text
from common.data.text import read_table, read_text
from common.errors import UserError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_mark_at_the_start_is_no_text(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a", "\ufeffä\r\n".encode())) == "ä\r\n"


def test_no_more_than_the_bound_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"12345")
    assert read_text(path, largest=5) == "12345"
    with pytest.raises(UserError, match=r"a\.csv: 5 bytes, expected a text file of at most 4; .*divide it"):
        read_text(path, largest=4)
    endless = tmp_path / "endless"
    endless.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="endless: no such file"):
        read_text(endless)


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.csv: not a UTF-8 text file .*save it as UTF-8"):
        read_text(write(tmp_path / "b.csv", b"\xff\xfea"))
    with pytest.raises(UserError, match=r"c\.csv: line 3 holds a zero byte"):
        read_text(write(tmp_path / "c.csv", b"a\nb\nc\0d\n"))
    with pytest.raises(UserError, match=r"none: no such file; check the path"):
        read_text(tmp_path / "none")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_table(end: str, tmp_path: Path) -> None:
    content = end.join(["a,b", "", '"1,5",""', '"say ""x""",2', ""])
    rows = list(read_table(write(tmp_path / "t.csv", content.encode())))
    assert rows == [(1, ["a", "b"]), (3, ["1,5", ""]), (4, ['say "x"', "2"])]


def test_a_table_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LARGEST_ROWS", 3)
    assert len(list(read_table(write(tmp_path / "t.csv", b"a\nb\nc\n")))) == 3
    with pytest.raises(UserError, match=r"t\.csv: 4 lines, expected at most 3; divide the file"):
        list(read_table(write(tmp_path / "t.csv", b"a\nb\nc\nd\n")))
    with pytest.raises(UserError, match=r"u\.csv: line 1: 100,000 characters, expected at most 65,536"):
        list(read_table(write(tmp_path / "u.csv", b"a\n" + b"," * 99_999 + b"\n")))


@pytest.mark.parametrize("content", [b'a\n"open', b'a\n"b"c\n'])
def test_a_bad_quote_is_named(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: line 2: .*save it as comma-separated text again"):
        list(read_table(write(tmp_path / "t.csv", content)))
