"""Tasks spread over processes, as making data is."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from common.signals import leave_signals_to_parent


def in_processes(tasks: Sequence[Callable[[], object]], workers: int) -> Iterator[None]:
    """Runs tasks and yields after each; in this process where there is one worker or task.

    A signal is this process's to heed, also one that a cluster or a terminal sends to all: the tasks in hand are
    finished, no other is begun. When this process is killed, its workers end.

    Args:
        tasks: can be pickled; whatever they raise is raised here.
        workers: processes.
    """
    if min(workers, len(tasks)) < 2:
        for task in tasks:
            task()
            yield
        return
    # a forked worker starts at once; a spawned one first imports the main program again, with torch
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = min(workers, len(tasks))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=leave_signals_to_parent) as pool:
        try:
            for done in as_completed([pool.submit(task) for task in tasks]):
                done.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)
