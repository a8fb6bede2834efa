"""One parameter of a sweep: its values in a grid, its W&B distribution in a random search.

After "Sweep configuration options" in W&B's documentation and the schema of its `sweeps` package.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from scipy.special import betaincinv

from common.errors import UserError

_Number = int | float  # a whole number stays one
_Numbers = Mapping[str, _Number]
"""min, max, mu, sigma, a, b, q by name."""

_BOUNDS = {"min": None, "max": None}  # None: must be given
_NORMAL = {"mu": 0, "sigma": 1}
_BETA = {"a": 1, "b": 1}


@dataclass(frozen=True)
class Parameter:
    """How a parameter gets its value.

    Attributes:
        draw: the value at a share between 0 and 1, for a random search.
        count: of the values that a grid visits; None where a grid cannot.
        pick: the value of a grid by its number.
    """

    draw: Callable[[float], Any]
    count: int | None
    pick: Callable[[int], Any]


def _between(share: float, low: _Number, high: _Number) -> float:
    return low + share * (high - low)


def _log_uniform_values(share: float, given: _Numbers) -> float:
    return math.exp(_between(share, math.log(given["min"]), math.log(given["max"])))


def _normal(share: float, given: _Numbers) -> float:
    return given["mu"] + given["sigma"] * NormalDist().inv_cdf(share)


_SMOOTH: dict[str, tuple[Mapping[str, _Number | None], Callable[[float, _Numbers], _Number]]] = {
    "uniform": (_BOUNDS, lambda share, given: _between(share, given["min"], given["max"])),
    "log_uniform": (_BOUNDS, lambda share, given: math.exp(_between(share, given["min"], given["max"]))),
    "log_uniform_values": (_BOUNDS, _log_uniform_values),
    "inv_log_uniform": (_BOUNDS, lambda share, given: math.exp(-_between(1 - share, given["min"], given["max"]))),
    "inv_log_uniform_values": (_BOUNDS, _log_uniform_values),  # log(1/X) is uniform where log(X) is
    "normal": (_NORMAL, _normal),
    "log_normal": (_NORMAL, lambda share, given: math.exp(_normal(share, given))),
    "beta": (_BETA, lambda share, given: float(betaincinv(given["a"], given["b"], share))),
}
_SMALLEST = 2.0**-53
_CATEGORICAL = ("categorical", "categorical_w_probabilities")
_QUANTIZED = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal", "beta")

_NUMBERS: dict[str, Mapping[str, _Number | None]] = {
    "int_uniform": _BOUNDS,
    **{name: keys for name, (keys, _) in _SMOOTH.items()},
    **{f"q_{name}": {**_SMOOTH[name][0], "q": 1} for name in _QUANTIZED},
}
"""The numbers that each distribution takes, with their defaults; None where they must be given."""


def parameter(spec: Mapping[str, Any], where: str, *, grid: bool) -> Parameter:
    """A parameter from what a sweep's file says of it.

    Args:
        spec: `value`; `values`, with `probabilities` or without; or a `distribution` and its numbers.
        where: file and key, for messages.
        grid: whether a grid visits it, which needs an end of values.

    Raises:
        UserError: a key, a distribution or a number that W&B does not know or that makes no sense.
    """
    distribution = _distribution(spec, where)
    if distribution == "constant":
        refuse_unknown(spec, {"value"}, where)
        return _choice([spec["value"]], None, where)
    if distribution in _CATEGORICAL:
        refuse_unknown(spec, {"values", "probabilities"}, where)
        if grid and "probabilities" in spec:
            raise UserError(f"{where}: probabilities have no meaning in a grid; leave them out, or use method random")
        return _choice(spec.get("values"), spec.get("probabilities"), where)
    refuse_unknown(spec, set(_NUMBERS[distribution]), where)
    numbers = _numbers(spec, _NUMBERS[distribution], where)
    _check(distribution, numbers, where)
    steps = _grid_of(distribution, numbers)
    if grid and steps is None:
        raise UserError(f"{where}: {distribution} has no end of values, and a grid visits each; give values: [X, Y]")
    count, pick = steps or (None, float)
    return Parameter(lambda share: _quantile(distribution, share, numbers), count, pick)


def _distribution(spec: Mapping[str, Any], where: str) -> str:
    """The distribution given, or the one that W&B takes for such keys."""
    implied = {"value": "constant", "values": "categorical"}
    whole = all(type(spec.get(key)) is int for key in ("min", "max"))
    found = next((name for key, name in implied.items() if key in spec), "int_uniform" if whole else "uniform")
    if "distribution" not in spec and found == "uniform" and not {"min", "max"} <= spec.keys():
        raise UserError(f"{where}: found {dict(spec)!r:.100}, expected value, values, distribution, or min and max")
    distribution = spec.get("distribution", found)
    known = ("constant", *_CATEGORICAL, *_NUMBERS)
    if distribution not in known:
        raise UserError(f"{where}.distribution: found {distribution!r:.100}, expected one of {', '.join(known)}")
    if distribution == "constant" and "value" not in spec:
        raise UserError(f"{where}: a constant without its value")
    return str(distribution)


def _choice(values: Any, probabilities: Any, where: str) -> Parameter:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}.values: found {values!r:.100}, expected a list with at least one value")
    for value in values:
        word(value, where)
    if probabilities is None:
        return Parameter(lambda share: values[int(share * len(values))], len(values), values.__getitem__)
    numbers = probabilities if isinstance(probabilities, list) else []
    numeric = all(type(number) in (int, float) and number >= 0 for number in numbers)
    if len(numbers) != len(values) or not numeric or not math.isclose(sum(numbers), 1, rel_tol=1e-6):
        raise UserError(
            f"{where}.probabilities: found {probabilities!r:.100}, expected {len(values)} numbers from 0 with sum 1"
        )
    sums = list(accumulate(numbers))
    return Parameter(lambda share: values[bisect_right(sums, share * sums[-1])], len(values), values.__getitem__)


def _numbers(spec: Mapping[str, Any], defaults: Mapping[str, _Number | None], where: str) -> dict[str, _Number]:
    found = {}
    for key, default in defaults.items():
        value = spec.get(key, default)
        if isinstance(value, str):  # YAML takes 1e-5, without a point, for text
            with suppress(ValueError):
                value = float(value)
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise UserError(f"{where}.{key}: found {value!r:.100}, expected a number")
        found[key] = value
    return found


def refuse_unknown(spec: Mapping[str, Any], known: Set[str], where: str) -> None:
    """Refuses keys other than the known ones and `distribution`."""
    unknown = [str(key) for key in spec if key not in known | {"distribution"}]
    if unknown:
        raise UserError(f"{where}: unknown keys {', '.join(unknown)}; expected {', '.join(sorted(known))}")


def word(value: Any, where: str) -> str:
    """A value as the command line takes it: text as it is, else JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where}: found {value!r:.100}, expected text, numbers, true, false, null, or lists and keys of these"
        ) from error


def _check(distribution: str, given: _Numbers, where: str) -> None:
    """Refuses numbers that the distribution cannot have.

    Args:
        distribution: one of `_NUMBERS`.
        given: all its numbers.
        where: file and key, for the message.
    """
    if distribution == "int_uniform" and not all(isinstance(value, int) for value in given.values()):
        raise UserError(f"{where}: found {dict(given)}, expected whole min and max for int_uniform")
    if "min" in given and given["min"] >= given["max"]:
        raise UserError(f"{where}: found min {given['min']} and max {given['max']}, expected min below max")
    positive = [key for key in ("a", "b", "q", *(["min"] if distribution.endswith("_values") else ())) if key in given]
    for key in positive:
        if given[key] <= 0:
            raise UserError(f"{where}.{key}: found {given[key]}, expected more than 0 for {distribution}")
    if given.get("sigma", 0) < 0:
        raise UserError(f"{where}.sigma: found {given['sigma']}, expected 0 or more")
    try:
        _quantile(distribution, _SMALLEST, given), _quantile(distribution, 1 - _SMALLEST, given)
    except OverflowError as error:
        raise UserError(
            f"{where}: {distribution} of {dict(given)} has values too large for a number; log_uniform takes the "
            "logarithms of its bounds, log_uniform_values the bounds"
        ) from error


def _quantile(distribution: str, share: float, given: _Numbers) -> _Number:
    """The value below which this share of a distribution lies; whole numbers where `q` is whole.

    Args:
        distribution: one of `_NUMBERS`.
        share: above 0, below 1.
        given: its numbers, as `_check` lets them pass.
    """
    if distribution == "int_uniform":
        low, high = int(given["min"]), int(given["max"])
        return min(low + int(share * (high - low + 1)), high)
    if not distribution.startswith("q_"):
        return _SMOOTH[distribution][1](share, given)
    step = given["q"]
    return _multiple(round(_quantile(distribution[2:], share, given) / step), step)


def _multiple(times: int, step: _Number, start: _Number = 0) -> _Number:
    """start + times * step, as one writes it in decimals; whole where both are."""
    value = Decimal(repr(start)) + times * Decimal(repr(step))
    return int(value) if isinstance(step, int) and isinstance(start, int) else float(value)


def _grid_of(distribution: str, given: _Numbers) -> tuple[int, Callable[[int], Any]] | None:
    """How many values a grid visits and which, or None for a distribution without a grid.

    As at W&B, `q_uniform` goes from `min` in steps of `q` and ends before `max`; `int_uniform` includes it.
    """
    low, high = given.get("min", 0), given.get("max", 0)
    if distribution == "int_uniform":
        return int(high) - int(low) + 1, lambda number: int(low) + number
    if distribution == "q_uniform":
        step = given["q"]
        count = math.ceil((Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step)))
        return count, lambda number: _multiple(number, step, low)
    return None
