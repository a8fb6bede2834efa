import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from common.errors import UserError
from common.parameters import parameter, word

SHARES = (np.random.default_rng(5).permutation(4000) + 0.5) / 4000


def draws(spec: dict[str, Any]) -> list[Any]:
    draw = parameter(spec, "f: x", grid=False).draw
    return [draw(share) for share in SHARES.tolist()]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"min": 0.5, "max": 3.0}, stats.uniform(0.5, 2.5)),
        ({"distribution": "uniform", "min": -1, "max": 3}, stats.uniform(-1, 4)),
        ({"distribution": "log_uniform", "min": -3, "max": 2}, stats.loguniform(math.exp(-3), math.exp(2))),
        ({"distribution": "log_uniform_values", "min": "1e-5", "max": 0.1}, stats.loguniform(1e-5, 0.1)),
        ({"distribution": "inv_log_uniform", "min": -3, "max": 2}, stats.loguniform(math.exp(-2), math.exp(3))),
        ({"distribution": "inv_log_uniform_values", "min": 0.2, "max": 7.0}, stats.loguniform(0.2, 7.0)),
        ({"distribution": "normal"}, stats.norm()),
        ({"distribution": "normal", "mu": 5, "sigma": 0.25}, stats.norm(5, 0.25)),
        ({"distribution": "log_normal", "mu": 1.5, "sigma": 0.5}, stats.lognorm(s=0.5, scale=math.exp(1.5))),
        ({"distribution": "beta", "a": 2, "b": 3.5}, stats.beta(2, 3.5)),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_smooth_distributions_are_those_of_scipy(spec: dict[str, Any], expected: Any) -> None:
    found = draws(spec)
    assert stats.kstest(found, expected.cdf).statistic < 1e-3  # of an evenly spaced sample of 4,000: 1 / 8,000
    np.testing.assert_allclose(found, expected.ppf(SHARES), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "smooth"),
    [
        ({"distribution": "q_uniform", "min": 0, "max": 100, "q": 8}, stats.uniform(0, 100)),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1}, stats.uniform(0, 1)),
        ({"distribution": "q_log_uniform", "min": 0, "max": 5}, stats.loguniform(1, math.exp(5))),
        ({"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8}, stats.loguniform(8, 512)),
        ({"distribution": "q_normal", "sigma": 20, "q": 0.5}, stats.norm(0, 20)),
        ({"distribution": "q_log_normal", "mu": 3}, stats.lognorm(s=1, scale=math.exp(3))),
        ({"distribution": "q_beta", "q": 0.05}, stats.uniform(0, 1)),
    ],
    ids=lambda value: value["distribution"] if isinstance(value, dict) else "",
)
def test_quantized_distributions_are_multiples_of_q(spec: dict[str, Any], smooth: Any) -> None:
    q = spec.get("q", 1)
    found = draws(spec)
    np.testing.assert_allclose(found, np.round(smooth.ppf(SHARES) / q) * q, rtol=1e-9, atol=1e-12)
    assert {type(value) for value in found} == {type(q)}
    assert all(len(repr(abs(value))) <= 6 for value in found)  # 0.3 and not 0.30000000000000004


def test_whole_numbers_are_equally_frequent_with_both_ends() -> None:
    values, counts = np.unique(draws({"min": 3, "max": 10}), return_counts=True)
    assert (values.tolist(), counts.tolist()) == (list(range(3, 11)), [500] * 8)
    draw = parameter({"distribution": "int_uniform", "min": 0, "max": 2**60}, "f: x", grid=False).draw
    assert (draw(2.0**-53), draw(1 - 2.0**-53)) == (128, 2**60 - 128)


def test_choices_have_their_probabilities() -> None:
    found = draws({"values": ["a", None, 2], "probabilities": [0.25, 0, 0.75]})
    assert (found.count("a"), found.count(None), found.count(2)) == (1000, 0, 3000)
    spec = {"distribution": "categorical_w_probabilities", "values": [1, 2], "probabilities": [1, 0]}
    assert set(draws(spec)) == {1}
    even = draws({"distribution": "categorical", "values": ["a", "b"]})
    assert (even.count("a"), even.count("b")) == (2000, 2000)
    assert set(draws({"value": "x"})) == set(draws({"distribution": "constant", "value": "x"})) == {"x"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"value": None}, [None]),
        ({"values": [3, "a", [1]]}, [3, "a", [1]]),
        ({"min": -1, "max": 2}, [-1, 0, 1, 2]),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, [0, 0.25, 0.5, 0.75]),  # as at W&B
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.45, "q": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"distribution": "q_uniform", "min": 16, "max": 40, "q": 8}, [16, 24, 32]),
    ],
)
def test_a_grid_visits_each_value(spec: dict[str, Any], expected: list[Any]) -> None:
    found = parameter(spec, "f: x", grid=True)
    assert found.count == len(expected)
    assert [found.pick(number) for number in range(len(expected))] == expected


def test_a_large_grid_takes_no_memory() -> None:
    found = parameter({"min": 0, "max": 10**15}, "f: x", grid=True)
    assert (found.count, found.pick(10**15)) == (10**15 + 1, 10**15)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "found {}, expected value, values, distribution, or min and max"),
        ({"min": 3}, "expected value, values, distribution, or min and max"),
        ({"value": 3, "min": 1}, "unknown keys min; expected value"),
        ({"distribution": "poisson", "mu": 1}, "distribution: found 'poisson', expected one of constant, categorical"),
        ({"distribution": ["normal"]}, r"distribution: found \['normal'\]"),
        ({"distribution": "constant"}, "a constant without its value"),
        ({"distribution": "constant", "values": [1]}, "a constant without its value"),
        ({"distribution": "normal", "min": 1}, "unknown keys min; expected mu, sigma"),
        ({"distribution": "uniform", "min": 0}, "max: found None, expected a number"),
        ({"min": 2.0, "max": 1.0}, r"found min 2.0 and max 1.0, expected min below max"),
        ({"min": 1, "max": 1}, "expected min below max"),
        ({"min": "a", "max": 1}, "min: found 'a', expected a number"),
        ({"min": True, "max": 1}, "min: found True"),
        ({"min": 0.0, "max": math.inf}, "max: found inf"),
        ({"min": math.nan, "max": 1.0}, "min: found nan"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "whole min and max"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 2}, "min: found 0, expected more than 0"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, "log_uniform_values the bounds"),
        ({"distribution": "normal", "sigma": -1}, "sigma: found -1, expected 0 or more"),
        ({"distribution": "beta", "a": 0}, "a: found 0, expected more than 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q: found 0, expected more than 0"),
        ({"min": 0, "max": 10**400}, "too large for a number"),
        ({"values": []}, r"values: found \[\], expected a list"),
        ({"values": "abc"}, "values: found 'abc', expected a list"),
        ({"values": [1, math.nan]}, "found nan, expected text, numbers"),
        ({"values": [1, {2, 3}]}, "expected text, numbers, true"),
        ({"values": [1, 2], "probabilities": [1]}, r"probabilities: found \[1\], expected 2 numbers"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "with sum 1"),
        ({"values": [1, 2], "probabilities": [-0.5, 1.5]}, "2 numbers from 0"),
        ({"values": [1, 2], "probabilities": "half"}, "found 'half'"),
    ],
)
def test_mistakes_are_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"^f: x.*{message}"):
        parameter(spec, "f: x", grid=False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"min": 0.0, "max": 1.0}, "uniform has no end of values, and a grid visits each"),
        ({"distribution": "q_normal"}, "q_normal has no end"),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]}, "probabilities have no meaning in a grid"),
    ],
)
def test_what_a_grid_cannot_visit_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parameter(spec, "f: x", grid=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a b", "a b"),
        ("null", "null"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (3.0, "3.0"),
        (1e-5, "1e-05"),
        ([1, "é", None], '[1, "é", null]'),
        ({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
         '{"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}'),
    ],
)  # fmt: skip
def test_words_of_the_command_line(value: Any, expected: str) -> None:
    assert word(value, "f") == expected


def test_words_are_parsed_back(parse: Callable[[str], Any]) -> None:
    for value in (None, True, 3, 3.5, 1e-5, 1e20, [1, "a", None], {"a": {"b": [1e-7]}}):
        assert parse(word(value, "f")) == value


@pytest.fixture
def parse() -> Callable[[str], Any]:
    """What the command line makes of a word."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("--x", type=Any)
    return lambda text: parser.parse_args([f"--x={text}"]).x
