import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common import run
from common.checkpoints import RunCheckpointIO, step_path
from common.errors import UserError
from common.run import link_latest, open_dry_run, open_run, write_summary

SETTINGS = {"model.sigma": 2.0, "trainer.max_epochs": 9}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DENSE_RUN_NAME", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "PBS_JOBID",
                 "PBS_ARRAY_INDEX", "TORCHELASTIC_RUN_ID"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(run.rank_zero_only, "rank", 0)
    monkeypatch.setattr(run.time, "strftime", lambda form: "20260102-030405")  # all in the same second
    yield
    release()


def release() -> None:
    """As if the process had ended."""
    for file in run._locks.values():
        file.close()
    run._locks.clear()


def finish(folder: Path) -> None:
    (folder / "summary.json").write_text("{}")


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first = open_run(tmp_path, None, SETTINGS)
    finish(first)
    second = open_run(tmp_path, None, SETTINGS)
    assert [first.name, second.name] == ["20260102-030405", "20260102-030405-2"]
    for folder in (second, first):
        link_latest(tmp_path, folder)
        assert (tmp_path / "latest").resolve() == folder
    assert open_dry_run(tmp_path) != open_dry_run(tmp_path)


def test_an_unfinished_run_of_the_same_settings_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_run(tmp_path, None, SETTINGS)
    link_latest(tmp_path, first)
    release()
    assert open_run(tmp_path, None, SETTINGS) == first
    assert f"{first} is unfinished, with these settings and this code: going on with it" in capsys.readouterr().out
    release()
    assert open_run(tmp_path, None, SETTINGS | {"model.sigma": 3.0}) != first
    monkeypatch.setattr(run, "source_digest", lambda: "other code")
    assert open_run(tmp_path, None, SETTINGS) != first


def test_a_run_told_to_begin_with_other_weights_is_another_run(tmp_path: Path) -> None:
    first = open_run(tmp_path, None, SETTINGS)
    release()
    assert open_run(tmp_path, None, SETTINGS, start=("best.ckpt", None)) != first


def _open(root: Path, name: str | None, answer: Any) -> None:
    try:
        answer.put(str(open_run(root, name, SETTINGS)))
    except UserError as error:
        answer.put(str(error))


def in_another_process(root: Path, name: str | None) -> str:
    context = multiprocessing.get_context("fork")  # record locks are not inherited
    answer = context.Queue()
    run._locks, mine = {}, run._locks
    process = context.Process(target=_open, args=(root, name, answer))
    process.start()
    run._locks = mine
    found: str = answer.get(timeout=60)
    process.join()
    return found


def test_two_jobs_never_share_a_folder(tmp_path: Path) -> None:
    folder = open_run(tmp_path, "mine", SETTINGS)
    error = in_another_process(tmp_path, "mine")
    assert error.startswith(f"{folder}: in use by process {os.getpid()} on ")
    assert "--run NAME" in error
    assert in_another_process(tmp_path, None) == str(tmp_path / "20260102-030405")  # unfinished, but at work


def test_a_run_is_free_when_its_process_has_ended(tmp_path: Path) -> None:
    assert in_another_process(tmp_path, "mine") == str(tmp_path / "mine")
    assert open_run(tmp_path, "mine", SETTINGS) == tmp_path / "mine"


def test_other_processes_of_a_run_share_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_run(tmp_path, None, SETTINGS)
    monkeypatch.setattr(run.rank_zero_only, "rank", 1)
    assert open_run(tmp_path, None, SETTINGS) == first


def test_processes_started_from_outside_need_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(UserError, match="give --run NAME"):
        open_run(tmp_path, None, SETTINGS)
    assert open_run(tmp_path, "mine", SETTINGS) == tmp_path / "mine"


def test_array_tasks_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_JOBID", "123[].server")
    folders = []
    for name in (None, "study"):
        for task in ("1", "2"):
            monkeypatch.setenv("PBS_ARRAY_INDEX", task)
            folders.append(str(open_run(tmp_path, name, SETTINGS).relative_to(tmp_path)))
    assert folders == ["j123/t1", "j123/t2", "study/t1", "study/t2"]


def test_a_job_that_is_requeued_keeps_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    first = open_run(tmp_path, None, SETTINGS)
    release()
    assert open_run(tmp_path, None, SETTINGS) == first == tmp_path / "j77"


def test_checkpoints_of_other_settings_are_refused_and_the_note_stays(tmp_path: Path) -> None:
    folder = open_run(tmp_path, "mine", SETTINGS)
    other = SETTINGS | {"model.sigma": 3.0}
    release()
    open_run(tmp_path, "mine", other)  # nothing was trained yet
    open_run(tmp_path, "mine", SETTINGS)
    RunCheckpointIO().save_checkpoint({"global_step": 1}, step_path(folder / "checkpoints", 1))
    note = (folder / "run.json").read_text()
    with pytest.raises(UserError, match=r"model\.sigma: 2\.0 -> 3\.0"):
        open_run(tmp_path, "mine", other)
    assert (folder / "run.json").read_text() == note
    assert open_run(tmp_path, "mine", SETTINGS | {"trainer.max_epochs": 12}) == folder


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/tmp/x", "-x", "a\nb", "~x", "latest", "n" * 101])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--run: found"):
        open_run(tmp_path, name, SETTINGS)


def test_leftovers_of_dead_writers_are_swept(tmp_path: Path) -> None:
    left = tmp_path / "mine" / "checkpoints" / f".step-1.{os.uname().nodename}~999999999~abc.tmp.ckpt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"torn")
    torn_link = tmp_path / f".latest.{os.uname().nodename}~999999999~link.tmp"
    torn_link.symlink_to("mine")
    open_run(tmp_path, "mine", SETTINGS)
    assert not left.exists()
    assert not torn_link.is_symlink()


def test_summary_holds_scores_baselines_and_origin(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    baselines = {"blob": {"test/f1": 0.5}, "nothing": {"test/f1": float("nan")}}
    write_summary(path, {"test/f1": 0.9, "test/rmse_px": float("nan")}, baselines, seconds=1.5, epochs=2)
    summary = json.loads(path.read_text())
    assert summary["test/f1"] == 0.9
    assert summary["test/rmse_px"] is None
    assert summary["baseline"] == {"test/f1": 0.5}
    assert summary["baselines"]["nothing"] == {"test/f1": None}
    assert {"seconds", "epochs", "command", "commit", "versions"} <= summary.keys()
    assert summary["versions"]["torch"]
