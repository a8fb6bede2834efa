from pathlib import Path

import pytest

from common.data.filelists import find_lists, read_lists
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
