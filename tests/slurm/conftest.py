"""A private SLURM on this machine: one controller and two nodes, on loopback ports and in folders of their own."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "setpriv")
SMALL = ("--gpus-per-node=0", "--cpus-per-task=1", "--mem=100")
CONFIGURATION = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=20
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=64000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=64000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}


def bare_environment() -> dict[str, str]:
    """This environment without traces of a cluster that the tests may run on, for a quiet and small Python."""
    foreign = ("SLURM", "SBATCH_", "SRUN_", "PBS_", "DENSE_", "CUDA_", "MASTER_", "LOCAL_RANK", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"PYTHONPATH": str(Path(__file__).parent), "DENSE_ALLOW": "hold"}  # lets a configuration name hold.Hold
    return kept | own | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "PYTHON": sys.executable}


class Cluster:
    """Commands of a running SLURM.

    Args:
        folder: holds its `slurm.conf` and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = bare_environment() | {"SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment | variables,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *words: str, cwd: Path, **variables: str) -> str:
        """The id of a new job that takes little; `words` are options of sbatch, a script and the script's words."""
        return self.run("sbatch", "--parsable", *SMALL, *words, cwd=cwd, **variables).strip()

    def jobs(self, job: str) -> list[dict[str, str]]:
        """What SLURM knows of a job or of each task of an array, in the order of tasks."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        found = [dict(word.partition("=")[::2] for word in line.split()) for line in lines if line]
        return sorted(found, key=lambda record: int(record.get("ArrayTaskId", "0")))

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 150) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, self.run("scontrol", "show", "job")
            time.sleep(0.1)

    def wait(self, job: str, *, seconds: float = 150) -> list[str]:
        """Waits for the end of a job; the state and the exit status of each task, such as "FAILED 3:0"."""
        self.wait_until(lambda: all(record["JobState"] in ENDED for record in self.jobs(job)), seconds=seconds)
        return [f"{record['JobState']} {record['ExitCode']}" for record in self.jobs(job)]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"no private SLURM: {f'{missing[0]} is missing' if missing else 'only root can start it'}; as root: "
            "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
        )
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Cluster(folder)
    daemons = []
    try:
        for command in _daemons(folder):
            daemons.append(_start(command, folder, cluster.environment))
        _wait_for_nodes(cluster)
        yield cluster
        subprocess.run(["scancel", "--user=root"], env=cluster.environment, timeout=30, check=False)
        cluster.wait_until(lambda: not cluster.run("squeue", "--noheader"), seconds=60)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


@pytest.fixture(scope="session")
def data(rallies: Path) -> list[str]:
    """Settings of a training of two epochs with six steps each."""
    root, store = ["--data.root", str(rallies)], ["--data.store", str(rallies.parent / "store")]
    size = ["--model.size_hw", "[64,96]", "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "6"]
    return [*root, *store, *size, "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="session")
def held() -> Callable[[list[int]], list[str]]:
    """Settings with which a training waits behind the given steps until it is asked to stop."""
    return lambda steps: ["--trainer.callbacks+=hold.Hold", f"--trainer.callbacks.steps={steps}"]


@pytest.fixture(scope="session")
def in_one_go(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, str]]]:
    """The rows of a training in this process that nothing interrupts."""
    from projects.ball.train import main

    def train(*words: str) -> list[dict[str, str]]:
        folder = tmp_path_factory.mktemp("runs")
        main(["fit", "--runs", str(folder), "--run", "one", *data, *words])
        return _rows(folder / "ball" / "one")

    return train


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, str]]]:
    """Reads what a run logged, but for what a clock and the cache, empty at each start, have to say of its data."""
    return _rows


@pytest.fixture
def bare() -> dict[str, str]:
    """Variables without traces of a cluster that the tests may run on."""
    return bare_environment()


@pytest.fixture
def fake_python(tmp_path: Path) -> dict[str, str]:
    """Variables of a Python that notes its words in the file CALLS and ends with the next of STATUSES."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{_FAKE_PYTHON}")
    path.chmod(0o755)
    return {"PYTHON": str(path), "CALLS": str(tmp_path / "calls"), "STATUSES": "0"}


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """The words of each call of the fake Python so far."""
    path = tmp_path / "calls"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: row[name] for name in row if not name.startswith("data/")} for row in csv.DictReader(file)]


_FAKE_PYTHON = """
import json, os, sys
with open(os.environ["CALLS"], "a+") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
    file.seek(0)
    number = len(file.readlines())
sys.exit(int(([0] + os.environ["STATUSES"].split())[number]))
"""


def _daemons(folder: Path) -> list[list[str]]:
    """Writes the configuration; the commands that stay in the foreground, in the order of starting."""
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    conf = folder / "slurm.conf"
    conf.write_text(CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=folder, ports=_free_ports(3)))
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    return [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        *(["slurmd", "-D", "-f", str(conf), "-N", node] for node in ("n1", "n2")),
    ]


def _start(command: list[str], folder: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Starts a daemon that ends with this process, even where that is killed."""
    with (folder / f"{command[0]}{command[-1] if command[0] == 'slurmd' else ''}.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log, env=environment, cwd=folder
        )
    limit = time.monotonic() + 20
    while command[0] == "munged" and not (folder / "munge.socket").exists():
        assert daemon.poll() is None and time.monotonic() < limit, (folder / "munged.log").read_text()
        time.sleep(0.02)
    return daemon


def _wait_for_nodes(cluster: Cluster) -> None:
    limit = time.monotonic() + 30
    found = ""
    while found.split() != ["idle", "idle"]:
        logs = [path.read_text()[-2000:] for path in cluster.folder.glob("slurm*.log")]
        assert time.monotonic() < limit, logs
        time.sleep(0.05)
        found = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        ).stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports
