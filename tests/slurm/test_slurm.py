"""The scripts on a real SLURM: what is run, when it is requeued, and what comes out; of a training under PBS too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.checkpoints import damage
from tests.slurm import fake
from tests.slurm.pbs import Pbs

SCRIPTS = Path(__file__).resolve().parents[2] / "slurm"
TRAIN, ARRAY = str(SCRIPTS / "train.sbatch"), str(SCRIPTS / "array.sbatch")

pytestmark = pytest.mark.slurm

Rows = Callable[[Path], list[dict[str, str]]]
InOneGo = Callable[..., list[dict[str, str]]]

REQUEUED, FAILED, CAPPED = ENDS = ("85 138 0", "3", "85 85")
STEP = 6
"""The optimizer step behind which trainings are stopped: in the middle of the second epoch."""
HELD = ("--trainer.callbacks+=hold.Hold", f"--trainer.callbacks.step={STEP}")
WORDS = ("--data.root", "my data", "--model.size_hw", "[64,96]", "--x", "$(rm x) *")
PLAIN = (
    *("--model.offset_weight", "0", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1e-4"),
    *("--model.net.options.decoder_use_norm", "false"),
)
"""Several processes train as one, but for batch normalisation and the offsets' loss, which see one's samples."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that jobs are submitted from."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def command(data: list[str]) -> list[str]:
    """Behind the number of tasks, what is submitted as an array."""
    return ["--output=array-%a.log", "--mem=2000", ARRAY, "seed", "--run", "two", *data, *HELD]


@pytest.fixture(scope="module")
def array(slurm: Any, forked: dict[str, str], command: list[str], work: Path) -> str:
    """Two tasks that are held. They go on beside the other tests."""
    return str(slurm.submit("--array=0-1", *command, cwd=work, **forked))


@pytest.fixture(scope="module")
def held(slurm: Any, array: str, nodes: str, ends: object, work: Path) -> str:
    """The array, both tasks held, and the end of the first one's time so near that SLURM is to warn it within 30 s.

    All jobs are there by now: the tests after the first one hardly wait for them.
    """
    logs = [work / "array-0.log", work / "array-1.log"]
    slurm.wait_until(lambda: all(log.exists() and f"holding at step {STEP}\n" in log.read_text() for log in logs))
    slurm.run("scontrol", "update", f"JobId={array}_0", "EndTime=now+140")
    return array


@pytest.fixture(scope="module")
def nodes(slurm: Any, data: list[str], work: Path) -> str:
    """One training on two nodes, with half of the batch on each; Lightning's import looks for the rank."""
    options = ["--nodes=2", "--output=nodes.log", "--mem=2000"]
    words = ["--run", "nodes", *data, *PLAIN, "--data.batch_size", "8"]
    return str(slurm.submit(*options, TRAIN, *words, cwd=work))


@pytest.fixture(scope="module")
def ends(slurm: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Jobs whose Python only ends, and their folders, by the statuses it ends with."""
    found = {}
    for statuses in ENDS:
        folder = tmp_path_factory.mktemp("a folder")
        variables = fake.python(folder) | {"STATUSES": statuses}
        limit = {"MAX_RESTARTS": "0"} if statuses == CAPPED else {}
        found[statuses] = slurm.submit("--output=log", TRAIN, *WORDS, cwd=folder, **variables, **limit), folder
    return found


def test_a_cancelled_task_leaves_a_checkpoint_that_the_same_command_goes_on_from(
    slurm: Any, held: str, forked: dict[str, str], command: list[str], work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    log, run = work / "array-1.log", work / "runs" / "ball" / "two" / "t1"
    slurm.run("scancel", f"{held}_1")
    assert slurm.wait(f"{held}_1")[0].startswith("CANCELLED")
    kept = run / "checkpoints" / f"step-{STEP:08}.ckpt"
    slurm.wait_until(kept.exists)
    assert damage(kept) is None and slurm.jobs(f"{held}_1")[0]["Restarts"] == "0"
    again = slurm.submit("--array=1", *command, cwd=work, **forked)
    assert slurm.wait(again) == ["COMPLETED 0:0"]
    assert "going on from" in log.read_text()
    assert rows(run) == in_one_go("--seed_everything", "1", "--data.seed", "1")


def test_two_nodes_end_with_the_metrics_of_one_process(
    slurm: Any, nodes: str, work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    expected = scores(in_one_go(*PLAIN, "--data.batch_size", "16"))
    assert slurm.wait(nodes) == ["COMPLETED 0:0"]
    assert scores(rows(work / "runs" / "ball" / "nodes")) == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert len(expected) > 20


def test_under_pbs_a_training_goes_on_from_job_to_job(
    pbs: Pbs, forked: dict[str, str], data: list[str], in_one_go: InOneGo, rows: Rows
) -> None:
    pbs.login |= forked
    elapsed = ["--trainer.callbacks+=hold.Elapse", f"--trainer.callbacks.step={STEP}"]
    pbs.submit(SCRIPTS / "array.pbs", "seed", *data, *elapsed, ARRAY="0-1", WALLTIME="01:00:00")
    assert [pbs.run(100, index=1), pbs.run(101)] == [85, 0] and pbs.submitted == [100, 101]
    assert "stopped by time limit" in (pbs.work / "fit-j100-t1.log").read_text()
    expected = in_one_go("--seed_everything", "1", "--data.seed", "1")
    assert rows(pbs.work / "runs" / "ball" / "j100" / "t1") == expected


def test_an_unfinished_job_is_requeued_until_it_ends(slurm: Any, ends: dict[str, tuple[str, Path]]) -> None:
    job, folder = ends[REQUEUED]
    assert slurm.wait(job) == ["COMPLETED 0:0"]
    settings = ["--trainer.num_nodes", "1", "--trainer.devices", "1", "--trainer.accelerator", "cpu"]
    assert fake.calls(folder) == [["-m", "projects.ball.train", "fit", *settings, *WORDS]] * 3
    log = (folder / "log").read_text()
    assert "(restart 1 of at most 100)" in log and "(restart 2 of at most 100)" in log


def test_other_ends_are_passed_on_and_restarts_have_a_limit(slurm: Any, ends: dict[str, tuple[str, Path]]) -> None:
    failed, folder = ends[FAILED]
    assert slurm.wait(failed) == ["FAILED 3:0"] and len(fake.calls(folder)) == 1
    capped, folder = ends[CAPPED]
    assert slurm.wait(capped) == ["FAILED 85:0"] and len(fake.calls(folder)) == 1
    assert "unfinished after 0 restarts (MAX_RESTARTS=0)" in (folder / "log").read_text()


def test_a_task_that_meets_its_time_limit_ends_as_if_nothing_had_happened(
    slurm: Any, held: str, work: Path, in_one_go: InOneGo, rows: Rows
) -> None:
    log, task = work / "array-0.log", f"{held}_0"

    def stopped() -> bool:
        (job,) = slurm.jobs(task)
        return job["Restarts"] != "0" or job["JobState"] not in ("RUNNING", "COMPLETING")

    slurm.wait_until(stopped)
    slurm.attempt("scontrol", "update", f"JobId={task}", "TimeLimit=UNLIMITED")  # a requeued job keeps the short one
    assert slurm.wait(task) == ["COMPLETED 0:0"]
    assert "SIGUSR1: stopping after this batch" in log.read_text() and "going on from" in log.read_text()
    found = rows(work / "runs" / "ball" / "two" / "t0")
    assert found == in_one_go("--seed_everything", "0", "--data.seed", "0")
    assert found != in_one_go("--seed_everything", "1", "--data.seed", "1")


def scores(found: list[dict[str, str]]) -> dict[str, float]:
    """The last value of each score of an evaluation and of the mean loss of the last epoch."""
    last: dict[str, float] = {}
    for row in found:
        last |= {name: float(value) for name, value in row.items() if value and ("val/" in name or "test/" in name)}
    return last
