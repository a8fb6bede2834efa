from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data import filelists
from common.data.filelists import find_lists, read_filelists, read_lists, write_filelists
from common.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with files a.png to f.png in `images` and `masks`; beside it a secret."""
    root = tmp_path / "root"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
        for name in "abcdef":
            (root / folder / f"{name}.png").write_text(name)
    (root / "images" / "g, h.png").write_text("g")
    (tmp_path / "secret.png").write_text("secret")
    return root


def write(root: Path, **lists: str | bytes) -> Path:
    for split, content in lists.items():
        (root / f"{split}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_rows_in_their_order(root: Path) -> None:
    write(root, train="mask,id,image\nmasks/a.png,1,images/a.png\nmasks/b.png,2,images/b.png\n", test="image,mask\n")
    rows = read_lists(root, ["image", "mask"])
    assert [(row.split, *(file.relative_to(root).as_posix() for file in row.files)) for row in rows] == [
        ("train", "images/a.png", "masks/a.png"), ("train", "images/b.png", "masks/b.png"),
    ]  # fmt: skip
    assert [row.origin for row in rows] == [f"{root}/train.csv: line 2", f"{root}/train.csv: line 3"]
    assert find_lists(root).keys() == {"train", "test"}
    assert read_lists(root / "images", ["image"]) == []


def test_what_spreadsheets_write_is_read(root: Path) -> None:
    write(root, val='\ufeffimage \r\n"images/g, h.png"\r\n\r\n ./images//a.png \r\n')
    assert [row.files[0] for row in read_lists(root, ["image"])] == [root / "images/g, h.png", root / "images/a.png"]


@pytest.mark.parametrize(
    "cell",
    [
        "/etc/hostname", "../secret.png", "images/../../secret.png", "images/../images/a.png", r"C:\a.png", "C:a.png",
        r"\\host\share\a.png", "file:///etc/hostname", "s3://bucket/a.png",
    ],
)  # fmt: skip
def test_a_path_stays_in_the_root(cell: str, root: Path) -> None:
    write(root, train=f"image\nimages/a.png\n{cell}\n")
    with pytest.raises(
        UserError, match=r"train\.csv: line 3, column image: found .*, expected a path from .*root down"
    ):
        read_lists(root, ["image"])


def test_a_link_out_of_the_root_needs_leave(root: Path) -> None:
    (root / "images" / "link.png").symlink_to("../../secret.png")
    (root / "far").symlink_to(root.parent)
    (root / "images" / "near.png").symlink_to("a.png")
    for cell in ("images/link.png", "far/secret.png"):
        write(root, train=f"image\n{cell}\n")
        with pytest.raises(UserError, match=r"line 2: .* is a link to .*secret\.png, outside of .*follow_links"):
            read_lists(root, ["image"])
        assert read_lists(root, ["image"], follow_links=True)[0].files == (root / cell,)
    write(root, train="image\nimages/near.png\n")
    assert len(read_lists(root, ["image"])) == 1
    link = root.parent / "link_to_root"
    link.symlink_to(root)
    assert len(read_lists(link, ["image"])) == 1


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            {"train": "image\nimages/a.png\nimages/b.png\nimages/a.png\n"},
            r"train\.csv: line 4: .*a\.png is listed twice, before at .*train\.csv: line 2",
        ),
        ({"train": "image\nimages/a.png\nimages//./a.png\n"}, "listed twice"),
        ({"train": "image\nimages/a.png\nimages/near.png\n"}, "listed twice"),
        (
            {"train": "image\nimages/a.png\n", "test": "image\nimages/b.png\nimages/a.png\n"},
            r"test\.csv: line 3: .*a\.png is listed for train and for test, before at .*train\.csv: line 2",
        ),
        ({"val": "image\nimages/near.png\n", "train": "image\nimages/a.png\n"}, "listed for train and for val"),
    ],
)  # fmt: skip
def test_nothing_is_listed_twice(lists: dict[str, str], message: str, root: Path) -> None:
    (root / "images" / "near.png").symlink_to("a.png")
    with pytest.raises(UserError, match=message):
        read_lists(write(root, **lists), ["image"])


def test_columns_share_no_file(root: Path) -> None:
    write(root, train="image,mask\nimages/a.png,images/a.png\n")
    with pytest.raises(UserError, match=r"line 2: .*a\.png is listed twice, before at .*line 2"):
        read_lists(root, ["image", "mask"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"train\.csv: header: found '', expected image and mask once each"),
        ("image,label\n", r"header: found 'image,label', expected image and mask once each"),
        ("image,Mask\n", r"header: found 'image,Mask'"),
        ("image,mask,mask\n", r"header: found 'image,mask,mask'"),
        ("image,mask\nimages/a.png\n", r"line 2: 1 cells, expected 2; a comma in a name needs quotes"),
        ("image,mask\nimages/g, h.png,masks/a.png\n", r"line 2: 3 cells, expected 2"),
        ("image,mask\nimages/a.png, \n", r"line 2, column mask: found '', expected the path of a file"),
        ('image,mask\n"images/a\n.png",masks/a.png\n', r"line 3, column image: found 'images/a\\n\.png'"),
        ("image,mask\nimages/a.png,masks\n", r"line 2, column mask: no file 'masks' in .*root"),
        ("image,mask\nimages\\a.png,masks/a.png\n", r"column image: no file .*; folders are parted by /"),
        (f"image,mask\n{'x' * 5000},masks/a.png\n", r"column image: no file 'xxx"),
        (b"image,mask\nimages/a.png\0,masks/a.png\n", r"train\.csv: line 2 holds a zero byte"),
        (b"image,mask\n\xff\xfe,masks/a.png\n", r"train\.csv: not a UTF-8 text file"),
        (b"image,mask\n" * 2_000_001, r"train\.csv: 2,000,001 lines, expected at most 2,000,000"),
    ],
)  # fmt: skip
def test_a_bad_list_is_named(content: str | bytes, message: str, root: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_lists(write(root, train=content), ["image", "mask"])


# ---- lists of names


def lists(root: Path, **content: str | bytes) -> Path:
    (root / "filelists").mkdir(exist_ok=True)
    write(root / "filelists", **content)
    return root


@pytest.mark.parametrize("header", ["", "name\n", "File\n", "filename\r\n", "\ufeffscene\n", "\n\nname\n"])
def test_names_with_and_without_a_header(header: str, root: Path) -> None:
    lists(root, train=f'{header}a.png\n"g, h.png"\n\n b.png \n', val="", test="c.png")
    rows = read_filelists(root, root / "images")
    assert [(row.split, row.files) for row in rows] == [
        ("train", (root / "images" / "a.png",)), ("train", (root / "images" / "g, h.png",)),
        ("train", (root / "images" / "b.png",)), ("test", (root / "images" / "c.png",)),
    ]  # fmt: skip
    assert rows[-1].origin == f"{root}/filelists/test.csv: line 1"


def test_lists_other_than_for_training_may_be_absent(root: Path) -> None:
    assert len(read_filelists(lists(root, train="a.png\n"), root / "images")) == 1
    assert len(read_filelists(lists(root, train="a.png\n", val="name\n"), root / "images")) == 1
    lists(root, val="b.png\n")
    (root / "filelists" / "train.csv").unlink()
    with pytest.raises(UserError, match=r"filelists/train\.csv: no such list"):
        read_filelists(root, root / "images")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ""}, r"train\.csv: names nothing, expected one file of .*images or more"),
        ({"train": "name\n", "val": "a.png\n"}, r"train\.csv: names nothing"),
        ({"train": "a.png\nname\n"}, r"train\.csv: line 2: no file 'name' in .*images"),
        ({"train": "name\na.png\nz.png\n"}, r"train\.csv: line 3: no file 'z\.png' in .*images; mend the list"),
        ({"train": "a.png,b.png\n"}, "line 1: 2 cells, expected one name; a comma in a name needs quotes"),
        ({"train": "name,mask\na.png,a.png\n"}, "line 1: 2 cells"),
        ({"train": "a.png\nb.png\na.png\n"}, r"line 3: .*a\.png is listed twice, before at .*train\.csv: line 1"),
        ({"train": "a.png\n", "test": "b.png\na.png\n"}, r"test\.csv: line 2: .* for train and for test, before at"),
        ({"train": "a.png\nnear.png\n"}, "listed twice"),
        ({"train": "link.png\n"}, r"line 1: .*link\.png is a link to .*secret\.png, outside of .*images"),
        ({"train": "a.png\n  \n"}, "line 2: found '', expected the path of a file"),
        ({"train": b"\xff\xfea.png\n"}, "not a UTF-8 text file"),
        ({"train": '"a.png\n'}, r"train\.csv: line 1: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_bad_list_of_names_is_refused(content: dict[str, str | bytes], message: str, root: Path) -> None:
    (root / "images" / "near.png").symlink_to("a.png")
    (root / "images" / "link.png").symlink_to("../../secret.png")
    with pytest.raises(UserError, match=message):
        read_filelists(lists(root, **content), root / "images")


@pytest.mark.parametrize(
    "cell",
    ["/etc/hosts", "../../secret.png", "..", "images/a.png", "./a.png", r"..\secret.png", r"C:\a.png", "C:a.png", "."],
)  # fmt: skip
def test_a_name_leads_nowhere_else(cell: str, root: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv: line 2: (found .*, expected|no file '\.' in)"):
        read_filelists(lists(root, train=f"a.png\n{cell}\n"), root / "images")


def test_the_folder_itself_may_lie_elsewhere(root: Path) -> None:
    (root / "scenes").symlink_to(root / "images")
    (root / "images" / "link.png").symlink_to("../../secret.png")
    assert len(read_filelists(lists(root, train="a.png\n"), root / "scenes")) == 1
    lists(root, train="link.png\n")
    assert len(read_filelists(root, root / "scenes", follow_links=True)) == 1


name = st.text(
    st.characters(exclude_characters="/\\\0", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20
)


@settings(deadline=None, max_examples=30)
@given(st.lists(name.map(lambda text: f"{text.strip()}.png"), min_size=1, max_size=9, unique=True), st.data())
def test_lists_that_are_written_are_read(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("lists")
    names = [listed for listed in names if listed.isprintable() and len(listed.encode()) < 200] or ["a.png"]
    for listed in names:
        (root / listed).touch()
    cut = data.draw(st.integers(1, len(names)))
    parts = {"train": names[:cut], "val": names[cut:]}
    write_filelists(root, parts)
    found = read_filelists(root, root)
    assert [(row.split, row.files[0].name) for row in found] == [(part, x) for part in parts for x in parts[part]]
    assert (root / "filelists" / "test.csv").read_text() == "name\n"


def test_lists_are_not_overwritten_unless_told(root: Path) -> None:
    write_filelists(root, {"train": ["a.png"], "val": [], "test": ["b.png"]})
    with pytest.raises(UserError, match=r"filelists: holds train\.csv, val\.csv, test\.csv; move them, or allow"):
        write_filelists(root, {"train": ["c.png"]})
    assert (root / "filelists" / "train.csv").read_text() == "name\na.png\n"
    write_filelists(root, {"train": ["c.png"]}, overwrite=True)
    assert [(row.split, row.files[0].name) for row in read_filelists(root, root / "images")] == [("train", "c.png")]


def test_a_killed_writer_leaves_no_list_for_training(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_filelists(root, {"train": ["a.png"], "val": ["b.png"]})

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(filelists, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_filelists(root, {"train": ["b.png"], "val": ["a.png"]}, overwrite=True)
    with pytest.raises(UserError, match=r"train\.csv: no such list"):
        read_filelists(root, root / "images")


@pytest.mark.parametrize("bad", ["a/b.png", r"a\b.png", " a.png", "a.png ", "a\n.png", ""])
def test_a_name_that_no_list_can_hold_is_refused(bad: str, root: Path) -> None:
    with pytest.raises(UserError, match="rename the file"):
        write_filelists(root, {"train": ["a.png"], "test": [bad]})
    assert not (root / "filelists").exists()
