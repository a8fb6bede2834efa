import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from common import sweep
from common.errors import UserError
from common.sweep import main, point, points, read_sweep

EXAMPLE = Path(__file__).resolve().parents[2] / "projects" / "ball" / "configs" / "sweeps" / "sigma.yaml"

GRID = """
program: train.py
method: grid
metric: {name: val/f1, goal: maximize}
parameters:
  model.sigma: {values: [2.0, 3]}
  data:
    parameters:
      batch_size: {value: 8}
      augment:
        parameters: {gain: {values: [null, [1, 0.5]]}}
  note: {values: [a b, true]}
"""

RANDOM = """
method: random
seed: 7
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}
  width: {min: 8, max: 64}
  name: {values: [a, b, c]}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    sweep._say_ignored.cache_clear()
    return written


def test_the_last_parameter_of_a_grid_changes_fastest(write: Callable[[str], Path]) -> None:
    path = write(GRID)
    assert points(path) == 8
    rest = [
        ["--data.augment.gain=null", "--note=a b"],
        ["--data.augment.gain=null", "--note=true"],
        ["--data.augment.gain=[1, 0.5]", "--note=a b"],
        ["--data.augment.gain=[1, 0.5]", "--note=true"],
    ]
    expected = [[f"--model.sigma={sigma}", "--data.batch_size=8", *flags] for sigma in ("2.0", "3") for flags in rest]
    assert [point(path, number) for number in range(8)] == expected


def test_what_only_wandb_uses_is_said_once(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = write(GRID)
    for number in range(3):
        point(path, number)
    assert capsys.readouterr().err == (
        f"{path}: program, metric: only W&B's server and agent use them; ignored here\n"
    )  # fmt: skip


@pytest.mark.parametrize("number", [-1, 8, 10**20])
def test_a_point_that_is_not_there(write: Callable[[str], Path], number: int) -> None:
    with pytest.raises(UserError, match=f"found point {number:,}, expected a number from 0 to 7, as it has 8 points"):
        point(write(GRID), number)


def test_run_cap_ends_a_sweep(write: Callable[[str], Path]) -> None:
    path = write(GRID + "run_cap: 3\n")
    assert points(path) == 3
    with pytest.raises(UserError, match="it has 3 points"):
        point(path, 3)
    assert points(write(GRID + "run_cap: 30\n")) == 8
    assert points(write(RANDOM + "run_cap: 30\n")) == 30
    endless = write(RANDOM)
    assert points(endless) is None
    assert len(point(endless, 10**12)) == 3
    with pytest.raises(UserError, match=r"found point -1, expected a number from 0$"):
        point(endless, -1)


def test_a_random_point_is_a_function_of_seed_number_and_name(write: Callable[[str], Path]) -> None:
    first = [point(write(RANDOM), number) for number in range(3)]
    assert [flags[1:] for flags in first] == [
        ["--width=40", "--name=b"],
        ["--width=44", "--name=b"],
        ["--width=42", "--name=c"],
    ]
    rates = [float(flags[0].removeprefix("--lr=")) for flags in first]
    assert rates == pytest.approx([0.002679659759655458, 0.0072531154710388235, 0.04153725150149968])
    reordered = RANDOM.replace("  width: {min: 8, max: 64}\n", "") + "  new: {min: 0.0, max: 1.0}\n"
    lr, name, _ = point(write(reordered), 2)
    assert [lr, name] == [first[2][0], first[2][2]]
    assert point(write(RANDOM.replace("seed: 7", "seed: 8")), 0) != first[0]
    default, zero = (point(write(RANDOM.replace("seed: 7\n", line)), 0) for line in ("", "seed: 0\n"))
    assert default == zero


def test_random_points_are_spread_and_independent(write: Callable[[str], Path]) -> None:
    found = read_sweep(write("method: random\nparameters: {a: {min: 0.0, max: 1.0}, b: {min: 0.0, max: 1.0}}"))
    pairs = [[float(flag.partition("=")[2]) for flag in found.point(number)] for number in range(3000)]
    a, b = zip(*pairs, strict=True)
    assert stats.kstest(a, "uniform").pvalue > 0.01
    assert stats.kstest(b, "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(a, b).statistic) < 0.05
    assert abs(stats.pearsonr(a[1:], a[:-1]).statistic) < 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found NoneType, expected keys such as method"),
        ("- 1", "found list, expected keys"),
        ("a: [", "not a YAML file"),
        ("a: 2020-99-99", "not a YAML file"),
        ("x: " + "[" * 1000, "not a YAML file"),
        ("a: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("method: bayes\nparameters: {a: {value: 1}}", "method bayes .* on W&B's server: use `wandb sweep`"),
        ("method: custom", "method: found 'custom', expected grid or random"),
        ("parameters: {a: {value: 1}}", "method: found None, expected grid or random"),
        ("method: grid\nparamters: {}\n1: 2", "unknown keys paramters, 1; expected method, parameters, seed, run_cap"),
        ("method: grid", "parameters: found None, expected parameters by name"),
        ("method: grid\nparameters: {}", "parameters: found {}, expected parameters by name"),
        ("method: grid\nparameters: [a]", r"parameters: found \['a'\]"),
        ("method: grid\nparameters: {a: 3}", "parameters.a: found 3, expected value: X, values"),
        ("method: grid\nparameters: {a b: {value: 3}}", "found the name 'a b', expected a setting's"),
        ("method: grid\nparameters: {1: {value: 3}}", "found the name 1, expected"),
        ("method: grid\nparameters: {a: {values: [1], vales: 2}}", "parameters.a: unknown keys vales"),
        ("method: grid\nparameters: {a: {parameters: {b: {value: 1}}, value: 3}}", "parameters.a: unknown keys value"),
        ("method: grid\nparameters: {a: {parameters: {b: 1}}}", "parameters.a.parameters.b: found 1"),
        ("method: grid\nparameters: {a.b: {value: 1}, a: {parameters: {b: {value: 2}}}}", "a.b is there nested and"),
        ("method: grid\nparameters:\n  a: {value: 1}\n  a: {value: 2}", "line 4: key a is there twice|line 3: key a"),
        ("method: grid\nparameters: {a: &x {value: 1}, b: *x}", "line 2 is used again by an alias"),
        ("method: grid\nparameters: &x {a: {parameters: *x}}", "line 2 is used again by an alias"),
        ("method: grid\nparameters: {a: {min: 0.0, max: 1.0}}", "uniform has no end of values"),
        ("method: grid\nparameters: {a: {value: 2020-01-01}}", "parameters.a: found datetime.date"),
        ("method: random\nseed: a\nparameters: {a: {value: 1}}", "seed: found 'a', expected a whole number"),
        ("method: random\nrun_cap: 0\nparameters: {a: {value: 1}}", "run_cap: found 0, expected a whole number from 1"),
        ("method: random\nrun_cap: true\nparameters: {a: {value: 1}}", "run_cap: found True"),
    ],
)
def test_mistakes_in_a_file_are_named(write: Callable[[str], Path], text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(UserError, match=rf"(?s)^{re.escape(str(path))}.*({message})"):
        read_sweep(path)


def test_files_that_are_no_sweeps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        points(tmp_path / "none.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (sweep.LARGEST + 1))
    with pytest.raises(UserError, match="1,048,577 bytes, expected a sweep of at most 1,048,576"):
        points(tmp_path / "large.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not a YAML file"):
        points(tmp_path / "binary.yaml")


def test_the_command_lists_points(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(GRID))
    main([path])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "8 points: --array=0-7",
        "0: --model.sigma=2.0 --data.batch_size=8 --data.augment.gain=null '--note=a b'",
    ]
    assert len(lines) == 9
    main([path, "5"])
    assert capsys.readouterr().out == "--model.sigma=3 --data.batch_size=8 --data.augment.gain=null --note=true\n"
    main([path, "--count"])
    assert capsys.readouterr().out == "8\n"
    with pytest.raises(SystemExit, match="2"):
        main([path, "8"])
    assert "error: " in capsys.readouterr().err


def test_the_command_lists_the_start_of_an_endless_sweep(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(RANDOM))
    main([path])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "points without end; the first 10 of them"
    assert len(lines) == 11
    with pytest.raises(SystemExit, match="2"):
        main([path, "--count"])
    assert "random search without run_cap has no end" in capsys.readouterr().err


def test_the_example_lists_its_points() -> None:
    opening = f"# python -m projects.ball.train fit --sweep {EXAMPLE.relative_to(EXAMPLE.parents[4])} --point 0\n"
    assert EXAMPLE.read_text().startswith(opening)
    assert points(EXAMPLE) == 6
    assert point(EXAMPLE, 0) == ["--model.sigma=1.5", "--seed_everything=0"]
    assert point(EXAMPLE, 5) == ["--model.sigma=3.0", "--seed_everything=1"]


def test_the_example_runs(ball_command: Callable[..., None]) -> None:
    ball_command("fit", *point(EXAMPLE, 5), "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu",
                 "--trainer.precision", "32-true", "--trainer.devices", "1", "--data.batch_size", "2",
                 "--data.test_videos", "[]")  # fmt: skip
