"""A `qsub` that takes what OpenPBS takes, and jobs in an environment that holds what OpenPBS sets."""

import subprocess
import sys
from pathlib import Path

QSUB = """
import getopt, os, pathlib, sys
OPTIONS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:q:r:R:S:u:v:VW:XzP:"
options, rest = getopt.getopt(sys.argv[1:], OPTIONS)
if len(rest) > 1:
    sys.exit("usage: qsub [options] [script | -- command]")  # OpenPBS hands no words to a script
script = pathlib.Path(rest[0]).read_text() if rest else sys.stdin.read()
for line in script.splitlines():
    if line.startswith("#PBS "):
        options += [pair for pair in getopt.getopt(line[5:].split(), OPTIONS)[0]]
spool = pathlib.Path(os.environ["SPOOL"])
number = 100 + len(list(spool.glob("*.SC")))
(spool / f"{number}.SC").write_text(script)
(spool / f"{number}.options").write_text("\\n".join(f"{name} {value}" for name, value in options))
print(f"{number}[].server" if "-J" in dict(options) else f"{number}.server")
"""


class Pbs:
    """Jobs that were submitted, and their execution.

    Args:
        folder: for the spool and a home folder.
        environment: of the user's shell.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.spool, self.home, self.work = folder / "spool", folder / "home", folder / "my work"
        for made in (self.spool, self.home, self.work, folder / "bin"):
            made.mkdir()
        program = folder / "bin" / "qsub"
        program.write_text(f"#!{sys.executable} -S\n{QSUB}")
        program.chmod(0o755)
        path = f"{program.parent}:{environment['PATH']}"
        self.login = environment | {"PATH": path, "SPOOL": str(self.spool)}

    def submit(self, script: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", script, *words],
            env=self.login | variables,
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
        )

    def options(self, number: int) -> list[str]:
        return (self.spool / f"{number}.options").read_text().splitlines()

    def start(self, number: int, *, index: int | None = None, **variables: str) -> "subprocess.Popen[bytes]":
        """Starts a job as OpenPBS does: a copy of the script, in the home folder, without the user's environment."""
        nodes = self.spool / f"{number}.nodes"
        nodes.write_text("node1\n")
        names = ("PATH", "SPOOL", "CALLS", "STATUSES", "OMP_NUM_THREADS", "PYTHONPATH", "DENSE_ALLOW")
        kept = {name: self.login[name] for name in names if name in self.login}
        job = {
            "PBS_JOBID": f"{number}.server" if index is None else f"{number}[{index}].server",
            "PBS_O_WORKDIR": str(self.work),
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_NODEFILE": str(nodes),
            "PBS_QUEUE": "workq",
            "HOME": str(self.home),
        }
        if index is not None:
            job |= {"PBS_ARRAY_INDEX": str(index)}
        return subprocess.Popen(["bash", self.spool / f"{number}.SC"], env=kept | job | variables, cwd=self.home)

    def run(self, number: int, *, index: int | None = None, **variables: str) -> int:
        return self.start(number, index=index, **variables).wait(900)

    @property
    def submitted(self) -> list[int]:
        return sorted(int(path.stem) for path in self.spool.glob("*.SC"))
