import os
from pathlib import Path

import numpy as np
import pytest

from common.data.slab import Layout, Slab, job_name, sweep
from common.errors import UserError


def layout(size: int = 1000) -> Layout:
    def fill(memory: np.ndarray) -> None:
        memory[:] = 7

    return Layout(size, fill)


def test_the_first_creates_and_the_last_removes(tmp_path: Path) -> None:
    path = tmp_path / "dense-0-a"
    slab = Slab.open(path, layout)
    assert (slab.bytes.size, set(slab.bytes.tolist())) == (1000, {7})
    again = Slab.open(path, lambda: pytest.fail("there is one already"))
    assert again is slab
    del again
    assert path.exists()
    del slab
    assert not path.exists()


def test_what_a_dead_creator_left_half_made_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "dense-0-a"
    path.write_bytes(bytes(9000))  # reserved, but not yet filled
    assert set(Slab.open(path, layout).bytes.tolist()) == {7}


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Layout:
        raise UserError("cache: too large")

    with pytest.raises(UserError, match="too large"):
        Slab.open(tmp_path / "dense-0-a", failing)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_takes_what_nobody_holds(tmp_path: Path) -> None:
    prefix = f"dense-{os.getuid()}-"
    held = Slab.open(tmp_path / f"{prefix}held", layout)
    for name in ("dead", "dead.plan-3.npy", "held.plan-1.npy", "gone.plan-marks"):
        (tmp_path / f"{prefix}{name}").write_bytes(b"\1")
    others = tmp_path / f"dense-{os.getuid() + 1}-theirs"
    others.write_bytes(b"\1")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{prefix}held", f"{prefix}held.plan-1.npy", others.name]
    )
    assert held.path.exists()


def test_locks_are_one_holders(tmp_path: Path) -> None:
    slab = Slab.open(tmp_path / "dense-0-a", layout)
    locks = slab.locks
    assert locks.try_lock(5)
    assert not locks.try_lock(5)
    pid = os.fork()
    if not pid:  # a child has none of its parent's locks, and cannot take them
        os._exit(locks.try_lock(5) or not locks.try_lock(6))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert locks.try_lock(6)  # the child's died with it
    locks.unlock(5)
    assert locks.try_lock(5)


def test_jobs_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    alone = job_name()
    assert str(os.getpid()) in alone
    monkeypatch.setenv("DENSE_JOB", "77.123")
    assert job_name() == alone  # of a program that merely started this one
    monkeypatch.setenv("DENSE_JOB", "77.123")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert job_name() == "77.123"
    slurm = {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3"}
    assert job_name(slurm) == job_name(slurm | {"SLURM_PROCID": "4"}) != job_name(slurm | {"SLURM_STEP_ID": "1"})
    assert job_name(slurm | {"SLURM_RESTART_COUNT": "1"}) != job_name(slurm)
    for launcher in ({"TORCHELASTIC_RUN_ID": "none"}, {"OMPI_COMM_WORLD_RANK": "1"}, {"PMI_RANK": "1"}):
        assert str(os.getppid()) in job_name(launcher)
