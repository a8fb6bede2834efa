"""A folder of scenes and of their masks: what belongs together, and what is left alone.

root/scenes/<name>     or root/subscenes, as the Sentinel-2 Cloud Mask Catalogue has it (Zenodo 4172871)
root/masks/<name>      or the same name with another suffix
root/filelists/train.csv, val.csv, test.csv
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.data import masks, scenes
from common.data.report import Problem
from common.errors import UserError

FOLDERS = ("scenes", "subscenes")
MASKS = "masks"


class ScenePair(NamedTuple):
    """The files of one scene."""

    scene: Path
    mask: Path


@dataclass(frozen=True)
class SceneFolder:
    """What a data root holds.

    Attributes:
        folder: of the scenes.
        pairs: scenes that have a mask, by file name, sorted.
        problems: scenes without a mask, masks without a scene, and files that are neither.
    """

    folder: Path
    pairs: dict[str, ScenePair]
    problems: tuple[Problem, ...]


def find_scenes(root: Path) -> SceneFolder:
    """Finds the scenes of a data root and the mask of each; opens none.

    Raises:
        UserError: no such folders, no scene with a mask, or several masks for one scene.
    """
    folder = _scenes_in(root)
    if not (root / MASKS).is_dir():
        raise UserError(f"{root}: no folder {MASKS}; put the masks there, named like their scenes")
    scene_files, problems = _files(folder, scenes.SUFFIXES, "scene")
    mask_files, others = _files(root / MASKS, masks.SUFFIXES, "mask")
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in mask_files.values():
        by_stem[file.stem].append(file)
    pairs = {}
    for name, scene in scene_files.items():
        mask = mask_files.get(name) or _only(by_stem[scene.stem], scene)
        if mask is None:
            problems.append(Problem(folder, "scene without a mask", name))
        else:
            pairs[name] = ScenePair(scene, mask)
    taken = {pair.mask for pair in pairs.values()}
    pairs, again = _once(pairs)
    problems += [Problem(folder, "another name of a scene that is there already", name) for name in again]
    lonely = [
        Problem(root / MASKS, "mask without a scene", file.name) for file in mask_files.values() if file not in taken
    ]
    if not pairs:
        raise UserError(
            f"{root}: {len(scene_files)} scenes in {folder.name} and {len(mask_files)} masks, expected some of one "
            f"name; scenes are {', '.join(scenes.SUFFIXES)}, masks {', '.join(masks.SUFFIXES)}"
        )
    return SceneFolder(folder, pairs, (*problems, *others, *lonely))


def _once(pairs: dict[str, ScenePair]) -> tuple[dict[str, ScenePair], list[str]]:
    """Each file under its first name: under two it could be learned from and judged by."""
    first: dict[Path, str] = {}
    for name, pair in pairs.items():
        first.setdefault(pair.scene.resolve(), name)
    return {name: pairs[name] for name in first.values()}, [name for name in pairs if name not in first.values()]


def _scenes_in(root: Path) -> Path:
    found = [root / name for name in FOLDERS if (root / name).is_dir()]
    if len(found) != 1:
        have = " and ".join(folder.name for folder in found) or "none of the two"
        raise UserError(f"{root}: found {have}, expected a folder {' or '.join(FOLDERS)}; name it so, or mend the path")
    return found[0]


def _files(folder: Path, suffixes: Iterable[str], what: str) -> tuple[dict[str, Path], list[Problem]]:
    """The files of a kind by name, sorted, and those of no such kind; hidden ones are no one's."""
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    known = {file.name: file for file in visible if file.suffix.lower() in suffixes and file.is_file()}
    return known, [Problem(folder, f"no {what}", file.name) for file in visible if file.name not in known]


def _only(found: list[Path], scene: Path) -> Path | None:
    if len(found) > 1:
        raise UserError(f"{scene}: masks {' and '.join(file.name for file in found)}; keep the one that is right")
    return found[0] if found else None
