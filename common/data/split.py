"""Names -> train, val and test, so that what belongs together is never parted: pure, seeded."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath

from common.data.filelists import SPLITS
from common.errors import UserError

PRODUCTS = re.compile(
    r"(S2[A-D])_MSIL\d[A-C]_(\d{8}T\d{6})_N\d{4}_(R\d{3})_(T\d{2}[A-Z]{3})(?![A-Za-z0-9])"  # Sentinel-2
    r"|(L[COTEM]\d\d)_L\w{3}_(\d{6})_(\d{8})(?!\d)"  # Landsat, collections 1 and 2
)
"""The start of a product id: who saw what, when. Level and processing are left out: the picture is the same."""

_ORDERS = 16  # tried, as whole groups seldom meet the shares at once


@dataclass(frozen=True)
class Split:
    """Which names are for what.

    Attributes:
        names: sorted, by "train", "val" and "test".
        groups: how many, by the same.
        note: what to know of it, if there is something to know.
    """

    names: dict[str, tuple[str, ...]]
    groups: dict[str, int]
    note: str = ""


def group_of(name: str, pattern: str | None = None) -> str:
    """The group of a file: of two with the same, one must not judge what was learned from the other.

    That is what the regular expression finds in the name without suffix, its first group if it has one; else the
    Sentinel-2 or Landsat product that the name starts with; else the name without suffix.
    """
    stem = PurePath(name).stem
    own = re.search(pattern, stem) if pattern is not None else None
    if own is not None:
        return (own[1] if own.re.groups else None) or own[0]
    product = PRODUCTS.match(stem)
    return "_".join(filter(None, product.groups())) if product is not None else stem


def split_names(
    names: Iterable[str], *, seed: int, val: float = 0.15, test: float = 0.15, pattern: str | None = None
) -> Split:
    """Divides names at random; the same for the same names in any order.

    Every split with a share has a group where there are groups enough; of two, one is for training and one for test.

    Args:
        names: of files.
        seed: another gives another division.
        val: share of the names for validation, about.
        test: share of the names for test, about.
        pattern: see `group_of`.

    Raises:
        UserError: no names, shares that leave nothing, or a pattern that is none or finds nothing.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise UserError(f"val, test: found {val} and {test}, expected shares from 0, below 1 together")
    groups = _groups(names, pattern)
    counts = {group: len(members) for group, members in groups.items()}
    shares = {split: share for split, share in (("val", val), ("test", test)) if share > 0}
    held = list(shares)[max(len(shares) + 1 - len(groups), 0) :]
    targets = {split: shares[split] * sum(counts.values()) for split in held}
    tries = [_divide(_shuffled(counts, (seed, order)), counts, targets) for order in range(_ORDERS)]
    best = min(tries, key=lambda parts: _distance(parts, counts, targets))
    members = {split: sorted(name for group in best.get(split, ()) for name in groups[group]) for split in SPLITS}
    return Split(
        {split: tuple(found) for split, found in members.items()},
        {split: len(best.get(split, ())) for split in SPLITS},
        _note(len(groups), [split for split in shares if split not in held]),
    )


def _groups(names: Iterable[str], pattern: str | None) -> dict[str, list[str]]:
    found = sorted(set(names))
    if not found:
        raise UserError("no names to split; check the folder")
    try:
        matched = pattern is None or any(re.search(pattern, PurePath(name).stem) for name in found)
    except re.error as error:
        raise UserError(f"group: found {pattern!r}, expected a regular expression ({error}); mend it") from error
    if not matched:
        raise UserError(f"group: {pattern!r} is found in none of {len(found)} names such as {found[0]!r}; mend it")
    groups: dict[str, list[str]] = defaultdict(list)
    for name in found:
        groups[group_of(name, pattern)].append(name)
    return groups


def _shuffled(groups: Iterable[str], seed: tuple[int, int]) -> list[str]:
    """By a hash: the same on every machine and in every version of Python."""
    return sorted(groups, key=lambda group: blake2b(repr((seed, group)).encode(), digest_size=8).digest())


def _divide(order: Sequence[str], counts: Mapping[str, int], targets: Mapping[str, float]) -> dict[str, list[str]]:
    """Takes groups in this order for each target, passing over those too large for it; the rest is for training.

    Each part gets one at least, the smallest if all are too large.
    """
    left, parts = list(order), {}
    for number, (split, target) in enumerate(targets.items()):
        part = [next((group for group in left if counts[group] / 2 <= target), min(left, key=counts.__getitem__))]
        have, spare = (
            counts[part[0]],
            len(left) - 1 - (len(targets) - number),
        )  # one for each part to come, and training
        for group in left:
            if len(part) <= spare and group != part[0] and have + counts[group] / 2 <= target:
                part.append(group)
                have += counts[group]
        parts[split], taken = part, set(part)
        left = [group for group in left if group not in taken]
    return {"train": left, **parts}


def _distance(parts: Mapping[str, Sequence[str]], counts: Mapping[str, int], targets: Mapping[str, float]) -> float:
    return sum((abs(sum(counts[group] for group in parts[split]) - target) for split, target in targets.items()), 0.0)


def _note(groups: int, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    return (
        f"{groups} group{'s' if groups > 1 else ''} of scenes: nothing for {' and '.join(missing)}; add scenes, or say "
        "with another regular expression what belongs together"
    )
