from pathlib import Path

import pytest

from common.data.report import Problem, report
from common.data.scene_folder import find_scenes
from common.errors import UserError


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("folder", ["scenes", "subscenes"])
def test_scenes_and_their_masks(folder: str, tmp_path: Path) -> None:
    scenes = [f"{folder}/{name}" for name in ("b.npy", "a.tif", "c.d.JPG", "own.png")]
    root = fill(tmp_path, *scenes, "masks/b.npy", "masks/a.png", "masks/c.d.NPY", "masks/own.png", "masks/own.npy")
    found = find_scenes(root)
    assert found.folder == root / folder
    assert {name: (pair.scene.name, pair.mask.name) for name, pair in found.pairs.items()} == {
        "a.tif": ("a.tif", "a.png"), "b.npy": ("b.npy", "b.npy"), "c.d.JPG": ("c.d.JPG", "c.d.NPY"),
        "own.png": ("own.png", "own.png"),
    }  # fmt: skip
    assert list(found.pairs) == sorted(found.pairs)
    assert found.problems == (Problem(root / "masks", "mask without a scene", "own.npy"),)


def test_what_is_left_alone_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path, "scenes/a.npy", "scenes/b.npy", "scenes/c.png", "scenes/notes.txt", "scenes/.DS_Store")
    fill(root, "scenes/deep.npy/x", "masks/a.npy", "masks/d.npy", "masks/e.jpg", "masks/.hidden")
    found = find_scenes(root)
    assert list(found.pairs) == ["a.npy"]
    assert report(found.problems).splitlines() == [
        f"left out: 1 x mask without a scene in {root}/masks: d.npy",
        f"left out: 1 x no mask in {root}/masks: e.jpg",
        f"left out: 2 x no scene in {root}/scenes: deep.npy; notes.txt",
        f"left out: 2 x scene without a mask in {root}/scenes: b.npy; c.png",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["masks/a.npy"], "found none of the two, expected a folder scenes or subscenes"),
        (["scenes/a.npy", "subscenes/a.npy"], "found scenes and subscenes, expected"),
        (["scenes/a.npy"], "no folder masks; put the masks there"),
        (["scenes/a.npy", "masks/b.npy"], "1 scenes in scenes and 1 masks, expected some of one name"),
        (
            ["scenes/a.jpg", "masks/a.npy", "masks/a.png"],
            r"a\.jpg: masks a\.npy and a\.png; keep the one that is right",
        ),
    ],
)
def test_a_folder_of_another_form_is_refused(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        find_scenes(fill(tmp_path, *names))


def test_a_scene_under_two_names_is_one(tmp_path: Path) -> None:
    root = fill(tmp_path, "scenes/a.npy", "masks/a.npy", "masks/b.npy")
    (root / "scenes" / "b.npy").symlink_to("a.npy")
    found = find_scenes(root)
    assert list(found.pairs) == ["a.npy"]
    assert found.problems == (Problem(root / "scenes", "another name of a scene that is there already", "b.npy"),)
