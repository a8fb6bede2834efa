"""The process beside rank 0 that hears all ranks and has the last word: no failure of a rank silences it.

Started as `python -m common.watch.sentry SETTINGS`, with the listening socket's descriptor among the settings.
"""

import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from common.watch.judge import Cause, Judge
from common.watch.link import BEAT_S, Link
from common.watch.processes import kill

QUIET_S = 6.0
"""Seconds that ranks have to fall silent, so that the last word is the last."""

LEAVE_S = 2.0
"""Seconds that ranks on this machine have to end before they are killed."""


@dataclass(frozen=True)
class Settings:
    """What the sentry is told.

    Attributes:
        descriptor: of the listening socket.
        token: that ranks show when they join.
        world_size: number of ranks.
        timeout_s: seconds without progress inside of a loop.
        phase_timeout_s: the same elsewhere.
    """

    descriptor: int
    token: str
    world_size: int
    timeout_s: float
    phase_timeout_s: float


class Sentry:
    """Takes messages from the ranks to the judge, and the verdict to the ranks.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: Settings) -> None:
        self.judge = Judge(settings.world_size, settings.timeout_s, settings.phase_timeout_s)
        self._token, self._parent = settings.token, os.getppid()
        self._listener = socket.socket(fileno=settings.descriptor)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ranks: dict[int, Link] = {}
        self._quiet: set[int] = set()

    def run(self) -> None:
        """Watches until all ranks have left, or one has failed and all have ended."""
        while self.judge.verdict is None and not self.judge.over and not self._abandoned():
            asking, started = self.judge.asking, time.monotonic()
            self._listen()
            self.judge.tick(min(time.monotonic() - started, 2 * BEAT_S))  # a suspended job has not stood still
            if self.judge.asking and not asking:
                self._tell(where=True)
        if self.judge.verdict is not None:
            self._say(self.judge.verdict)
        self._tell(go=True)
        if self.judge.verdict is not None:
            self._kill_the_rest()

    def _say(self, verdict: Cause) -> None:
        self._tell(verdict=asdict(verdict))
        self._wait(QUIET_S, until=lambda: self._quiet >= set(self._ranks))
        if verdict.lines:
            print(*verdict.lines, sep="\n", file=sys.stderr, flush=True)

    def _kill_the_rest(self) -> None:
        self._wait(LEAVE_S, until=lambda: not self._ranks)
        here = socket.gethostname()
        for rank in self._ranks:  # their connections stand: they live, stopped or stuck
            if self.judge.ranks[rank].host == here:
                kill(self.judge.ranks[rank].pid)

    def _abandoned(self) -> bool:
        """Rank 0 died before it could join."""
        return not self._ranks and os.getppid() != self._parent

    def _wait(self, seconds: float, *, until: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        self._listen()  # to who has just come, in any case
        while not until() and time.monotonic() < end:
            self._listen()

    def _tell(self, **message: Any) -> None:
        for link in self._ranks.values():
            link.send(**message)

    def _listen(self) -> None:
        for key, _ in self._selector.select(BEAT_S):
            if key.fileobj is self._listener:
                connection, _ = self._listener.accept()
                self._selector.register(Link(connection), selectors.EVENT_READ, None)
            else:
                self._hear(key)

    def _hear(self, key: selectors.SelectorKey) -> None:
        link: Any = key.fileobj
        messages, rank = link.receive(), key.data
        for message in messages or []:
            rank = self._joined(link, message) if rank is None else rank
            if rank is None:
                messages = None  # a stranger
                break
            self.judge.hear(rank, message)
            if "quiet" in message:
                self._quiet.add(rank)
        if messages is None:
            self._drop(link, rank)

    def _joined(self, link: Link, message: dict[str, Any]) -> int | None:
        if message.get("token") != self._token:
            return None
        rank = int(message["rank"])
        self._ranks[rank] = link
        self._selector.modify(link, selectors.EVENT_READ, rank)
        if self.judge.verdict is not None:  # it has missed it
            link.send(verdict=asdict(self.judge.verdict))
        return rank

    def _drop(self, link: Link, rank: int | None) -> None:
        self._selector.unregister(link)
        link.close()
        if rank is not None:
            del self._ranks[rank]
            self.judge.lost(rank)


def main() -> None:
    """Watches the run that the command line describes."""
    Sentry(Settings(**json.loads(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
