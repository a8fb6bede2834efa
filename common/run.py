"""One run, one folder: its name, its latest link, its summary."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.files import write_text

PACKAGES = ("torch", "lightning", "torchmetrics", "segmentation-models-pytorch", "timm", "kornia", "numpy")
_NAME = "DENSE_RUN_NAME"  # hands the name to the processes that Lightning starts for the other devices


def run_name() -> str:
    """A name for a new run: the cluster job and array task it belongs to, or the time.

    All processes of one job get the same name.
    """
    env = os.environ
    job = env.get("SLURM_ARRAY_JOB_ID") or env.get("SLURM_JOB_ID") or env.get("PBS_JOBID", "").split(".")[0]
    task = env.get("SLURM_ARRAY_TASK_ID") or env.get("PBS_ARRAY_INDEX")
    if job:
        return f"j{job.split('[')[0]}" + (f"-t{task}" if task else "")
    return env.get(_NAME) or time.strftime("%Y%m%d-%H%M%S")


def open_run(root: Path, name: str | None) -> Path:
    """Makes the folder of a run.

    Args:
        root: folder of a project's runs.
        name: of the run; a `run_name` by default, made unique where such a run exists.
    """
    inherited = _NAME in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"
    folder = root / (name or run_name())
    if not inherited and name is None and not folder.name.startswith("j"):
        folder = _unique(folder)  # a job's processes must agree without talking; others start in one process
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[_NAME] = folder.name
    return folder


def link_latest(folder: Path) -> None:
    """Lets `latest`, beside a run's folder, point to it."""
    temporary = folder.with_name(f".latest-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.replace(folder.with_name("latest"))


def write_summary(
    path: Path, scores: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], **facts: Any
) -> None:
    """Writes a summary: scores by flat name, the baselines', and how they came to be.

    Args:
        path: of the JSON file.
        scores: such as {"test/f1": 0.98}; what is not a number becomes null.
        baselines: scores of the same names, by baseline; the first is the strongest and stands under "baseline".
        facts: more entries, such as `seconds` and `epochs`.
    """
    summary: dict[str, Any] = {**_finite(scores)}
    summary["baselines"] = {name: _finite(values) for name, values in baselines.items()}
    summary["baseline"] = next(iter(summary["baselines"].values()), {})
    summary |= {**facts, "command": shlex.join(command()), "commit": commit(), "versions": versions()}
    write_text(path, json.dumps(summary, indent=1) + "\n")


def command() -> list[str]:
    """The command that runs now, as a person would type it."""
    main = sys.modules["__main__"]
    module = getattr(main, "__spec__", None)
    start = ["python", "-m", module.name] if module else ["python", sys.argv[0]]
    return start + sys.argv[1:]


def commit() -> str | None:
    """The commit of the code, with "+" where files differ from it; None outside a git checkout."""
    here = Path(__file__).resolve().parents[1]
    try:
        text = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return text.strip()


def versions() -> dict[str, str]:
    """Python's version and those of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def _unique(folder: Path) -> Path:
    """The folder, made now; with a number behind its name where it was there already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir()  # fails where another process was faster
        except FileExistsError:
            continue
        return candidate
    raise FileExistsError(folder)


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
