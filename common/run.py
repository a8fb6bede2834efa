"""One run, one folder: its name, its lock, its latest link, its summary."""

import errno
import fcntl
import json
import math
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from lightning.fabric.utilities.rank_zero import rank_zero_only

from common.errors import UserError
from common.files import link, sweep, write_text
from common.settings import refuse_changes

NOTE, SUMMARY = "run.json", "summary.json"

PACKAGES = ("torch", "lightning", "torchmetrics", "segmentation-models-pytorch", "timm", "kornia", "numpy")
_TAKEN = ("latest", "fast_dev_run")
_NAME = "DENSE_RUN_NAME"  # hands the name to the processes that Lightning starts for the other devices


def open_run(
    root: Path, name: str | None, settings: Mapping[str, Any], *, start: Sequence[str | None] = (None, None)
) -> Path:
    """The folder of the run that a command means, made, locked against other jobs, and noted in its `run.json`.

    It is `<root>/<name>`, in an array job `<root>/<name>/t<task>`. The name is the one given; else that of the cluster
    job, which a requeued job keeps; else that of an unfinished run of the same settings and code, as to begin anew
    would only repeat it; else the time.

    Args:
        root: folder of a project's runs.
        name: of the run.
        settings: flat, as JSON has them.
        start: checkpoints that the run was told to begin with.

    Raises:
        UserError: another process is at work in that folder; or its checkpoints are of other settings; or processes
            started from outside have no common name.
    """
    if name and (name in _TAKEN or not re.fullmatch(r"[^\W_][\w.=+@ -]{0,99}", name)):
        raise UserError(
            f"--run: found {name!r}; expected up to 100 letters, digits, . = + @ _ - and spaces, a letter or digit "
            f"first, and not one of {', '.join(_TAKEN)}"
        )
    lead, note = is_lead(), _note(settings) | {"start": list(start)}
    inherited = os.environ.get(_NAME)
    if inherited and not lead:
        return root / inherited
    given = name or _job()
    if given is None and (not lead or "TORCHELASTIC_RUN_ID" in os.environ):
        raise UserError("processes that are started from outside need a common name of their run: give --run NAME")
    folder = (
        root / given / _task() if given else _unfinished(root, note) or _unique(root / time.strftime("%Y%m%d-%H%M%S"))
    )
    if lead:
        folder.mkdir(parents=True, exist_ok=True)
        if not _lock(folder):
            raise UserError(
                f"{folder}: in use by {_holder(folder)}; two jobs in one run folder would spoil each other. Wait for "
                "it, end it, or give another --run NAME"
            )
        before = _read_note(folder)
        if before and any((folder / "checkpoints").glob("step-*.ckpt")):
            refuse_changes(before["settings"], note["settings"], where=str(folder))
            if before["source"] != note["source"]:
                print(f"run: the code has changed since {folder} was last started", flush=True)
        sweep(folder)
        sweep(root, below=False)  # a link to the latest
        write_text(folder / NOTE, json.dumps(note, indent=1) + "\n")
    os.environ[_NAME] = str(folder.relative_to(root))
    return folder


def is_lead() -> bool:
    """Whether this process is the first of its run, as far as the environment tells before processes have met."""
    return getattr(rank_zero_only, "rank", 0) in (0, None) and os.environ.get("NODE_RANK", "0") == "0"


def open_dry_run(root: Path) -> Path:
    """A folder for a run that leaves no checkpoint."""
    return _unique(root / "fast_dev_run" / time.strftime("%Y%m%d-%H%M%S"))


def link_latest(root: Path, folder: Path) -> None:
    """Lets `latest`, in the folder of a project's runs, point to a run."""
    link(root / "latest", folder)


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


@lru_cache
def source_digest() -> str:
    """Changes with any Python file of the program."""
    digest, top = blake2b(digest_size=8), Path(__file__).resolve().parents[1]
    for path in sorted([*top.glob("common/**/*.py"), *top.glob("projects/**/*.py")]):
        digest.update(str(path.relative_to(top)).encode() + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Python's version and those of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def _job() -> str | None:
    """The name that all processes of a cluster job agree on."""
    env = os.environ
    job = env.get("SLURM_ARRAY_JOB_ID") or env.get("SLURM_JOB_ID") or env.get("PBS_JOBID", "").split(".")[0]
    return f"j{job.split('[')[0]}" if job else None


def _task() -> str:
    """The folder of an array's task in that of its run; none outside arrays."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ.get("PBS_ARRAY_INDEX")
    return f"t{task}" if task else ""


def _note(settings: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "job": _job(), "started": time.strftime("%F %T")}
    return facts | {"command": shlex.join(command()), "source": source_digest(), "settings": dict(settings)}


def _unfinished(root: Path, note: Mapping[str, Any]) -> Path | None:
    """The newest run that a kill left unfinished, of the same settings and code; locked."""
    for path in sorted(root.glob(f"*/{NOTE}"), reverse=True):
        if path.parent.is_symlink():
            continue
        same = all(_read_note(path.parent).get(key) == note[key] for key in ("settings", "source", "start"))
        if same and not (path.parent / SUMMARY).exists() and _lock(path.parent):
            print(
                f"run: {path.parent} is unfinished, with these settings and this code: going on with it "
                "(--run NAME begins another)",
                flush=True,
            )
            return path.parent
    return None


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and {"settings", "source"} <= note.keys() else {}


def _holder(folder: Path) -> str:
    note = _read_note(folder)
    job = f", job {note['job']}" if note.get("job") else ""
    return f"process {note.get('pid', '?')} on {note.get('host', '?')}{job}, since {note.get('started', '?')}"


def _lock(folder: Path) -> bool:
    """Takes the run for this process until it ends, however it ends; whether that was possible.

    A record lock: the system gives it up with the process, loader processes do not inherit it, NFS carries it.
    """
    if folder in _locks:
        return True
    try:
        file = (folder / "lock").open("a")
    except PermissionError:  # a colleague's
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            return False
        print(
            f"{folder}: no locks on this file system ({error.strerror}): see that no other job works in it", flush=True
        )
    _locks[folder] = file
    return True


_locks: dict[Path, TextIO] = {}  # closing one would give it up


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
