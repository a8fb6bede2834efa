"""The settings of a run, flat, and what may change while it goes on."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import UserError

ABSENT = "(absent)"

OWN = (
    "config",
    "run",
    "runs",
    "ckpt_path",
    "start_from",
    "allow",
    "sweep",
    "point",
    "weights_only",
    "verbose",
    "trainer.default_root_dir",
)
"""Options that say where and how to start, and are no part of what is run."""

CHANGEABLE = (
    "wandb",
    "save.*",
    "guard.*",
    "watch.*",
    "data.root",  # the same data in another place, such as a node's own disk; its size is compared
    "data.store",
    "data.num_workers",
    "data.workers",
    "data.cache",
    "data.cache_folder",
    "trainer.*",
)
"""May change from one start to the next, and take effect from then on. Data may move: its size is compared."""

FIXED = (
    "trainer.precision",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.accelerator",
    "trainer.strategy*",
    "trainer.accumulate_grad_batches",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.gradient_clip_*",
    "trainer.deterministic",
    "trainer.fast_dev_run",
)
"""Settings of the trainer that make another run of it."""


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """{"model": {"sigma": 2}} -> {"model.sigma": 2}; options of `OWN` are left out. Lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if f"{prefix}{key}" in OWN:
            continue
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs, by key: (before, now)."""
    keys = [key for key in {**before, **now} if before.get(key, ABSENT) != now.get(key, ABSENT)]
    return {key: (before.get(key, ABSENT), now.get(key, ABSENT)) for key in keys}


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], *, where: str) -> list[str]:
    """Lines that say what changed and takes effect.

    Args:
        before: flat settings of the run so far.
        now: those of this start.
        where: the checkpoint, for messages.

    Raises:
        UserError: something changed that would make it another run.
    """
    changed = changes(before, now)
    fixed = [key for key in changed if not _changeable(key)]
    if fixed:
        raise UserError(
            f"{where}: of a run with other settings:\n{_listed(changed, fixed)}\n"
            "give these as they were, or start a new run: --run NEW_NAME (with --start_from CHECKPOINT for its weights)"
        )
    return [f"changed, from here on: {line}" for line in _listed(changed, list(changed)).splitlines()]


def _changeable(key: str) -> bool:
    return _matches(key, CHANGEABLE) and not _matches(key, FIXED)


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _listed(changed: Mapping[str, tuple[Any, Any]], keys: Sequence[str]) -> str:
    return "\n".join(f"  {key}: {changed[key][0]!r} -> {changed[key][1]!r}" for key in keys)
