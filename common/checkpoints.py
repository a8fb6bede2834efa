"""Checkpoint files: whole or absent, checked before use, the newest two and the best kept.

In a run's `checkpoints/`: `step-00000120.ckpt`, the newest two, and `last.ckpt`, a link to the newest;
`best-00000090-0.9123.ckpt` with its step and score, the best k, and `best.ckpt`, a link to the best. The names are the
only record of what is best: no kill can part it from the files.
"""

import errno
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor
from torch.utils._pytree import tree_map_only

from common.errors import UserError
from common.files import atomic_path, link

LAST, BEST = "last.ckpt", "best.ckpt"
KEPT = 2
"""Newest checkpoints kept: should one be damaged, there is another."""

_OVERHEAD = 1 << 20  # bytes of a checkpoint beside its tensors


class Best(NamedTuple):
    """A checkpoint with its score."""

    score: float
    step: int
    path: Path

    @property
    def rank(self) -> tuple[float, int]:
        """Higher is better; of equal scores the earlier."""
        return self.score, -self.step


class RunCheckpointIO(TorchCheckpointIO):
    """Writes beside the destination and renames; reads only what is whole, and only data.

    Lightning writes through the system's temporary folder, and a move between file systems is not atomic.

    Args:
        check: told what is in a checkpoint that training resumes from, before anything is taken from it; it raises
            where the checkpoint does not fit.
    """

    def __init__(self, check: Callable[[Path, Mapping[str, Any]], None] | None = None) -> None:
        super().__init__()
        self.check = check

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves `checkpoint` to the local file `path`.

        Raises:
            UserError: the disk is full; what was there before is as it was.
        """
        path, needed = Path(path), tensor_bytes(checkpoint) + _OVERHEAD
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise no_space(path, needed, free)
        try:
            with atomic_path(path) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer says RuntimeError
            free = shutil.disk_usage(path.parent).free
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or free < needed:
                raise no_space(path, needed, free) from error
            raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, place: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Loads a checkpoint, whatever is asked for without running any code in it."""
        loaded = load(Path(path), map_location)
        if self.check is not None:
            self.check(Path(path), loaded)
        return loaded


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint.

    Raises:
        UserError: it is missing, damaged, or holds more than data.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; expected a local file")
    reason = damage(path)
    if reason is not None:
        raise UserError(f"{path}: damaged checkpoint ({reason}); use another one of its folder")
    try:
        loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # its unpickler's errors are of many kinds
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{path}: holds more than data ({named[1] if named else type(error).__name__}), or is no checkpoint; "
            "nothing of it was run. Use a checkpoint that this program wrote"
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: holds a {type(loaded).__name__}, expected a checkpoint of Lightning")
    return loaded


def require_loadable(checkpoint: Mapping[str, Any]) -> None:
    """Sees to it, before hours of work, that what will be saved can be loaded as data alone.

    Args:
        checkpoint: to be saved; of its tensors only the kind is tried.

    Raises:
        UserError: names the entry that is more than data.
    """
    for key, value in checkpoint.items():
        buffer = io.BytesIO()
        try:
            torch.save(tree_map_only(Tensor, lambda tensor: torch.empty(0, dtype=tensor.dtype), value), buffer)
            buffer.seek(0)
            torch.load(buffer, weights_only=True)
        except Exception as error:  # pickle's and torch's are of many kinds
            reason = str(error).splitlines()[0]
            raise UserError(
                f"checkpoint: its entry {key!r} could not be loaded again as data ({reason}); expected "
                "tensors, numbers, strings and lists or dicts of them: a module's hyperparameters or a callback's "
                "state hold more"
            ) from error


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's bytes; None if every part has its checksum.

    `torch.load` would take flipped bits for weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(entry.file_size for entry in archive.infolist())
            if held > path.stat().st_size:  # torch compresses nothing
                return f"{held:,} bytes in a file of {path.stat().st_size:,}"
            part = archive.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        return str(error) or type(error).__name__
    return None if part is None else f"wrong checksum of {part}"


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; names the damaged ones that it passes by.

    One that was kept for its score will do where no other is whole: training can go on from it too.
    """
    found = [*_steps(folder), *[one.path for one in sorted(best(folder), key=lambda one: -one.step)]]
    if not _steps(folder):
        return None
    for path, older in zip_longest(found, found[1:]):
        reason = damage(path)
        if reason is None:
            return path
        instead = "going on from the one before" if older else "there is none before: starting afresh"
        print(f"{path}: damaged checkpoint ({reason}); {instead}", flush=True)
    return None


def step_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step goes."""
    return folder / f"step-{step:08d}.ckpt"


def keep_newest(folder: Path, written: Path) -> None:
    """Links `last.ckpt` to what was just written and removes what is older than the one before it."""
    link(folder / LAST, written)
    for path in [path for path in _steps(folder) if path != written][KEPT - 1 :]:
        path.unlink(missing_ok=True)


def drop_left(folder: Path, *, resumed: Path | None, written: Path) -> None:
    """Removes checkpoints of a future that was left: newer than the one that training went on from, but damaged.

    To be called at the first save, when there are two whole ones again: a damaged one must not count as the second.

    Args:
        folder: of the checkpoints.
        resumed: what training went on from; None from nothing of this folder.
        written: the first since.
    """
    for path in _steps(folder):
        if path != written and (resumed is None or path.name > resumed.name):
            path.unlink(missing_ok=True)


def drop_best(folder: Path) -> None:
    """Removes what an earlier training of the same name, of which nothing else is left, kept for its score."""
    for one in best(folder):
        one.path.unlink(missing_ok=True)


def keep_best(folder: Path, source: Path, *, step: int, score: float, count: int) -> None:
    """Keeps a checkpoint as one of the best `count` if it is; higher scores are better.

    Args:
        folder: of the checkpoints.
        source: the checkpoint, in the same folder.
        step: its optimizer step.
        score: what it is ranked by; one that is not a number ranks last.
        count: how many to keep.
    """
    path = folder / f"best-{step:08d}-{score:.9g}.ckpt"
    score = float(f"{score:.9g}")  # as the names have it, so that ties are ties
    for old in best(folder):
        if old.step == step and old.path != path:  # the same step, done again after a restart
            old.path.unlink(missing_ok=True)
    candidate = Best(score if score == score else float("-inf"), step, path)  # noqa: PLR0124 - not a number
    ranked = sorted([*(old for old in best(folder) if old.path != path), candidate], key=lambda one: one.rank)[::-1]
    if candidate in ranked[:count]:
        with atomic_path(path) as temporary:  # a copy: what damages one file spares the other
            shutil.copyfile(source, temporary)
        link(folder / BEST, ranked[0].path)
    for old in ranked[count:]:
        old.path.unlink(missing_ok=True)


def best(folder: Path) -> list[Best]:
    """The checkpoints that are kept for their score, the best first."""
    found = []
    for path in folder.glob("best-*.ckpt"):
        named = re.fullmatch(r"best-(\d{8,})-(nan|-?inf|-?[\d.]+(?:e[+-]\d+)?)", path.stem)
        if named is None or not path.is_file():  # somebody's copy
            continue
        step, value = named[1], float(named[2])
        found.append(Best(value if value == value else float("-inf"), int(step), path))  # noqa: PLR0124
    return sorted(found, key=lambda one: one.rank)[::-1]


def tensor_bytes(value: Any) -> int:
    """Bytes of the tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    return sum(map(tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def no_space(path: Path, needed: int, free: int) -> UserError:
    """The error for a disk that cannot take this many bytes."""
    return UserError(
        f"{path}: no space left on the disk: {needed:,} bytes needed, {free:,} free; free some or choose another "
        "folder (--runs), then start the same command again: what is done is kept"
    )


def find_checkpoint(runs: Path, run: str = "latest") -> Path:
    """The best checkpoint of a run by its name, or of the latest, for commands that name no checkpoint.

    Of a run that ended before its first validation it is the newest, as that is what its own scores are of.
    """
    path = runs / run / "checkpoints" / BEST
    folder = path.parents[1].resolve() / "checkpoints"  # a later run may take the link
    found = folder / BEST if path.is_file() else newest(folder)
    if found is None:
        raise UserError(f"no checkpoint at {path}; train first (fit), or give --ckpt_path FILE")
    return found


def run_of(checkpoint: Path) -> Path:
    """The run folder a checkpoint lies in."""
    return checkpoint.resolve().parents[1]


def _steps(folder: Path) -> list[Path]:
    """The checkpoints by step, the newest first."""
    named = [path for path in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d{8,}", path.stem) and path.is_file()]
    return sorted(named, reverse=True)
