"""A folder of scenes with masks -> which scenes are for what, opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.data.filelists import FILELISTS, SPLITS, find_lists, read_filelists
from common.data.folds import fold_range
from common.data.masks import open_mask
from common.data.report import Problem
from common.data.scene_folder import ScenePair, find_scenes
from common.data.scenes import open_scene
from common.data.split import group_of, split_names
from common.errors import BadRecordError, UserError
from projects.clouds.scenes import Classes, CloudScene

UNLISTED = "scene in no list"
LOST = "scene or mask that cannot be opened"


@dataclass(frozen=True)
class Division:
    """How scenes are divided where lists do not say it.

    Attributes:
        seed: another gives another division.
        val: share of the scenes for validation.
        test: share of the scenes for the test.
        group: regular expression for what never parts; None goes by product names.
        fold: validate on this one of `folds` parts of what is not for the test; None for none.
        folds: number of parts.
    """

    seed: int
    val: float
    test: float
    group: str | None
    fold: int | None
    folds: int


class Divided(NamedTuple):
    """Files by split.

    Attributes:
        pairs: "train", "val" and "test", each sorted.
        problems: what is left out.
        note: how it was divided, in words.
    """

    pairs: dict[str, list[ScenePair]]
    problems: list[Problem]
    note: str


def divide(root: Path, division: Division) -> Divided:
    """Which scenes of a data root are for what: by its lists, or without lists at random.

    Raises:
        UserError: the folder or its lists are not as they should be.
    """
    found = find_scenes(root)
    problems = list(found.problems)
    if find_lists(root / FILELISTS):
        listed = read_filelists(root, found.folder)
        names = {split: [row.files[0].name for row in listed if row.split == split] for split in SPLITS}
        known = set().union(*names.values())
        bare = next((row for row in listed if row.files[0].name not in found.pairs), None)
        if bare is not None:
            raise UserError(f"{bare.origin}: {bare.files[0].name} has no mask in {root / 'masks'}; put it there")
        problems += [Problem(found.folder, UNLISTED, name) for name in found.pairs if name not in known]
        note = ""
    else:
        split = split_names(
            found.pairs, seed=division.seed, val=division.val, test=division.test, pattern=division.group
        )
        names = {name: list(members) for name, members in split.names.items()}
        note = f" (no lists: divided by seed {division.seed}{'; ' + split.note if split.note else ''})"
    if division.fold is not None:
        names, note = _with_fold(names, division), f"{note} (val: fold {division.fold} of 0..{division.folds - 1})"
    return Divided({split: [found.pairs[name] for name in sorted(names[split])] for split in SPLITS}, problems, note)


def open_scenes(
    pairs: Mapping[str, Sequence[ScenePair]],
    *,
    bands: Sequence[str],
    band_names: Sequence[str] | None,
    classes: Classes,
    tolerant: bool,
) -> tuple[dict[str, list[CloudScene]], list[Problem]]:
    """Scenes by split, of which the headers have been read.

    Args:
        pairs: files by split.
        bands: to read, in order.
        band_names: see `open_scene`.
        classes: of the masks.
        tolerant: list what is damaged instead of raising it.
    """
    opened: dict[str, list[CloudScene]] = {split: [] for split in pairs}
    lost = []
    for split, pair in [(split, pair) for split, members in pairs.items() for pair in members]:
        try:
            scene = open_scene(pair.scene, bands=bands, band_names=band_names)
            mask = open_mask(pair.mask, scene.size_hw, classes=classes.names)
        except BadRecordError as error:
            if not tolerant:
                raise
            lost.append(Problem(error.path, LOST, error.reason))
        else:
            opened[split].append(CloudScene(scene, mask, classes))
    return opened, lost


def _with_fold(names: Mapping[str, list[str]], division: Division) -> dict[str, list[str]]:
    """Validation on one fold of the groups that are not for the test."""
    rest = [*names["train"], *names["val"]]
    groups = sorted({group_of(name, division.group) for name in rest})
    if len(groups) < division.folds:
        raise UserError(
            f"data.folds: found {division.folds}, but only {len(groups)} groups of scenes; give fewer folds"
        )
    assert division.fold is not None
    chosen = {groups[place] for place in fold_range(len(groups), fold=division.fold, folds=division.folds)}
    val = [name for name in rest if group_of(name, division.group) in chosen]
    return {"train": [name for name in rest if name not in val], "val": val, "test": names["test"]}
