"""A file's task chooses among what is installed, and nothing else; a session's faults are the user's."""

import importlib.metadata
import json
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from common.errors import UserError
from common.export import scenes, tasks
from common.export.__main__ import main
from common.export.runner import Runner
from common.export.session import Session

HALVES = Runner(
    about="halves",
    files="numbers",
    add_arguments=lambda parser: parser.add_argument("--times", type=int, default=1),
    run=lambda session, options: print(
        session(np.full((1, 2), 8.0, np.float32), ["half"])[0].sum() * options.times, *options.files, options.batch
    ),
)
NO_RUNNER = "a text"


def network(path: Path, *, inputs: int = 1, **metadata: str) -> Path:
    """Halves (n, 2) numbers."""
    names = ["x", "y"][:inputs]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in names]
    half = helper.make_tensor_value_info("half", TensorProto.FLOAT, ["n", 2])
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph([helper.make_node("Div", ["x", "two"], ["half"])], "halves", values, [half], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages are installed: one halves, one is broken; two more offer what is no runner."""
    here = "tests.common.export.test_tasks"
    places = {"halving": f"{here}:HALVES", "gone": "no_such_package.runner:RUNNER", "text": f"{here}:NO_RUNNER",
              "moved": f"{here}:NOT_THERE"}  # fmt: skip

    def entry_points(*, group: str) -> EntryPoints:
        assert group == "dense_prediction_lab.runners"
        return EntryPoints(EntryPoint(name, place, group) for name, place in places.items())

    monkeypatch.setattr(tasks, "entry_points", entry_points)


def test_a_file_without_a_task_is_a_segmentation_network(tmp_path: Path) -> None:
    assert tasks.find_runner(Session(network(tmp_path / "net.onnx"))) is scenes.RUNNER
    said = network(tmp_path / "net.onnx", task='"segmentation"')
    assert tasks.find_runner(Session(said)) is scenes.RUNNER


def test_this_package_offers_the_pose() -> None:
    entries = importlib.metadata.entry_points(group=tasks.GROUP)
    assert {entry.name: entry.value for entry in entries} == {"pose": "projects.pose.runner:RUNNER"}


def test_the_command_runs_what_is_offered(offered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network(tmp_path / "net.onnx", task='"halving"')
    main(["run", str(path), "a", "b", "--times", "3"])
    main(["run", "--batch", "7", str(path), "a"])
    assert capsys.readouterr().out == "24.0 a b 4\n8.0 a 7\n"


def test_help_lists_what_the_networks_task_knows(
    offered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--help"], ["run", "-h"], ["run", str(network(tmp_path / "net.onnx", task='"halving"')), "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert "--threads" in said
        assert ("--times" in said and "halves" in said) == (len(words) == 3)


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, words)])
    found = capsys.readouterr()
    assert (stopped.value.code, found.out, found.err.count("\n")) == (2, "", 1)
    return found.err


def test_mistakes_in_words_are_one_line(offered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network(tmp_path / "net.onnx", task='"halving"')
    assert "found nothing; expected python -m common.export run NETWORK FILE" in error(capsys)
    assert "found walk; expected" in error(capsys, "walk", path)
    assert "the following arguments are required: network, file" in error(capsys, "run")
    assert "the following arguments are required: file" in error(capsys, "run", path)
    assert "unrecognized arguments: --probability" in error(capsys, "run", path, "a", "--probability")
    assert "unrecognized arguments: --time 4" in error(capsys, "run", path, "a", "--time", 4)
    assert "argument --times: invalid int value: 'x'" in error(capsys, "run", path, "a", "--times", "x")
    assert "argument --batch: found 0; expected a whole number, 1" in error(capsys, "run", path, "a", "--batch", 0)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ('"flying"', "its task is 'flying'; expected one that is installed here: gone, halving, moved, segmentation"),
        ('"os:system"', "its task is 'os:system'; expected one that is installed here"),
        ('"tests.common.export.test_tasks:HALVES"', "expected one that is installed here"),
        (json.dumps("x" * 10_000), "expected one that is installed here"),
        ('"gone"', "no_such_package.runner:RUNNER, which runs the task 'gone', cannot be imported: No module named"),
        ('"moved"', "cannot be imported: module 'tests.common.export.test_tasks' has no attribute 'NOT_THERE'"),
        ('"text"', "test_tasks:NO_RUNNER: found str in the group dense_prediction_lab.runners; expected a Runner"),
        ("[]", "'task' in its metadata is []; expected the name of a task"),
        ("halving", "'task' in its metadata is halving; expected the name of a task"),
    ],
)  # fmt: skip
def test_nothing_else_is_imported(
    offered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, said: str
) -> None:
    before = set(sys.modules)
    assert said in (line := error(capsys, "run", network(tmp_path / "net.onnx", task=task), "a"))
    assert len(line) < 500 + len(str(tmp_path))
    assert set(sys.modules) == before


def test_a_session_says_what_the_file_holds_and_runs_it(tmp_path: Path) -> None:
    session = Session(network(tmp_path / "net.onnx", note="ü"), threads=1)
    assert (session.metadata, session.shape, session.outputs) == ({"note": "ü"}, ["n", 2], {"half": ["n", 2]})
    (half,) = session(np.array([[3, 5]], np.float32), ["half"])
    assert half.tolist() == [[1.5, 2.5]]


def test_a_sessions_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    path = network(tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"absent\.onnx: no such file; expected an ONNX file"):
        Session(tmp_path / "absent.onnx")
    with pytest.raises(UserError, match=r"text\.onnx: not an ONNX file that can be run"):
        Session(tmp_path / "text.onnx")
    with pytest.raises(UserError, match=r"two\.onnx: has 2 inputs; expected one"):
        Session(network(tmp_path / "two.onnx", inputs=2))
    with pytest.raises(UserError, match=r"net\.onnx: fails at an input of \(1, 3\): .*"):
        Session(path)(np.zeros((1, 3), np.float32), ["half"])
    with pytest.raises(UserError, match=r"net\.onnx: fails at an input of \(1, 2\): .*"):
        Session(path)(np.zeros((1, 2), np.float32), ["whole"])
