from pathlib import Path

import pytest

from common.errors import UserError
from projects.pose.folder import find_files, held_out, picture_folders

COCO = {"train": None, "val": None, "test": None}


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_coco_s_files_are_found_whatever_the_year(tmp_path: Path) -> None:
    names = [f"annotations/person_keypoints_{part}.json" for part in ("train2017", "val2014")]
    files = find_files(touched(tmp_path, *names, "annotations/instances_val2017.json"), COCO)
    assert files == {"train": tmp_path / names[0], "val": tmp_path / names[1]}


def test_named_files_are_the_only_ones(tmp_path: Path) -> None:
    touched(tmp_path, "mine.json", "annotations/person_keypoints_val2017.json")
    assert find_files(tmp_path, COCO | {"train": "mine.json"}) == {"train": tmp_path / "mine.json"}


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        ([], COCO, "expected COCO's layout"),
        ([], COCO | {"val": "none.json"}, "data.val: no file"),
        ([f"annotations/person_keypoints_val{year}.json" for year in (2014, 2017)], COCO, "several files for val"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, names: list[str], given: dict[str, str | None], said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_files(touched(tmp_path, *names), given)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        find_files(tmp_path / "absent", COCO)


def test_pictures_lie_beside_the_annotations(tmp_path: Path) -> None:
    folders = picture_folders(tmp_path, tmp_path / "annotations" / "person_keypoints_val2017.json", "val")
    assert folders[:2] == [tmp_path / "val2017", tmp_path / "images" / "val2017"]
    assert tmp_path in folders
    assert len(set(folders)) == len(folders)


def test_folds_hold_each_picture_out_once() -> None:
    parts = [held_out(11, share=0.1, seed=0, fold=fold, folds=4)[0] for fold in range(4)]
    assert sorted(place for part in parts for place in part) == list(range(11))


def test_a_share_is_held_out_by_seed() -> None:
    first, said = held_out(50, share=0.1, seed=1, fold=None, folds=5)
    assert len(first) == 5
    assert said == "5 of 50 training pictures"
    assert first == held_out(50, share=0.1, seed=1, fold=None, folds=5)[0]
    assert first != held_out(50, share=0.1, seed=2, fold=None, folds=5)[0]
    assert len(held_out(2, share=0.01, seed=0, fold=None, folds=5)[0]) == 1
