import json
from pathlib import Path

import pytest

from common.run import link_latest, open_run, write_summary


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DENSE_RUN_NAME", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "PBS_JOBID", "PBS_ARRAY_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DENSE_RUN_NAME", "same-second")  # as if both runs were started at once


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = open_run(tmp_path, None), open_run(tmp_path, None)
    assert first != second
    for folder in (second, first):
        link_latest(folder)
        assert (tmp_path / "latest").resolve() == folder


def test_other_processes_of_a_run_share_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_run(tmp_path, None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert open_run(tmp_path, None) == first


def test_a_named_run_keeps_its_name(tmp_path: Path) -> None:
    assert open_run(tmp_path, "mine").name == "mine"


def test_array_tasks_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_JOBID", "123[].server")
    folders = []
    for task in ("1", "2"):
        monkeypatch.delenv("DENSE_RUN_NAME", raising=False)
        monkeypatch.setenv("PBS_ARRAY_INDEX", task)
        folders.append(open_run(tmp_path, None).name)
    assert folders == ["j123-t1", "j123-t2"]


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
