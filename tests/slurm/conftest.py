"""A private SLURM on this machine: one controller and two nodes, on loopback ports and in folders of their own."""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.common.watch.ports import own_ports
from tests.slurm import fake
from tests.slurm.forked import write_client
from tests.slurm.pbs import Pbs

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 900.0
"""Seconds that anything may take on a busy machine before a test gives up."""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "setpriv")
SMALL = ("--gpus-per-node=0", "--cpus-per-task=1", "--mem=100")
CONFIGURATION = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
FirstJobId={first}
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
KillWait=300
MinJobAge=86400
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

    def attempt(self, *command: str, cwd: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env=self.environment | variables,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        done = self.attempt(*command, cwd=cwd, **variables)
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

    def wait_until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < limit, self.run("scontrol", "show", "job")
            time.sleep(0.5)

    def wait(self, job: str) -> list[str]:
        """Waits for the end of a job; the state and the exit status of each task, such as "FAILED 3:0"."""
        self.wait_until(lambda: all(record["JobState"] in ENDED for record in self.jobs(job)))
        return [f"{record['JobState']} {record['ExitCode']}" for record in self.jobs(job)]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"no private SLURM: {f'{missing[0]} is missing' if missing else 'only root can start it'}; as root: "
            "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
        )
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Cluster(folder)
    with own_ports(3) as ports, ExitStack() as daemons:
        for command in _daemons(folder, ports):
            daemons.enter_context(_started(command, folder, cluster.environment))
        _wait_for_nodes(cluster)
        yield cluster
        cluster.attempt("scancel", "--user=root")
        cluster.wait_until(lambda: not cluster.run("squeue", "--noheader"))


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of a Python that has imported all of a training before a job asks for it."""
    folder = tmp_path_factory.mktemp("forked")
    write_client(folder / "python", folder / "socket")
    environment = bare_environment()
    environment["PYTHONPATH"] += f"{os.pathsep}{REPOSITORY}"
    command = [sys.executable, REPOSITORY / "tests" / "slurm" / "forked.py", folder / "socket"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"jobs may start\n"
        yield {"PYTHON": str(folder / "python")}
        server.terminate()


@pytest.fixture(scope="session")
def data(rallies: Path) -> list[str]:
    """Settings of a training of two epochs with four steps each."""
    root, store = ["--data.root", str(rallies)], ["--data.store", str(rallies.parent / "store")]
    size = ["--model.size_hw", "[32,64]", "--model.net.encoder", "tu-test_convnext"]
    steps = [f"--trainer.{name}=2" for name in ("max_epochs", "limit_val_batches", "limit_test_batches")]
    steps += ["--trainer.limit_train_batches", "4", "--trainer.log_every_n_steps", "1"]
    return [*root, *store, *size, *steps, "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="session")
def in_one_go(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, str]]]:
    """The rows of a training in this process that nothing interrupts."""
    from projects.ball.train import main

    @cache
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
    """Variables of a Python that notes its words and ends with the next of STATUSES."""
    return fake.python(tmp_path)


@pytest.fixture
def pbs(tmp_path: Path, bare: dict[str, str], fake_python: dict[str, str]) -> Pbs:
    return Pbs(tmp_path, bare | fake_python)


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """The words of each call of the fake Python so far."""
    return lambda: fake.calls(tmp_path)


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: row[name] for name in row if not name.startswith("data/")} for row in csv.DictReader(file)]


def _daemons(folder: Path, ports: list[int]) -> list[list[str]]:
    """Writes the configuration; the commands that stay in the foreground, in the order of starting."""
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    conf = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    first = 1 + 20 * (ports[0] % 900)  # the scripts make the ranks' port of the job's number: another for each cluster
    conf.write_text(CONFIGURATION.format(host=host, folder=folder, ports=ports, first=first))
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    return [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        *(["slurmd", "-D", "-f", str(conf), "-N", node] for node in ("n1", "n2")),
    ]


@contextmanager
def _started(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Starts a daemon that ends with this process, even where that is killed."""
    with (folder / f"{command[0]}{command[-1] if command[0] == 'slurmd' else ''}.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log, env=environment, cwd=folder
        )
    limit = time.monotonic() + LIMIT_S
    while command[0] == "munged" and not (folder / "munge.socket").exists():
        assert daemon.poll() is None and time.monotonic() < limit, (folder / "munged.log").read_text()
        time.sleep(0.02)
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(LIMIT_S)


def _wait_for_nodes(cluster: Cluster) -> None:
    limit = time.monotonic() + LIMIT_S
    while cluster.attempt("sinfo", "--noheader", "--Node", "--format=%t").stdout.split() != ["idle", "idle"]:
        logs = [path.read_text()[-2000:] for path in cluster.folder.glob("slurm*.log")]
        assert time.monotonic() < limit, logs
        time.sleep(0.2)
