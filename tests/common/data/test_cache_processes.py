"""The shared cache among ranks, jobs and loader processes: what they share, what it takes, and what they leave."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.slab import shared_folder

_spec = importlib.util.spec_from_file_location("cache_programs", Path(__file__).with_name("cache_programs.py"))
assert _spec is not None and _spec.loader is not None
programs: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)

MIB = 1 << 20
ALL = list(range(programs.COUNT))
MODES = [("threads", 2), ("fork", 2), ("spawn", 1), ("forkserver", 1)]  # fresh processes take seconds to import


@pytest.fixture(scope="module")
def launcher() -> Iterator[Any]:
    launcher = programs.Launcher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def torch_launcher() -> Iterator[Any]:
    """For those that load batches."""
    launcher = programs.Launcher(torch=True)
    yield launcher
    launcher.close()


@pytest.fixture
def folder() -> Iterator[str]:
    """In shared memory, and of this test alone: what it leaves can be counted."""
    folder = tempfile.mkdtemp(prefix="test-", dir=shared_folder())
    yield folder
    shutil.rmtree(folder)


# --- Sharing.


def test_two_processes_that_miss_a_record_decode_it_once(launcher: Any, folder: str) -> None:
    peers = [launcher.rank(rank) for rank in range(2)]
    for peer in peers:
        peer.ask("open", folder, fits=1, decode_s=0.05)
    for record in range(5):
        for peer in peers:
            peer.begin("read", [record, record + 20])
        assert [peer.hear() for peer in peers] == [[], []]
    stats = peers[0].ask("stats")
    assert (stats["misses"], stats["hits"]) == (10, 10)
    assert stats["decoded_bytes"] == 10 * 64 * 64 * 4


def test_threads_and_processes_that_miss_a_record_decode_it_once(launcher: Any, folder: str) -> None:
    peers = [launcher.rank(rank) for rank in range(2)]
    for peer in peers:
        peer.ask("open", folder, fits=1, decode_s=0.005)
    for peer in peers:
        peer.begin("read_by_threads", ALL[:20], 6)
    assert [peer.hear() for peer in peers] == [[], []]
    assert peers[1].ask("stats")["misses"] == 20


@pytest.mark.parametrize("kind", ["equal", "varying"])
def test_two_ranks_share_one_memory(launcher: Any, folder: str, kind: str) -> None:
    peers = [launcher.rank(rank) for rank in range(2)]
    paths = {peer.ask("open", folder, fits=1, kind=kind, planned=True) for peer in peers}
    assert len(paths) == 1
    for peer, records in zip(peers, (ALL, ALL[::-1]), strict=True):
        peer.begin("read", records, epoch=0)
    assert [peer.hear() for peer in peers] == [[], []]
    assert peers[0].ask("stats")["misses"] == peers[1].ask("stats")["misses"] == len(ALL)
    slabs = [path for path in Path(folder).iterdir() if ".plan-" not in path.name]
    assert [str(path) for path in slabs] == list(paths)
    assert slabs[0].stat().st_size < 1.5 * programs.bytes_for(1, kind) + 100_000


def test_ranks_that_start_together_find_one_memory(launcher: Any, folder: str) -> None:
    for _ in range(5):
        peers = [launcher.rank(rank) for rank in range(5)]
        for peer in peers:
            peer.begin("open", folder, decode_s=0.001)
        assert len({peer.hear() for peer in peers}) == 1
        assert len({peer.ask("inode") for peer in peers}) == 1
        for peer in peers:
            peer.begin("read", [1, 2])
        assert [peer.hear() for peer in peers] == [[]] * 5
        assert peers[0].ask("stats")["misses"] == 2
        for peer in peers:
            peer.begin("end", "return")
        assert [peer.wait() for peer in peers] == [0] * 5
        assert programs.names(folder) == []


def test_another_plan_for_the_same_records_is_another_plan(launcher: Any, folder: str) -> None:
    peer = launcher.start()
    peer.ask("open", folder, planned=True)
    first, second = (peer.ask("share_a_plan", programs.COUNT, seed=seed) for seed in (4, 5))
    for seed, found in ((4, first), (5, second)):
        plan = programs.planned_epochs(programs.COUNT, seed)
        plan.mark(plan.times(0, np.arange(programs.COUNT // 2)))
        assert found == plan.next_use(np.arange(programs.COUNT), np.full(programs.COUNT, -1)).tolist()


def test_jobs_on_the_same_data_do_not_mix(launcher: Any, folder: str) -> None:
    starts = [
        launcher.rank(0, "77.1"), launcher.rank(0, "78.1"), launcher.start(), launcher.start(DENSE_JOB="77.1")
    ]  # fmt: skip
    paths = {peer.ask("open", folder, fits=1) for peer in starts}
    assert len(paths) == 4
    for peer in starts:
        assert peer.ask("read", ALL) == []
        assert peer.ask("stats")["misses"] == len(ALL)
    assert {str(path) for path in Path(folder).iterdir()} == paths


# --- What is left.


@pytest.mark.parametrize("how", ["return", "exit", "raise", "close"])
def test_nothing_is_left(launcher: Any, folder: str, how: str) -> None:
    peers = [launcher.rank(rank) for rank in range(2)]
    for peer in peers:
        peer.ask("open", folder, planned=True)
        assert peer.ask("read", ALL, epoch=1) == []
    assert peers[0].end() == 0
    assert len(programs.names(folder)) > 1  # the other one still needs it
    if how == "close":
        peers[1].ask("close")
    else:
        assert peers[1].end(how) == {"return": 0, "exit": 5, "raise": 1}[how]
    assert programs.names(folder) == []


def test_what_a_killed_job_left_goes_when_the_next_starts(launcher: Any, folder: str) -> None:
    killed, other = launcher.rank(0, "77.1"), launcher.rank(0, "78.1")
    for peer in (killed, other):
        peer.ask("open", folder, planned=True)
        assert peer.ask("read", ALL, epoch=0) == []
    killed.kill()
    left = {name for name in programs.names(folder) if "77.1" in name}
    living = set(programs.names(folder)) - left
    assert left and living
    starts = launcher.start()
    starts.ask("open", folder, "other data")
    assert left.isdisjoint(programs.names(folder))
    assert living < set(programs.names(folder))
    assert other.ask("read", ALL, epoch=1) == []
    for peer in (starts, other):
        assert peer.end() == 0
    assert programs.names(folder) == []


def test_a_plan_whose_memory_is_gone_is_swept(launcher: Any, folder: str) -> None:
    """As a loader's process leaves it that outlives its job by a batch."""
    uid = os.getuid()
    Path(folder, f"dense-{uid}-77.1-0123456789abcdef.plan-3.npy").write_bytes(b"left")
    starts = launcher.start()
    starts.ask("open", folder)
    assert len(programs.names(folder)) == 1
    assert starts.end() == 0


# --- How much is taken.


@pytest.fixture
def small() -> Iterator[str]:
    """A file system of 64 MiB in memory, as /dev/shm is in a container."""
    folder = tempfile.mkdtemp()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        Path(folder).rmdir()
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    Path(folder).rmdir()


def test_an_amount_that_the_folder_cannot_hold_is_refused(launcher: Any, small: str) -> None:
    peer = launcher.start()
    with pytest.raises(programs.RefusedError) as refused:
        peer.ask("open", small, fits=1, kind="large")
    assert re.match(rf"UserError: {small}: 403 MB of shared memory needed, 67 MB free; give", str(refused.value))
    assert programs.names(small) == []
    assert peer.ask("free_space", small) == 64 * MIB


@pytest.mark.parametrize(("budget", "capacity"), [("100%", 7), ("50%", 3), ("1%", 0)])
def test_a_share_takes_what_fits(launcher: Any, small: str, budget: str, capacity: int) -> None:
    peer = launcher.start()
    peer.ask("open", small, budget=budget, kind="large", planned=True)
    for epoch in range(2):
        assert peer.ask("read", ALL[:12], epoch=epoch) == []
    assert len(peer.ask("cached")) == capacity
    assert peer.end() == 0
    assert programs.names(small) == []


@pytest.mark.parametrize("budget", ["100%", 0])
def test_tables_that_the_folder_cannot_hold_are_not_made(launcher: Any, small: str, budget: str | int) -> None:
    assert launcher.start().ask("open_tables", small, budget) <= 64 * MIB


def test_memory_that_was_let_go_can_be_taken_again(launcher: Any, small: str) -> None:
    peer = launcher.start()
    for content in ("one", "two", "three"):
        peer.ask("open", small, content, fits=5 / programs.COUNT, kind="large")
        assert peer.ask("read", ALL[:6]) == []
        peer.ask("close")
        assert peer.ask("free_space", small) == 64 * MIB


@pytest.mark.parametrize("pages_left", [0, 1])
@pytest.mark.parametrize("samples", [[50_000], [40, 50_000], [50_000, 40]])
def test_plans_do_without_a_full_folder(launcher: Any, small: str, samples: list[int], pages_left: int) -> None:
    """Neither a new plan nor a second one for the same records needs room, and none meets SIGBUS in the last page."""
    peer, filler = launcher.start(), Path(small, "filler")
    peer.ask("open", small, planned=True)
    assert peer.ask("read", ALL, epoch=0) == []
    peer.ask("share_a_plan", samples[0])
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    for epoch in range(4):
        assert peer.ask("read", ALL, epoch=epoch) == []
    for number in samples:
        os.truncate(filler, filler.stat().st_size // 4096 * 4096 - 4096 * pages_left)
        assert len(peer.ask("share_a_plan", number)) == number
    assert peer.ask("read", ALL, epoch=4) == []
    assert peer.end() == 0
    assert programs.names(small) == ["filler"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of the kernel, limited to 256 MiB."""
    reasons = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, options, *_ = line.split()
        version1 = kind == "cgroup" and "memory" in options.split(",")
        if not version1 and kind != "cgroup2":
            continue
        group = Path(mount) / f"test-cache-{os.getpid()}"
        limit = group / ("memory.limit_in_bytes" if version1 else "memory.max")
        try:
            group.mkdir()
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            if limit.exists():
                limit.write_text(str(256 * MIB))
                yield group
                return
            reasons.append(f"{mount}: no memory controller")
        finally:
            empty(group)
            group.rmdir()
    pytest.skip(f"no memory cgroup can be made: {'; '.join(reasons) or 'none is mounted'}")


def empty(group: Path) -> None:
    """Ends what a failed test left in its group."""
    for _ in range(1000):
        processes = (group / "cgroup.procs").read_text().split()
        for process in processes:
            os.kill(int(process), signal.SIGKILL)
        if not processes:
            return
        time.sleep(0.01)


def test_an_amount_beyond_the_group_is_refused(launcher: Any, folder: str, group: Path) -> None:
    peer = launcher.start()
    peer.ask("enter_group", str(group))
    with pytest.raises(programs.RefusedError) as refused:
        peer.ask("open", folder, fits=1, kind="large")
    message = rf"UserError: cache: 403 MB needed, 2\d\d MB of memory free \(cgroup {group}\); give a smaller one"
    assert re.match(message, str(refused.value))
    assert programs.names(folder) == []
    assert peer.end() == 0


def test_a_share_is_of_what_the_group_leaves(launcher: Any, folder: str, group: Path) -> None:
    peer = launcher.start()
    peer.ask("enter_group", str(group))
    peer.ask("open", folder, budget="50%", kind="large", planned=True)
    assert 100 * MIB < peer.ask("size") <= 128 * MIB
    for start in range(0, len(ALL), 4):
        assert peer.ask("read", ALL[start : start + 4], epoch=0) == []
    assert len(peer.ask("cached")) * 8 * MIB > 90 * MIB
    assert peer.end() == 0
    assert programs.names(folder) == []


# --- Loader processes.


@pytest.fixture(scope="module")
def alone(torch_launcher: Any) -> Iterator[list[Any]]:
    """The batches without workers."""
    folder = tempfile.mkdtemp(prefix="test-", dir=shared_folder())
    found = torch_launcher.start().ask("load", folder, "threads", 0)
    yield found
    shutil.rmtree(folder)


@pytest.mark.parametrize(("mode", "workers"), MODES)
def test_workers_give_what_one_process_gives(
    torch_launcher: Any, folder: str, alone: list[Any], *, mode: str, workers: int
) -> None:
    peer = torch_launcher.start()
    assert peer.ask("load", folder, mode, workers) == alone
    indices = [index for batch, _ in alone for index in batch]
    assert sorted(indices) == sorted(2 * list(range(len(programs.WINDOWS))))
    assert all(right for _, right in alone)
    assert peer.end() == 0  # with its workers still there
    assert programs.names(folder) == []


@pytest.mark.parametrize("how", ["exit", "raise", "close"])
def test_workers_leave_nothing_however_it_ends(torch_launcher: Any, folder: str, how: str) -> None:
    peer = torch_launcher.start()
    peer.ask("load", folder, "fork", 2)
    if how == "close":
        peer.ask("close_loader")
        assert peer.end() == 0
    else:
        assert peer.end(how) == {"exit": 5, "raise": 1}[how]
    assert programs.names(folder) == []


@pytest.mark.parametrize("mode", ["threads", "fork"])
def test_a_users_mistake_in_a_worker_arrives_as_it_was_said(torch_launcher: Any, folder: str, mode: str) -> None:
    peer = torch_launcher.start()
    with pytest.raises(programs.RefusedError) as refused:
        peer.ask("load", folder, mode, 2, bad=30)
    assert str(refused.value) == "UserError: frame 30 of rally.mp4 cannot be decoded"
    assert peer.end() == 0
    assert programs.names(folder) == []


def test_a_killed_worker_is_an_error_and_not_a_wait(torch_launcher: Any, folder: str) -> None:
    peer = torch_launcher.start()
    with pytest.raises(programs.RefusedError, match=r"RuntimeError: DataLoader worker .*(killed|exited)"):
        peer.ask("load_and_kill", folder, "fork")
    assert peer.end() == 0
    assert programs.names(folder) == []
