"""The PBS scripts under a `qsub` that takes what OpenPBS takes, and an environment that holds what OpenPBS sets."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.pbs import Pbs

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN, ARRAY = REPOSITORY / "slurm" / "train.pbs", REPOSITORY / "slurm" / "array.pbs"

pytestmark = pytest.mark.slurm

Calls = Callable[[], list[list[str]]]


def fit(name: str, *words: str, limit: str = "00:23:50:00", devices: int = 1) -> list[str]:
    """The words that Python is to get."""
    settings = ["--run", name, "--trainer.max_time", limit, "--trainer.devices", str(devices)]
    return ["-m", "projects.ball.train", "fit", *settings, *words]


def test_an_unfinished_run_is_submitted_again_until_it_ends(pbs: Pbs, calls: Calls) -> None:
    pbs.login |= {"STATUSES": "85 138 0"}
    words = ["--data.root", "my, 'data'", "--model.size_hw", "[64,96]", "--x", "$(rm x) *", ""]
    assert pbs.submit(TRAIN, *words, QSUB="-q gpu -A us").stdout == "100.server\n"
    assert [pbs.run(100), pbs.run(101), pbs.run(102)] == [85, 138, 0]
    assert pbs.submitted == [100, 101, 102]
    assert calls() == [fit("j100", *words)] * 3
    assert pbs.options(100) == pbs.options(102)
    assert {"-q gpu", "-A us", "-l walltime=24:00:00", "-j oe"} <= set(pbs.options(102))
    log = (pbs.work / "fit-j100.log").read_text()
    assert "(restart 1 of at most 100)" in log and "(restart 2 of at most 100)" in log


def test_a_task_is_submitted_again_alone(pbs: Pbs, calls: Calls) -> None:
    pbs.login |= {"STATUSES": "0 85 0"}
    assert pbs.submit(ARRAY, "fold", "--x", "1", ARRAY="3-4").stdout == "100[].server\n"
    assert [pbs.run(100, index=3), pbs.run(100, index=4), pbs.run(101)] == [0, 85, 0]
    assert pbs.submitted == [100, 101]
    assert "-J 3-4" in pbs.options(100) and not any(option.startswith("-J") for option in pbs.options(101))
    folds = [["--data.folds", "5", "--data.fold", str(fold), "--x", "1"] for fold in (3, 4, 4)]
    assert calls() == [fit("j100", *words) for words in folds]
    assert "export PBS_ARRAY_INDEX=4\n" in (pbs.spool / "101.SC").read_text()  # so that it finds its folder
    assert "restart 1 of at most 100" in (pbs.work / "fit-j100-t4.log").read_text()


def test_any_other_status_is_passed_on(pbs: Pbs, calls: Calls) -> None:
    pbs.login |= {"STATUSES": "3"}
    pbs.submit(TRAIN)
    assert pbs.run(100) == 3 and pbs.submitted == [100] and len(calls()) == 1


def test_restarts_have_a_limit(pbs: Pbs, calls: Calls) -> None:
    pbs.login |= {"STATUSES": "85 85"}
    pbs.submit(TRAIN, MAX_RESTARTS="1")
    assert [pbs.run(100), pbs.run(101)] == [85, 85] and pbs.submitted == [100, 101]
    assert "unfinished after 1 restarts (MAX_RESTARTS=1)" in (pbs.work / "fit-j100.log").read_text()


def test_a_refused_submission_is_told(pbs: Pbs) -> None:
    pbs.login |= {"STATUSES": "85"}
    pbs.submit(ARRAY, "fold", "--data.root", "my data", RUN="first", ARRAY="0-1")
    (pbs.spool.parent / "bin" / "qsub").write_text("#!/bin/bash\nexit 168\n")
    assert pbs.run(100, index=1) == 85
    settings = "'--data.folds' '5' '--data.fold' '1' '--data.root' 'my data'"
    again = f"go on by hand: PBS_ARRAY_INDEX=1 RUN=first bash {TRAIN} {settings}"
    assert again in (pbs.work / "fit-first-t1.log").read_text()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, [100]), (signal.SIGUSR1, [100, 101])])
def test_a_signal_reaches_python_and_only_a_cancelled_job_ends(
    number: signal.Signals, expected: list[int], pbs: Pbs, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    (tmp_path / "python").write_text(
        f"#!{sys.executable} -S\nimport signal, sys\nsignal.signal({int(number)}, lambda *_: sys.exit(85))\n"
        f"open({str(started)!r}, 'w').close()\nsignal.pause()\n"
    )
    pbs.submit(TRAIN)
    job = pbs.start(100)
    started.read_text()  # returns when Python listens
    job.send_signal(number)  # to the shell alone
    assert job.wait(30) == 85 and pbs.submitted == expected


def test_a_script_submitted_by_hand_runs_too(pbs: Pbs, calls: Calls) -> None:
    for name in ("projects", "slurm"):
        (pbs.work / name).symlink_to(REPOSITORY / name)
    (pbs.spool.parent / "bin" / "python").symlink_to(pbs.login["PYTHON"])
    (pbs.spool / "100.SC").write_text(TRAIN.read_text())
    assert pbs.run(100, CUDA_VISIBLE_DEVICES="GPU-1a,GPU-2b") == 0
    assert calls() == [fit("j100", devices=2)]


@pytest.mark.parametrize(
    ("walltime", "limit"),
    [("100:00:30", "04:03:50:30"), ("00:10:01", "00:00:00:01"), ("90:00", "00:01:20:00"), ("08:09:08", "00:07:59:08")],
)
def test_time_ends_ten_minutes_before_the_job(walltime: str, limit: str, pbs: Pbs, calls: Calls) -> None:
    pbs.submit(TRAIN, WALLTIME=walltime)
    assert f"-l walltime={walltime}" in pbs.options(100)
    assert pbs.run(100) == 0 and calls() == [fit("j100", limit=limit)]


def test_what_cannot_work_is_told(pbs: Pbs, calls: Calls) -> None:
    pbs.submit(TRAIN, WALLTIME="00:10:00")
    assert pbs.run(100) == 2
    assert "WALLTIME=00:10:00 leaves nothing beside MARGIN=10 minutes" in (pbs.work / "fit-j100.log").read_text()
    pbs.submit(TRAIN)
    (pbs.spool.parent / "nodes").write_text("node1\nnode1\nnode2\n")
    assert pbs.run(101, PBS_NODEFILE=str(pbs.spool.parent / "nodes")) == 2
    assert "2 nodes" in (pbs.work / "fit-j101.log").read_text()
    refused = pbs.submit(ARRAY, "folds")
    assert refused.returncode == 2 and "expected seed, fold or sweep FILE" in refused.stderr
    assert pbs.submitted == [100, 101] and calls() == []
