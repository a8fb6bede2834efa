"""Python for jobs that train, without importing torch for each: a server that has done so forks the trainings.

A job runs a small program in Python's place. It hands its words, variables, folder and output to the server, passes
signals on to the training, and ends as the training does. Whoever of the three is killed takes the others along.
"""

import atexit
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.watch.processes import die_with_parent

CLIENT = """#!{python} -S
import json, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
numbers = (signal.SIGUSR1, signal.SIGTERM)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
job = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(link, [len(job).to_bytes(4, "big")], [1, 2])
link.sendall(job)
for number in numbers:
    signal.signal(number, lambda number, _: link.sendall(bytes([number])))
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
status = json.loads(link.recv(16) or "-9")
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if status != -9 else None
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
"""The program in Python's place; needs `python` and the `address` of the server."""


def write_client(path: Path, address: Path) -> None:
    """Writes the program that runs in Python's place."""
    path.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    path.chmod(0o755)


def next_training(listener: socket.socket) -> None:
    """Returns in a new process for each training, which then has what its job gave it; never in the server."""
    while True:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            die_with_parent()
            (length, outputs, *_) = socket.recv_fds(link, 4, 2)
            job = link.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            training = os.fork()
            if training == 0:
                link.close()
                return become(json.loads(job), outputs)
            accompany(training, link)
            os._exit(0)
        link.close()


def become(job: Any, outputs: list[int]) -> None:
    """Takes the words, variables, folder and output of a job."""
    die_with_parent()
    words, variables, folder = job
    assert words[:2] == ["-m", "projects.ball.train"], words
    sys.argv[1:] = words[2:]
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    for own, given in enumerate(outputs, 1):
        os.dup2(given, own)
        os.close(given)


def accompany(training: int, link: socket.socket) -> None:
    """Passes signals on to a training until it ends, and says how it did; kills it when its job is gone."""
    ended = os.pidfd_open(training)
    while ended not in (ready := select.select([ended, link], [], [])[0]):
        assert ready == [link]
        number = link.recv(1)
        os.kill(training, number[0] if number else signal.SIGKILL)
        if not number:
            return
    link.sendall(json.dumps(os.waitstatus_to_exitcode(os.waitpid(training, 0)[1])).encode())


def finish(run: Callable[[], None]) -> None:
    """Runs and exits as the interpreter would, without waiting for threads of libraries, which no fork has."""
    status = 0
    try:
        run()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    die_with_parent()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen(64)
        print("jobs may start", flush=True)
        import torch._dynamo  # noqa: F401  # the first step of an optimizer imports it

        from projects.ball.train import main

        next_training(server)
    finish(main)
