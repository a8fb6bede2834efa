"""The scripts on a real SLURM: what is run, when it is requeued, and what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.checkpoints import damage

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN, ARRAY = str(REPOSITORY / "slurm" / "train.sbatch"), str(REPOSITORY / "slurm" / "array.sbatch")

pytestmark = pytest.mark.slurm

Rows = Callable[[Path], list[dict[str, str]]]
InOneGo = Callable[..., list[dict[str, str]]]
Held = Callable[[list[int]], list[str]]


TASKS = (0, 1)
HELD = [4, 9]
"""Optimizer steps at which a task waits for its time limit: in the middle of the first epoch and of the second."""
PLAIN = (
    *("--model.offset_weight", "0", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1e-4"),
    *("--model.net.encoder", "tu-test_convnext", "--model.net.options.decoder_use_norm", "false"),
)
"""Several processes train as one, but for batch normalisation and the offsets' loss, which see one's samples."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that jobs are submitted from."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def array(slurm: Any, data: list[str], held: Held, work: Path) -> str:
    """Two tasks with a time limit of a minute. SLURM looks every 30 s: its warning comes after 20 to 50 s.

    They go on beside the other tests.
    """
    options = ["--array=0-1", "--time=1", "--signal=USR1@10", "--output=array-%a.log", "--mem=2000"]
    return str(slurm.submit(*options, ARRAY, "seed", "--run", "two", *data, *held(HELD), cwd=work))


@pytest.fixture(scope="module")
def nodes(slurm: Any, data: list[str], work: Path) -> str:
    """One training on two nodes, with half of the batch on each."""
    options = ["--nodes=2", "--output=nodes.log", "--mem=2000"]
    return str(slurm.submit(*options, TRAIN, "--run", "nodes", *data, *PLAIN, "--data.batch_size", "8", cwd=work))


# --- What the scripts do, with a Python that only ends.


def test_an_unfinished_job_is_requeued_until_it_ends(
    slurm: Any, array: str, tmp_path: Path, fake_python: dict[str, str], calls: Callable[[], list[list[str]]]
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    words = ["--data.root", "my data", "--model.size_hw", "[64,96]", "--x", "$(rm x) *"]
    job = slurm.submit("--output=log", TRAIN, *words, cwd=folder, **fake_python | {"STATUSES": "85 138 0"})
    assert slurm.wait(job) == ["COMPLETED 0:0"]
    settings = ["--trainer.num_nodes", "1", "--trainer.devices", "1", "--trainer.accelerator", "cpu"]
    assert calls() == [["-m", "projects.ball.train", "fit", *settings, *words]] * 3
    log = (folder / "log").read_text()
    assert "(restart 1 of at most 100)" in log and "(restart 2 of at most 100)" in log


def test_other_ends_are_passed_on_and_restarts_have_a_limit(
    slurm: Any, nodes: str, tmp_path: Path, fake_python: dict[str, str], calls: Callable[[], list[list[str]]]
) -> None:
    failed = slurm.submit("--output=failed", TRAIN, cwd=tmp_path, **fake_python | {"STATUSES": "3"})
    assert slurm.wait(failed) == ["FAILED 3:0"] and len(calls()) == 1
    capped = slurm.submit(
        "--output=capped", TRAIN, cwd=tmp_path, **fake_python | {"STATUSES": "85 85", "MAX_RESTARTS": "0"}
    )
    assert slurm.wait(capped) == ["FAILED 85:0"] and len(calls()) == 2
    assert "unfinished after 0 restarts (MAX_RESTARTS=0)" in (tmp_path / "capped").read_text()


# --- What comes out of trainings.


def test_two_nodes_end_with_the_metrics_of_one_process(
    slurm: Any, nodes: str, work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    expected = scores(in_one_go(*PLAIN, "--data.batch_size", "16"))
    assert slurm.wait(nodes) == ["COMPLETED 0:0"]
    assert scores(rows(work / "runs" / "ball" / "nodes")) == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert len(expected) > 20


def test_a_cancelled_job_leaves_a_checkpoint_that_the_same_command_goes_on_from(
    slurm: Any, data: list[str], held: Held, work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    command = ["--output=cancel.log", "--mem=2000", TRAIN, "--run", "cancel", *data, *held([3])]
    job = slurm.submit(*command, cwd=work)
    log, run = work / "cancel.log", work / "runs" / "ball" / "cancel"
    slurm.wait_until(lambda: log.exists() and "holding at step 3" in log.read_text())
    slurm.run("scancel", job)
    assert slurm.wait(job)[0].startswith("CANCELLED")
    kept = run / "checkpoints" / "step-00000003.ckpt"
    slurm.wait_until(kept.exists)
    assert damage(kept) is None and slurm.jobs(job)[0]["Restarts"] == "0"
    assert slurm.wait(slurm.submit(*command, cwd=work)) == ["COMPLETED 0:0"]
    assert "going on from" in log.read_text()
    assert rows(run) == in_one_go()


def test_tasks_that_meet_their_time_limit_twice_end_as_if_nothing_had_happened(
    slurm: Any, array: str, work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    expected = {task: in_one_go("--seed_everything", str(task), "--data.seed", str(task)) for task in TASKS}
    assert slurm.wait(array, seconds=400) == ["COMPLETED 0:0"] * 2
    for task in TASKS:
        log = (work / f"array-{task}.log").read_text()
        assert [f"holding at step {step}\n" in log for step in HELD] == [True, True]
        assert log.count("SIGUSR1: stopping after this batch") >= 2
        assert rows(work / "runs" / "ball" / "two" / f"t{task}") == expected[task]
    assert expected[0] != expected[1]


def scores(found: list[dict[str, str]]) -> dict[str, float]:
    """The last value of each score of an evaluation and of the mean loss of the last epoch."""
    last: dict[str, float] = {}
    for row in found:
        last |= {name: float(value) for name, value in row.items() if value and ("val/" in name or "test/" in name)}
    return last
