import pytest

from common.errors import UserError
from common.watch.judge import FOLLOW_S, SETTLE_S, Cause, Judge

LOST = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.0.0.2]:56743"


def joined(world_size: int = 3, timeout_s: float = 10.0, phase_timeout_s: float = 100.0) -> Judge:
    judge = Judge(world_size, timeout_s, phase_timeout_s)
    for rank in range(world_size):
        judge.hear(rank, {"join": {"host": "node", "pid": 100 + rank}})
    return judge


def failed(error: Exception, rank: int) -> dict[str, object]:
    return {"failed": vars(Cause.of(error, rank, "node"))}


def answer(waiting: bool) -> dict[str, object]:
    return {"answer": {"at": "x.py:1 in f", "stack": ["  x.py"], "waiting": waiting}}


def last_line(judge: Judge) -> str:
    assert judge.verdict is not None
    return judge.verdict.lines[-1]


def pass_time(judge: Judge, seconds: float) -> None:
    for _ in range(round(seconds)):
        judge.tick(1.0)


def test_the_first_error_counts() -> None:
    judge = joined()
    judge.hear(2, failed(KeyError("a"), 2))
    judge.hear(1, failed(ValueError("b"), 1))
    judge.lost(0)
    assert last_line(judge) == "rank 2 (host node) failed first: KeyError: 'a'"


def test_a_lost_connection_explains_less_than_the_end_that_it_echoes() -> None:
    judge = joined()
    judge.hear(0, failed(RuntimeError(LOST), 0))
    judge.tick(1.0)
    assert judge.verdict is None
    judge.lost(1)
    assert last_line(judge).startswith("rank 1 (host node, pid 101) ended without a word")


def test_a_lost_connection_counts_where_nothing_else_explains_it() -> None:
    judge = joined()
    judge.hear(0, failed(RuntimeError(LOST), 0))
    judge.lost(0)  # it has said why
    pass_time(judge, SETTLE_S + 1)
    assert last_line(judge) == f"rank 0 (host node) failed first: RuntimeError: {LOST}"


def test_ranks_leave_at_different_times() -> None:
    judge = joined(timeout_s=1000.0, phase_timeout_s=1000.0)
    for rank in (2, 0, 1):
        judge.hear(rank, {"left": 0})
        judge.lost(rank)
        pass_time(judge, 30)
    assert judge.over
    assert judge.verdict is None


def test_ranks_follow_a_rank_0_that_has_stopped_as_planned() -> None:
    judge = joined()
    judge.hear(0, {"left": 85})
    pass_time(judge, FOLLOW_S)
    assert judge.verdict is None
    pass_time(judge, 1)
    assert judge.verdict == Cause(0, [], 85)


def test_rank_0_may_take_longer_to_stop_as_planned() -> None:
    judge = joined(timeout_s=60.0)
    judge.hear(1, {"left": 85})
    pass_time(judge, 60)
    assert judge.verdict is None
    pass_time(judge, 1)
    assert judge.verdict == Cause(1, [], 85)


def test_a_connection_lost_to_a_rank_that_has_stopped_as_planned_is_no_failure() -> None:
    judge = joined()
    judge.hear(1, {"left": 85})
    judge.hear(0, failed(RuntimeError(LOST), 0))
    pass_time(judge, SETTLE_S + 1)
    assert judge.verdict == Cause(1, [], 85)


def test_the_rank_that_waits_for_none_holds_up_the_others() -> None:
    judge = joined()
    for rank, waiting in enumerate((True, False, True)):
        judge.hear(rank, {"mark": [7 - rank, "training", False]})  # rank 2 is furthest behind, but waits
        judge.hear(rank, {"mark": [7 - rank, "training", False]})
        assert waiting is (rank != 1)
    pass_time(judge, 11)
    assert judge.asking
    for rank, waiting in enumerate((True, False, True)):
        judge.hear(rank, answer(waiting))
    judge.tick(1.0)
    assert last_line(judge).startswith("rank 1 (host node, pid 101) hangs: no progress for 12 s since training;")


def test_a_silent_rank_holds_up_the_others() -> None:
    judge = joined()
    for rank in range(3):
        judge.hear(rank, {"mark": [5, "training", False]})
    pass_time(judge, 11)
    judge.hear(0, answer(False))
    judge.hear(1, answer(False))
    pass_time(judge, SETTLE_S + 1)
    assert last_line(judge).startswith("rank 2 (host node, pid 102) hangs: no heartbeat")


def test_who_never_joined_holds_up_the_others() -> None:
    judge = Judge(2, 10.0, 100.0)
    judge.hear(0, {"join": {"host": "node", "pid": 100}})
    pass_time(judge, 100 + SETTLE_S + 2)
    assert last_line(judge).startswith("rank 1 did not join the others within")


def test_a_long_phase_is_waited_for() -> None:
    judge = joined()
    judge.hear(0, {"mark": [8, "writing a checkpoint", True]})
    judge.hear(1, {"mark": [8, "writing a checkpoint", True]})
    judge.hear(2, {"mark": [9, "the next batch", False]})
    pass_time(judge, 100)
    assert not judge.asking
    pass_time(judge, 1)
    assert judge.asking


def test_as_long_as_one_rank_goes_on_the_others_may_wait() -> None:
    judge = joined()
    for rank in range(3):
        judge.hear(rank, {"mark": [5, "validation", False]})
    for count in range(6, 20):
        pass_time(judge, 9)
        judge.hear(0, {"mark": [count, "validation", False]})
    assert not judge.asking


def test_progress_takes_back_the_question() -> None:
    judge = joined()
    for rank in range(3):
        judge.hear(rank, {"mark": [5, "training", False]})
    pass_time(judge, 11)
    assert judge.asking
    judge.hear(1, {"mark": [6, "training", False]})
    pass_time(judge, 9)
    assert not judge.asking
    assert judge.verdict is None


@pytest.mark.parametrize(
    ("error", "last", "status", "weak"),
    [
        (UserError("a.yaml: key b"), "rank 1 (host h) failed first: a.yaml: key b", 2, False),
        (UserError("Caught\nUserError: x is 1"), "rank 1 (host h) failed first: x is 1", 2, False),
        (ValueError("one\ntwo"), "rank 1 (host h) failed first: ValueError: one", 1, False),
        (ValueError(), "rank 1 (host h) failed first: ValueError", 1, False),
        (
            ValueError(
                "Caught ValueError in worker\nOriginal Traceback (most recent call last):\n  x\nValueError: boom"
            ),
            "rank 1 (host h) failed first: ValueError: boom",
            1,
            False,
        ),
        (RuntimeError("NCCL error"), "rank 1 (host h) failed first: RuntimeError: NCCL error", 1, True),
        (ValueError("nccl is a word here"), "rank 1 (host h) failed first: ValueError: nccl is a word here", 1, False),
        (BrokenPipeError("x"), "rank 1 (host h) failed first: BrokenPipeError: x", 1, True),
    ],
)
def test_what_a_rank_says_of_an_error(error: Exception, last: str, status: int, weak: bool) -> None:
    cause = Cause.of(error, 1, "h")
    assert (cause.lines[-1], cause.status, cause.weak) == (last, status, weak)


def test_an_error_that_came_from_a_lost_connection_is_an_echo() -> None:
    try:
        try:
            raise RuntimeError(LOST)
        except RuntimeError as lost:
            raise ValueError("no sum") from lost
    except ValueError as error:
        assert Cause.of(error, 0, "h").weak
