"""Decides, from what the ranks of a run say, whether one has failed, and which was the first."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import UserError

SETTLE_S = 3.0
"""Seconds that a lost connection waits for a better explanation, or a question for its answers."""

FOLLOW_S = 10.0
"""Seconds within which ranks follow rank 0, which saves, when it has stopped as planned."""

_FRAMES = 8  # of a traceback; the innermost
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket closed")
_TORCH_LOST = {"DistError", "DistBackendError", "DistNetworkError", "DistStoreError", "DistQueueEmptyError"}


@dataclass(frozen=True)
class Cause:
    """Why a run ends.

    Attributes:
        rank: which rank it was.
        lines: for people, the last one naming the rank; none where all is as planned.
        status: that the processes exit with.
        weak: it may be the echo of another rank's end.
    """

    rank: int
    lines: list[str]
    status: int = 1
    weak: bool = False

    @classmethod
    def of(cls, error: BaseException, rank: int, host: str) -> "Cause":
        """What a rank says of an error it cannot handle: a user's mistake by its text, else with a short traceback."""
        who = f"rank {rank} (host {host}) failed first: "
        if isinstance(error, UserError):
            text = str(error).rpartition("UserError: ")[2]  # a loader's process puts its traceback before it
            return cls(rank, (who + text.strip()).splitlines(), status=2)
        trace = "".join(traceback.format_exception(error, limit=-_FRAMES)).rstrip()
        return cls(rank, [*trace.splitlines(), who + _in_short(error)], weak=_is_echo(error))


@dataclass
class Rank:
    """What the judge knows of a rank.

    Attributes:
        host: name of its machine.
        pid: of its process.
        count: marks of progress so far.
        place: where it was at the last one.
        patient: whether it may be long on its way to the next one.
        left: the status it has said goodbye with.
        failed: whether it has said why.
        answer: where its main thread stands: `at`, `stack`, `waiting` (for other ranks).
    """

    number: int
    host: str = "?"
    pid: int = 0
    joined: bool = False
    count: int = 0
    place: str = "the start"
    patient: bool = True
    left: int | None = None
    failed: bool = False
    answer: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"rank {self.number} (host {self.host}, pid {self.pid})" if self.pid else f"rank {self.number}"


@dataclass
class Judge:
    """Hears what happens, in order, and finds the first cause.

    The run hangs when no rank has made progress for longer than is allowed where the slowest are: a rank that waits
    for another one's long validation or checkpoint is not to blame.

    Attributes:
        world_size: number of ranks.
        timeout_s: seconds without progress inside of a loop.
        phase_timeout_s: the same elsewhere: preparing data, compiling, writing a checkpoint.
        verdict: why the run ends, once that is decided.
        asking: the ranks are to say where they stand.
    """

    world_size: int
    timeout_s: float
    phase_timeout_s: float
    verdict: Cause | None = None
    asking: bool = False
    ranks: list[Rank] = field(init=False)
    _weak: Cause | None = None
    _still_s: float = 0.0  # since any rank's last progress
    _settling_s: float = 0.0  # since the first weak cause, question or goodbye of rank 0

    def __post_init__(self) -> None:
        self.ranks = [Rank(number) for number in range(self.world_size)]

    @property
    def over(self) -> bool:
        """All ranks have said goodbye."""
        return all(rank.left is not None for rank in self.ranks)

    def hear(self, number: int, message: Mapping[str, Any]) -> None:
        """Takes in what a rank says.

        Args:
            number: of the rank.
            message: one of `join`, `mark`, `failed`, `ended` (a process the rank has started), `answer`, `left`.
        """
        rank = self.ranks[number]
        match message:
            case {"join": {"host": host, "pid": pid}}:
                rank.host, rank.pid, rank.joined = host, pid, True
            case {"mark": [count, place, patient]}:
                if count != rank.count:
                    self._still_s, self.asking = 0.0, False
                rank.count, rank.place, rank.patient = count, place, patient
            case {"failed": cause}:
                rank.failed = True
                self._suspect(Cause(**cause))
            case {"ended": {"rank": other, "status": status, "pid": pid}}:
                self._ended(self.ranks[other], pid, status)
            case {"answer": answer}:
                rank.answer = answer
            case {"left": status}:
                rank.left = status

    def lost(self, number: int) -> None:
        """Takes in that the connection to a rank has ended."""
        rank = self.ranks[number]
        if rank.left is None and not rank.failed:
            self._suspect(Cause(number, [f"{rank} ended without a word (killed? out of memory?)"]))

    def tick(self, seconds: float) -> None:
        """Takes in that time has passed."""
        if self.verdict is not None or self.over:
            return
        stopped = next((rank for rank in self.ranks if rank.left), None)
        waiting = self.asking or self._weak is not None or stopped is not None
        self._settling_s = self._settling_s + seconds if waiting else 0.0
        if self._weak is not None and self._settling_s > SETTLE_S:
            self.verdict = self._weak if stopped is None else _followed(stopped)
        elif stopped is None:
            self._look_for_a_hang(seconds)
        elif self._settling_s > (self.timeout_s if self.ranks[0].left is None else FOLLOW_S):
            self.verdict = _followed(stopped)

    def _look_for_a_hang(self, seconds: float) -> None:
        self._still_s += seconds
        present = [rank for rank in self.ranks if rank.left is None]
        if self.asking:
            if self._settling_s > SETTLE_S or all(rank.answer for rank in present):
                self.verdict = self._hang(present)
        elif self._still_s > self._limit_s(present):
            self.asking = True
            for rank in present:
                rank.answer = None

    def _limit_s(self, present: list[Rank]) -> float:
        least = min(rank.count for rank in present)
        patient = any(rank.patient for rank in present if rank.count == least)
        return self.phase_timeout_s if patient else self.timeout_s

    def _hang(self, present: list[Rank]) -> Cause:
        """Who holds up the others: who is absent, silent, busy with something else than waiting, or furthest behind."""
        rank = min(present, key=lambda each: (each.joined, *_busyness(each.answer), each.count, each.number))
        since = f"{self._still_s:.0f} s"
        if not rank.joined:
            return Cause(rank.number, [f"{rank} did not join the others within {since}; did its process start?"])
        if rank.answer is None:
            text = f"no heartbeat, and no progress for {since} since {rank.place} (stopped? its machine gone?)"
            return Cause(rank.number, [f"{rank} hangs: {text}"])
        others = [f"{each} is in {each.place}, at {each.answer['at']}" for each in present if each.answer]
        text = f"no progress for {since} since {rank.place}; its main thread stands at {rank.answer['at']}"
        return Cause(rank.number, [*others, f"main thread of {rank}:", *rank.answer["stack"], f"{rank} hangs: {text}"])

    def _ended(self, rank: Rank, pid: int, status: int) -> None:
        if rank.joined or rank.failed:  # then its connection tells
            return
        rank.pid, rank.host = pid, self.ranks[0].host
        how = f"by signal {-status}" if status < 0 else f"with status {status}; what it said stands above"
        self._suspect(Cause(rank.number, [f"{rank} ended before it had joined the others, {how}"], max(status, 1)))

    def _suspect(self, cause: Cause) -> None:
        if cause.weak:
            self._weak = self._weak or cause
        else:
            self.verdict = self.verdict or cause


def _followed(rank: Rank) -> Cause:
    return Cause(rank.number, [], rank.left or 0)


def _busyness(answer: dict[str, Any] | None) -> tuple[bool, bool]:
    return (answer is not None, answer is not None and bool(answer["waiting"]))


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    if "Original Traceback (most recent call last):" in lines:  # from a loader's process
        return lines[-1]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def _is_echo(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that of a connection to another rank."""
    if error is None:
        return False
    text = str(error).lower()
    lost = isinstance(error, ConnectionError) or type(error).__name__ in _TORCH_LOST
    lost = lost or (isinstance(error, RuntimeError) and any(words in text for words in _LOST))
    return lost or _is_echo(error.__cause__ or error.__context__)
