"""What holds for every script, and what they make of an allocation; no SLURM is needed."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = [*sorted((REPOSITORY / "slurm").glob("*.*[hs]")), REPOSITORY / ".ci" / "run"]

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", "--external-sources", path], capture_output=True, text=True, check=False)
    assert done.stdout == "" and done.returncode == 0


def test_both_scripts_ask_slurm_for_the_same() -> None:
    train, array = (
        {line for line in (REPOSITORY / "slurm" / name).read_text().splitlines() if line.startswith("#SBATCH ")}
        for name in ("train.sbatch", "array.sbatch")
    )
    assert train - array == {"#SBATCH --job-name=fit"}
    assert array - train == {"#SBATCH --job-name=array", "#SBATCH --array=0-4"}


@pytest.fixture
def allocation(
    tmp_path: Path, fake_python: dict[str, str], bare: dict[str, str]
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs train.sbatch with the variables of an allocation, and a `srun` that only runs the command behind options."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    job = {
        "SLURM_JOB_ID": "70123",
        "SLURM_NNODES": "2",
        "LAB": str(REPOSITORY),
        "PATH": f"{srun.parent}:{bare['PATH']}",
    }

    def run(**variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", REPOSITORY / "slurm" / "train.sbatch", "--my", "flag"],
            env=bare | fake_python | job | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("variables", "devices", "rest"),
    [
        ({}, "1", ["--trainer.accelerator", "cpu"]),
        ({"SLURM_NTASKS_PER_NODE": "3"}, "3", ["--trainer.accelerator", "cpu"]),
        ({"SLURM_NTASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "2", ["--trainer.accelerator", "cpu"]),
        ({"SLURM_NTASKS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "4"}, "4", []),
        ({"SLURM_NTASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "GPU-1a,GPU-2b"}, "2", []),
    ],
)
def test_devices_are_what_was_allocated(
    variables: dict[str, str], devices: str, rest: list[str], allocation: Callable[..., object],
    calls: Callable[[], list[list[str]]]
) -> None:  # fmt: skip
    allocation(**variables)
    settings = ["--trainer.num_nodes", "2", "--trainer.devices", devices, *rest]
    assert calls() == [["-m", "projects.ball.train", "fit", *settings, "--my", "flag"]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SLURM_GPUS_ON_NODE": "4"}, "4 GPUs and 1 tasks per node"),
        ({"PROJECT": "/project/me"}, "no project PROJECT='/project/me'"),
        ({"SLURM_JOB_ID": ""}, "submit this file: sbatch slurm/train.sbatch"),
    ],
)
def test_a_wrong_allocation_is_told(
    variables: dict[str, str], message: str, allocation: Callable[..., "subprocess.CompletedProcess[str]"],
    calls: Callable[[], list[list[str]]]
) -> None:  # fmt: skip
    done = allocation(**variables)
    assert message in done.stderr and done.returncode in (1, 2) and calls() == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("seed --x 1", ["--seed_everything", "3", "--data.seed", "3", "--x", "1"]),
        ("fold", ["--data.folds", "5", "--data.fold", "3"]),
        ("sweep task.sh --x 1", ["--sweep", "task.sh", "--point", "3", "--x", "1"]),
    ],
)
def test_a_task_of_an_array_has_its_own_settings(words: str, expected: list[str]) -> None:
    assert json.loads(_task_settings(words).stdout) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the first word is ''; expected seed, fold or sweep FILE"),
        ("--x 1", "the first word is '--x'"),
        ("sweep", "sweep '': no such file"),
        ("sweep absent.yaml", "sweep 'absent.yaml': no such file"),
    ],
)
def test_an_array_of_nothing_is_refused(words: str, message: str) -> None:
    done = _task_settings(words)
    assert done.returncode == 2 and message in done.stderr


def _task_settings(words: str) -> "subprocess.CompletedProcess[str]":
    program = f"""source task.sh; task_settings 3 {words}
        python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "${{settings[@]}}" """
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program],
        cwd=REPOSITORY / "slurm",
        capture_output=True,
        text=True,
        check=False,
    )
