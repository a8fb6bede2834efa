"""Which annotation files and pictures a folder holds: COCO's layout, or files named one by one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.data.folds import fold_range
from common.errors import UserError

SPLITS = ("train", "val", "test")


def find_files(root: Path, given: Mapping[str, str | None]) -> dict[str, Path]:
    """The annotation file of each split that there is one for.

    Args:
        root: holds `annotations/person_keypoints_<split><year>.json`.
        given: files by split that are named, relative to `root`; None looks for COCO's.

    Raises:
        UserError: there is no file to train on, a named one is missing, or there are several years.
    """
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}; expected one in COCO's layout, with a folder `annotations`")
    named = any(given.values())
    files = {
        split: _named(root, split, file) if file else None if named else _found(root, split)
        for split, file in given.items()
    }
    if files["train"] is None and not any(files.values()):
        raise UserError(
            f"{root}: no annotations/person_keypoints_<split><year>.json; expected COCO's layout, or name the files: "
            "--data.train FILE.json --data.val FILE.json"
        )
    return {split: file for split, file in files.items() if file is not None}


def picture_folders(root: Path, annotations: Path, split: str) -> list[Path]:
    """Folders in which the pictures of an annotation file may be, the likeliest first."""
    stem = annotations.stem.removeprefix("person_keypoints_")
    places = [root / stem, root / "images" / stem, root / split, root / "images" / split, root / "images", root]
    return list(dict.fromkeys([*places, annotations.parent]))


def held_out(count: int, *, share: float, seed: int, fold: int | None, folds: int) -> tuple[set[int], str]:
    """Which of `count` training pictures are for validation, and how they were chosen, in words.

    Args:
        count: of pictures, in the order of their ids.
        share: of them, at random, where there is no fold.
        seed: of the choice.
        fold: one of `folds` contiguous parts; over the folds, each picture is for validation once.
        folds: number of parts.
    """
    if fold is not None:
        return set(fold_range(count, fold=fold, folds=folds)), f"fold {fold} of 0..{folds - 1} of the training pictures"
    chosen = np.random.default_rng(seed).permutation(count)[: max(round(share * count), 1)]
    return set(chosen.tolist()), f"{len(chosen)} of {count} training pictures"


def _named(root: Path, split: str, file: str) -> Path:
    path = root / file
    if not path.is_file():
        raise UserError(f"data.{split}: no file {path}; expected COCO person keypoints, relative to data.root")
    return path


def _found(root: Path, split: str) -> Path | None:
    files: Sequence[Path] = sorted((root / "annotations").glob(f"person_keypoints_{split}*.json"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{root / 'annotations'}: several files for {split}: {names}; name one: --data.{split} FILE")
    return files[0] if files else None
