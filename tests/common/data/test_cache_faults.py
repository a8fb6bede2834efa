"""The shared cache when processes are killed, memory is damaged, or threads and forks meet."""

import importlib.util
import itertools
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.data.slab import shared_folder

_spec = importlib.util.spec_from_file_location("cache_programs", Path(__file__).with_name("cache_programs.py"))
assert _spec is not None and _spec.loader is not None
programs: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)

ALL = range(programs.COUNT)
KINDS = ["equal", "varying"]


@pytest.fixture(scope="module")
def launcher() -> Iterator[Any]:
    launcher = programs.Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def folder() -> Iterator[str]:
    """In shared memory, and of this test alone: what it leaves can be counted."""
    folder = tempfile.mkdtemp(prefix="test-", dir=shared_folder())
    yield folder
    shutil.rmtree(folder)


STORMS = [  # each way with each kind and plan, in the fewest pairs
    ("forked", False, "equal"), ("forked", True, "varying"), ("ranks", False, "varying"), ("ranks", True, "equal"),
    ("orphans", False, "equal"), ("orphans", True, "varying"),
]  # fmt: skip
ALL_STORMS = itertools.product(["forked", "ranks", "orphans"], [False, True], KINDS)


@pytest.mark.parametrize(
    ("kills", "way", "planned", "kind"),
    [*((14, *storm) for storm in STORMS), *(pytest.param(42, *storm, marks=pytest.mark.slow) for storm in ALL_STORMS)],
)
def test_whoever_is_killed_the_others_read_on(
    launcher: Any, folder: str, *, kills: int, way: str, planned: bool, kind: str
) -> None:
    """Six times 14; of the slow ones twelve times 42: more than 500 processes are killed."""
    found = launcher.start().ask("storm", folder, kills=kills, way=way, planned=planned, kind=kind)
    statuses = found["statuses"]
    assert statuses.pop("-9") == kills
    assert set(statuses) == {"0"}, f"{statuses}: {programs.WRONG} is a wrong byte, -14 a process that hung"
    assert found["wrong"] == []
    assert found["damaged"] == 0
    assert programs.balanced(found["surveyed"])
    assert programs.balanced(found["filled"])
    assert found["filled"]["free"] < found["per_record"]


@pytest.mark.parametrize(
    ("planned", "kind"),
    [
        (False, "equal"),
        (True, "varying"),
        pytest.param(False, "varying", marks=pytest.mark.slow),
        pytest.param(True, "equal", marks=pytest.mark.slow),
    ],
)
def test_a_death_at_any_line_does_no_harm(launcher: Any, folder: str, *, planned: bool, kind: str) -> None:
    found = launcher.start().ask("die_at_each_line", folder, planned=planned, kind=kind)
    assert found.pop("deaths") > 40
    assert found == {"wrong": [], "hung": [], "lost": []}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_is_overtaken_reads_again(launcher: Any, folder: str, kind: str) -> None:
    slow, fast = launcher.rank(0), launcher.rank(1)
    for peer in (slow, fast):
        peer.ask("open", folder, fits=0.25, kind=kind)
    assert slow.ask("read", [5]) == slow.ask("read", [5]) == []
    slow.begin("read", [5], pausing=True)
    assert slow.hear() == "copying"
    for _ in range(3):
        assert fast.ask("read", [record for record in ALL if record != 5]) == []
    assert 5 not in fast.ask("cached")
    slow.go_on()
    assert slow.hear() == []
    assert slow.ask("stats")["damaged"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_record_is_decoded_again(launcher: Any, folder: str, kind: str) -> None:
    first = launcher.rank(0)
    path = Path(first.ask("open", folder, fits=1, kind=kind))
    first.ask("fill")
    before = first.ask("stats")
    damage(path, 7, kind)
    second = launcher.rank(1)
    second.ask("open", folder, fits=1, kind=kind)
    for _ in range(2):
        assert second.ask("read", list(ALL)) == []
    after = second.ask("stats")
    assert after["damaged"] == 1
    assert after["misses"] - before["misses"] == 1
    assert after["hits"] - before["hits"] == 2 * programs.COUNT - 1
    assert first.ask("read", [7]) == []


def damage(path: Path, record: int, kind: str) -> None:
    """Flips a bit of a cached record."""
    data = path.read_bytes()
    place = data.find(programs.truth(record, kind).tobytes()[:64])
    assert place > 0
    with path.open("r+b") as file:
        file.seek(place + 17)
        file.write(bytes([data[place + 17] ^ 4]))


def test_a_half_written_row_is_not_followed(launcher: Any, folder: str) -> None:
    stays, fresh = launcher.rank(0), launcher.rank(1)
    for peer in (stays, fresh):
        peer.ask("open", folder, fits=1, kind="varying")
    stays.ask("fill")
    assert stays.ask("read", list(ALL)) == []
    stays.ask("tear", max(ALL, key=lambda record: programs.truth(record, "varying").size))
    for peer in (stays, fresh):
        assert peer.ask("read", list(ALL)) == []
    assert stays.ask("stats")["damaged"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planned", [False, True])
def test_a_half_written_record_never_shows_and_its_pages_come_back(
    launcher: Any, folder: str, *, planned: bool, kind: str
) -> None:
    stays = launcher.rank(0)
    stays.ask("open", folder, fits=0.5, kind=kind, planned=planned)
    for number in range(4):
        dies = launcher.rank(1)
        dies.ask("open", folder, kind=kind, planned=planned)
        dies.ask("die_in", "digest")
        dies.begin("read", [10 + number], epoch=0 if planned else None)
        assert dies.wait() == -signal.SIGKILL
        assert 10 + number not in stays.ask("cached")
    assert not programs.balanced(stays.ask("accounts"))  # else there is nothing to find
    for epoch, record in itertools.product(range(4), ALL):
        assert stays.ask("read", [record], epoch=epoch if planned else None) == []
    assert programs.balanced(stays.ask("accounts"))
    assert stays.ask("stats")["damaged"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_damage_does_not_hide_that_a_process_died(launcher: Any, folder: str, kind: str) -> None:
    stays, dies = launcher.rank(0), launcher.rank(1)
    path = Path(stays.ask("open", folder, fits=0.25, kind=kind))
    for record in ALL:
        stays.ask("read", [record])
    dies.ask("open", folder, kind=kind)
    cached = stays.ask("cached")
    dies.ask("die_in", "eviction")
    dies.begin("read", [next(record for record in ALL if record not in cached)])
    assert dies.wait() == -signal.SIGKILL
    damaged = stays.ask("cached")[0]
    damage(path, damaged, kind)
    fresh = launcher.rank(2)
    fresh.ask("open", folder, kind=kind)
    assert fresh.ask("read", [damaged]) == []
    assert fresh.ask("stats")["damaged"] == 1
    assert programs.balanced(fresh.ask("accounts"))


def test_who_dies_while_it_makes_the_memory_leaves_it_to_others(launcher: Any, folder: str) -> None:
    dies, waits = launcher.rank(0), launcher.rank(1)
    dies.ask("pause_in_a_slab")
    dies.begin("open", folder)
    dies.hear()
    waits.begin("open", folder)
    time.sleep(0.3)  # it finds what is half made and waits, or else comes when that is left over
    assert dies.kill() == -signal.SIGKILL
    waits.hear()
    assert waits.ask("read", list(ALL)) == []
    assert waits.end() == 0
    assert programs.names(folder) == []


def test_locks_are_kept_while_another_cache_is_made(launcher: Any, folder: str) -> None:
    """A process loses its POSIX locks on a file when it closes any descriptor of that file."""
    holder, rival = launcher.rank(0), launcher.rank(1)
    for peer in (holder, rival):
        peer.ask("open", folder)
    assert holder.ask("lock", 5)
    holder.ask("open", folder, "another")  # which sweeps the folder
    assert not rival.ask("lock", 5)


def test_threads_with_two_caches_do_not_look_like_a_deadlock(launcher: Any, folder: str) -> None:
    """Linux looks for circles among processes, not threads, and breaks them with EDEADLK."""
    peers = [launcher.rank(rank) for rank in range(3)]
    for peer in peers:
        for content in ("train", "val"):
            peer.ask("open", folder, content)
    for peer in peers:
        peer.begin("compete", ["train", "val"], 1500)
    assert [peer.hear() for peer in peers] == [None] * 3


def test_children_forked_while_threads_read_can_read(launcher: Any, folder: str) -> None:
    peer = launcher.start()
    peer.ask("open", folder)
    assert set(peer.ask("fork_while_threads_read", 60)) == {0}


def test_threads_that_start_together_find_one_memory(launcher: Any, folder: str) -> None:
    """Of two slabs in one process the first that is closed takes the locks of both."""
    for _ in range(5):
        peer = launcher.start()
        assert peer.ask("open_by_threads", folder, 4) == 1
        assert peer.end() == 0


def test_threads_may_be_the_first_to_ask_for_a_plan(launcher: Any, folder: str) -> None:
    assert launcher.start().ask("plan_by_threads", folder, 4, 60) == []
