"""Points of a sweep in W&B's format, read offline: no server, no account.

`fit --sweep FILE --point N` runs one; `python -m common.sweep FILE` lists them, for people and for array jobs.
"""

import argparse
import math
import re
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.parameters import Parameter, parameter, refuse_unknown, word

LARGEST = 1 << 20
"""Bytes of a sweep file; a larger one is refused unread."""

SHOWN = 10
"""Points that the command lists of an endless sweep."""

_IGNORED = ("program", "command", "project", "name", "metric", "description", "early_terminate", "entity")
_USED = ("method", "parameters", "seed", "run_cap")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Attributes:
        path: the file.
        method: "grid" or "random".
        parameters: by the name of their flag, in the file's order.
        seed: of a random search.
        cap: number of points at most; None for no such limit.
    """

    path: Path
    method: str
    parameters: Mapping[str, Parameter]
    seed: int
    cap: int | None

    @property
    def points(self) -> int | None:
        """Number of points; None for a random search without `run_cap`, which has no end."""
        if self.method == "random":
            return self.cap
        count = math.prod(each.count or 1 for each in self.parameters.values())
        return min(count, self.cap or count)

    def point(self, number: int) -> list[str]:
        """The flags of one point, such as ["--model.sigma=3.0"].

        Args:
            number: from 0. In a grid the last parameter of the file changes fastest; in a random search a value depends
                on the seed, this number and the parameter's name, and on nothing else.

        Raises:
            UserError: there is no such point.
        """
        if number < 0 or (self.points is not None and number >= self.points):
            last = "" if self.points is None else f" to {self.points - 1:,}, as it has {self.points:,} points"
            raise UserError(f"{self.path}: found point {number:,}, expected a number from 0{last}")
        values = self._grid(number) if self.method == "grid" else self._random(number)
        return [f"--{name}={word(value, f'{self.path}: {name}')}" for name, value in values.items()]

    def _grid(self, number: int) -> dict[str, Any]:
        chosen = {}
        for name, each in reversed(list(self.parameters.items())):
            number, place = divmod(number, each.count or 1)
            chosen[name] = each.pick(place)
        return {name: chosen[name] for name in self.parameters}

    def _random(self, number: int) -> dict[str, Any]:
        return {name: each.draw(_share(self.seed, number, name)) for name, each in self.parameters.items()}


def points(path: Path) -> int | None:
    """Number of points of a sweep; None where it has no end."""
    return read_sweep(path).points


def point(path: Path, number: int) -> list[str]:
    """The flags of point `number` of a sweep, from 0."""
    return read_sweep(path).point(number)


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep in W&B's format.

    Keys are `method` (grid or random), `parameters` (nested ones too), `run_cap` and, beyond W&B's, `seed`. What only
    W&B's server or agent uses is named once and ignored.

    Raises:
        UserError: the file is not such a sweep; file, key, what was found and what was expected.
    """
    content = _load(path)
    unknown = [str(key) for key in content if key not in _USED + _IGNORED]
    if unknown:
        raise UserError(f"{path}: unknown keys {', '.join(unknown)}; expected {', '.join(_USED)} (or W&B's own keys)")
    _say_ignored(path, tuple(key for key in content if key in _IGNORED))
    method = _method(path, content.get("method"))
    seed, cap = content.get("seed", 0), content.get("run_cap")
    if type(seed) is not int:
        raise UserError(f"{path}: seed: found {seed!r}, expected a whole number")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise UserError(f"{path}: run_cap: found {cap!r}, expected a whole number from 1")
    found = list(_parameters(content.get("parameters"), f"{path}: parameters", method == "grid"))
    names = Counter(name for name, _ in found)
    if len(names) < len(found):
        raise UserError(f"{path}: {names.most_common(1)[0][0]} is there nested and with dots; keep one")
    return Sweep(path, method, dict(found), seed=seed, cap=cap)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a sweep in W&B's format")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, expected a sweep of at most {LARGEST:,}")
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_doubled(path, yaml.compose(text, Loader=yaml.SafeLoader), set())
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {type(content).__name__}, expected keys such as method and parameters")
    return content


def _refuse_doubled(path: Path, node: yaml.Node | None, seen: set[int]) -> None:
    """YAML keeps the last of two equal keys without a word; and an alias, nested, makes a file of any size."""
    if node is None:  # an empty file
        return
    if id(node) in seen:
        raise UserError(f"{path}: line {node.start_mark.line + 1} is used again by an alias (*); write it out there")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _refuse_doubled(path, part, seen)
    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, part in node.value:
            if isinstance(key, yaml.ScalarNode) and keys[key.value] > 1:
                raise UserError(f"{path}: line {key.start_mark.line + 1}: key {key.value} is there twice; keep one")
            _refuse_doubled(path, part, seen)


def _method(path: Path, method: Any) -> str:
    if method == "bayes":
        raise UserError(
            f"{path}: method bayes chooses each point by the results of others, on W&B's server: use `wandb sweep`, or "
            "method grid or random here"
        )
    if method not in ("grid", "random"):
        raise UserError(f"{path}: method: found {method!r:.100}, expected grid or random")
    return str(method)


@cache
def _say_ignored(path: Path, keys: Sequence[str]) -> None:
    if keys:
        print(f"{path}: {', '.join(keys)}: only W&B's server and agent use them; ignored here", file=sys.stderr)


def _parameters(given: Any, where: str, grid: bool, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """The parameters by dotted name, those of nested `parameters` included."""
    if not isinstance(given, dict) or not given:
        raise UserError(f"{where}: found {given!r:.100}, expected parameters by name")
    for key, spec in given.items():
        name, here = f"{prefix}{key}", f"{where}.{key}"
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            raise UserError(f"{where}: found the name {key!r:.100}, expected a setting's, such as model.sigma")
        if not isinstance(spec, dict):
            raise UserError(f"{here}: found {spec!r:.100}, expected value: X, values: [X, Y], or min: X and max: Y")
        if "parameters" in spec:
            refuse_unknown(spec, {"parameters"}, here)
            yield from _parameters(spec["parameters"], f"{here}.parameters", grid, f"{name}.")
        else:
            yield name, parameter(spec, here, grid=grid)


def _share(seed: int, number: int, name: str) -> float:
    """A number above 0 and below 1 that depends on these three only, whatever the version of a library."""
    digest = blake2b(f"{seed} {number} {name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") // 4096 + 0.5) / 2**52


def main(words: Sequence[str] | None = None) -> None:
    """Lists the points of a sweep."""
    parser = argparse.ArgumentParser("python -m common.sweep", description="Lists the points of a sweep.")
    parser.add_argument("file", type=Path, help="sweep in W&B's format")
    parser.add_argument("point", type=int, nargs="?", help="show this one only, from 0")
    parser.add_argument("--count", action="store_true", help="print the number of points and nothing else")
    args = parser.parse_args(words)
    try:
        for line in _listing(read_sweep(args.file), args.point, args.count):
            print(line)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _listing(sweep: Sweep, number: int | None, count: bool) -> Iterator[str]:
    if number is not None:
        yield shlex.join(sweep.point(number))
        return
    total = sweep.points
    if count and total is None:
        raise UserError(f"{sweep.path}: a random search without run_cap has no end; set run_cap")
    if count:
        yield str(total)
        return
    yield f"{total:,} points: --array=0-{total - 1}" if total else f"points without end; the first {SHOWN} of them"
    for each in range(total or SHOWN):
        yield f"{each}: {shlex.join(sweep.point(each))}"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ends quietly in front of `| head`
    main()
