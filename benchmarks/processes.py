"""Running something in a process of its own, and what a process tree takes of the memory."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter
from traceback import format_exc
from typing import Any

import psutil


def isolated(label: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a function returns in a forked process, which takes all its memory and threads with it; says how long."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args, named))
    started = perf_counter()
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        result, error = None, "ended without an answer"
    process.join()
    if error:
        raise RuntimeError(f"{label}: {error}")
    print(f"{label}: {perf_counter() - started:.0f} s", flush=True)
    return result


def ram() -> int:
    """Bytes of RAM of this process and its children; what several share is counted once (PSS)."""
    own = psutil.Process()
    return sum(int(process.memory_full_info().pss) for process in (own, *own.children(recursive=True)))


def _answer(sender: Connection, function: Callable[..., Any], args: Any, named: Any) -> None:
    try:
        sender.send((function(*args, **named), None))
    except BaseException:  # of any kind, to be raised again where it is waited for
        sender.send((None, format_exc()))
