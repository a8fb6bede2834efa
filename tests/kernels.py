"""Kernels for notebooks, forked from a process that has imported what notebooks import: in seconds less for each.

    python -P kernels.py        # answers on stdout, line by line, until stdin ends; its kernels end with it

A question is a list, what to start a kernel with (arguments, folder, environment), and the answer its process id; or a
process id, and the answer is its exit status, null while it runs.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any

INLINE = "module://matplotlib_inline.backend_inline"
"""Backend that a kernel tells matplotlib of, which reads it as it is imported."""

MODULES = ("ipykernel.kernelapp", "matplotlib.pyplot", "pandas", "sklearn.manifold", *(
    f"projects.{name}.train" for name in ("ball", "clouds", "forecast", "pose")
))  # fmt: skip


class Kernel:
    """What Jupyter needs of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, kernels: "Kernels") -> None:
        self.pid, self.kernels = pid, kernels
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.kernels.ask(self.pid)
        return self.returncode

    wait = poll  # Jupyter waits for what has ended

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class Kernels:
    """The process that kernels are forked from; as a context, it ends with it."""

    def __enter__(self) -> "Kernels":
        environment = os.environ | {"MPLBACKEND": INLINE}
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.communicate()

    def launch(self, command: Sequence[str], *, cwd: str, env: Mapping[str, str], **_: Any) -> Kernel:
        """Stands in for `jupyter_client.launcher.launch_kernel`."""
        words = list(command)
        return Kernel(self.ask([words[words.index("ipykernel_launcher") + 1 :], cwd, dict(env)]), self)

    def ask(self, question: Any) -> Any:
        assert self.server.stdin and self.server.stdout
        print(json.dumps(question), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())


def serve() -> None:
    for name in MODULES:
        import_module(name)
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            pid, status = os.waitpid(question, os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "null", flush=True)
        elif pid := os.fork():
            os.setpgid(pid, pid)  # Jupyter signals the whole group
            print(pid, flush=True)
        else:
            return run(*question)
    return None


def run(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Is the kernel, until it is told to end."""
    gc.freeze()  # what it inherits is not gone through, and so copied, page by page
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    import_module("ipykernel.kernelapp").launch_new_instance([*words, f"--IPKernelApp.parent_handle={os.getppid()}"])


if __name__ == "__main__":
    serve()
