import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.memory import Budget, Memory, free_memory, parse_budget, show_bytes
from common.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
MIB = 1 << 20
GIB = 1 << 30
MACHINE = 1 << 50
V1_MOUNT = "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
V2_MOUNT = "41 31 0:38 {top} {folder} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1_UNLIMITED = 9223372036854771712


@pytest.fixture(autouse=True)
def vast_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=MACHINE))


class Host:
    """A made-up /proc/self and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)

    def member_of(self, *lines: str) -> None:
        (self.root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))

    def mounts(self, *lines: str) -> None:
        (self.root / "proc/self/mountinfo").write_text("24 1 254:0 / / rw - ext4 /dev/root rw\n" + "".join(lines))

    def v2(self, folder: str, limit: int | str, used: int, inactive: int = 0) -> None:
        files = {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 7\ninactive_file {inactive}\nx 9"}
        self._write(folder, files)

    def v1(self, folder: str, limit: int, used: int, inactive: int = 0) -> None:
        stat = f"cache 8\ninactive_file 77\ntotal_cache 8\ntotal_inactive_file {inactive}\n"
        self._write(folder, {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat})

    def _write(self, folder: str, files: dict[str, int | str]) -> None:
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (place / name).write_text(f"{value}\n")

    def free(self, **environ: str) -> Memory:
        return free_memory(root=self.root, environ=environ)

    def cgroup(self, folder: str, free: int) -> Memory:
        return Memory(free, f"cgroup {self.root / folder}")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def v2_host(host: Host) -> Host:
    host.member_of("0::/a/b")
    host.mounts(V2_MOUNT.format(top="/", folder="/sys/fs/cgroup"))
    return host


def test_without_cgroups_and_slurm_the_machine_bounds(host: Host) -> None:
    assert host.free() == Memory(MACHINE, "machine")


def test_v2_inactive_file_pages_count_as_free(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=10_000, used=7_000, inactive=2_500)
    assert v2_host.free() == v2_host.cgroup("sys/fs/cgroup/a/b", 5_500)


def test_v2_a_group_above_may_be_tighter(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=10_000, used=1_000)
    v2_host.v2("sys/fs/cgroup/a", limit=12_000, used=8_000, inactive=1_000)
    v2_host.v2("sys/fs/cgroup/sibling", limit=10, used=0)
    assert v2_host.free() == v2_host.cgroup("sys/fs/cgroup/a", 5_000)


def test_v2_no_limit_is_no_bound(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit="max", used=1_000)
    assert v2_host.free().limit == "machine"


def test_a_group_over_its_limit_leaves_nothing(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=10_000, used=12_000)
    assert v2_host.free().free == 0


def test_statistics_that_run_ahead_of_the_use_free_no_more_than_the_limit(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=10_000, used=100, inactive=300)
    assert v2_host.free().free == 10_000


def test_a_looser_group_leaves_the_machine_as_bound(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=2 * MACHINE, used=0)
    assert v2_host.free() == Memory(MACHINE, "machine")


@pytest.mark.parametrize("top", ["/", "/docker/1234", "/../elsewhere"])
def test_in_a_container_that_names_its_group_as_the_host_does_the_mount_counts(host: Host, top: str) -> None:
    host.member_of("0::/docker/1234")
    host.mounts(V2_MOUNT.format(top=top, folder="/sys/fs/cgroup"))
    host.v2("sys/fs/cgroup", limit=10_000, used=1_000)
    host.v2("sys/fs/cgroup/docker", limit=10, used=0)  # the container's own, of the same name
    assert host.free() == host.cgroup("sys/fs/cgroup", 9_000)


def test_a_group_outside_the_namespace_counts_as_the_mount(host: Host) -> None:
    host.member_of("0::/../secret")
    host.mounts(V2_MOUNT.format(top="/", folder="/sys/fs/cgroup"))
    host.v2("sys/fs/secret", limit=10, used=0)
    host.v2("sys/fs/cgroup", limit=10_000, used=1_000)
    assert host.free() == host.cgroup("sys/fs/cgroup", 9_000)


def test_without_a_list_of_mounts_the_usual_places_serve(host: Host) -> None:
    host.member_of("0::/a")
    host.v2("sys/fs/cgroup/a", limit=10_000, used=0)
    assert host.free() == host.cgroup("sys/fs/cgroup/a", 10_000)
    host.member_of("4:memory:/b")
    host.v1("sys/fs/cgroup/memory/b", limit=9_000, used=0)
    assert host.free() == host.cgroup("sys/fs/cgroup/memory/b", 9_000)


@pytest.mark.parametrize(("own", "above", "free"), [(10_000, V1_UNLIMITED, 4_000), (V1_UNLIMITED, 9_000, 3_000)])
def test_v1_own_group_and_those_above(host: Host, own: int, above: int, free: int) -> None:
    host.member_of("9:name=systemd:/", "4:cpu,memory:/slurm/job", "3:cpuset:/")
    host.mounts(V1_MOUNT.format(top="/"))
    host.v1("sys/fs/cgroup/memory/slurm/job", limit=own, used=8_000, inactive=2_000)
    host.v1("sys/fs/cgroup/memory/slurm", limit=above, used=8_000, inactive=2_000)
    bounding = "sys/fs/cgroup/memory/slurm" if above < own else "sys/fs/cgroup/memory/slurm/job"
    assert host.free() == host.cgroup(bounding, free)


def test_v1_without_limits_is_no_bound(host: Host) -> None:
    host.member_of("4:memory:/")
    host.mounts(V1_MOUNT.format(top="/"))
    host.v1("sys/fs/cgroup/memory", limit=V1_UNLIMITED, used=8_000)
    assert host.free().limit == "machine"


@pytest.mark.parametrize(("v1_limit", "v2_limit"), [(500, 400), (400, 500)])
def test_with_both_versions_the_tighter_counts(host: Host, v1_limit: int, v2_limit: int) -> None:
    host.member_of("4:memory:/old", "0::/new")
    host.mounts(V1_MOUNT.format(top="/"), V2_MOUNT.format(top="/", folder="/sys/fs/cgroup/unified"))
    host.v1("sys/fs/cgroup/memory/old", limit=v1_limit, used=0)
    host.v2("sys/fs/cgroup/unified/new", limit=v2_limit, used=0)
    bounding = "memory/old" if v1_limit < v2_limit else "unified/new"
    assert host.free() == host.cgroup(f"sys/fs/cgroup/{bounding}", 400)


@pytest.mark.parametrize(
    ("variables", "granted", "limit"),
    [
        ({"SLURM_MEM_PER_NODE": "65536"}, 64 * GIB, "SLURM_MEM_PER_NODE"),
        ({"SLURM_MEM_PER_NODE": "64G"}, 64 * GIB, "SLURM_MEM_PER_NODE"),
        ({"SLURM_MEM_PER_NODE": "1t"}, 1024 * GIB, "SLURM_MEM_PER_NODE"),
        ({"SLURM_MEM_PER_NODE": "67108864K"}, 64 * GIB, "SLURM_MEM_PER_NODE"),
        (
            {"SLURM_MEM_PER_CPU": "4096M", "SLURM_CPUS_ON_NODE": "16"},
            64 * GIB,
            "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE",
        ),
        (
            {"SLURM_MEM_PER_GPU": "32768", "SLURM_GPUS_ON_NODE": "4"},
            128 * GIB,
            "SLURM_MEM_PER_GPU x SLURM_GPUS_ON_NODE",
        ),
    ],
)
def test_slurm_grants_less_what_this_process_holds(
    host: Host, variables: dict[str, str], granted: int, limit: str
) -> None:
    found = host.free(**variables)
    assert found.limit == limit
    assert abs(granted - found.free - psutil.Process().memory_info().rss) < 64 * MIB


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_MEM_PER_NODE": "0"},
        {"SLURM_MEM_PER_NODE": ""},
        {"SLURM_MEM_PER_NODE": "lots"},
        {"SLURM_MEM_PER_NODE": "-1"},
        {"SLURM_MEM_PER_CPU": "4096"},
        {"SLURM_MEM_PER_CPU": "4096", "SLURM_CPUS_ON_NODE": "2(x2)"},
        {"SLURM_MEM_PER_GPU": "4096", "SLURM_GPUS_ON_NODE": "0"},
    ],
)
def test_slurm_without_a_grant_is_no_bound(host: Host, variables: dict[str, str]) -> None:
    assert host.free(**variables).limit == "machine"


def test_a_grant_already_spent_leaves_nothing(host: Host) -> None:
    assert host.free(SLURM_MEM_PER_NODE="1") == Memory(0, "SLURM_MEM_PER_NODE")


def test_a_group_tighter_than_the_grant_bounds(v2_host: Host) -> None:
    v2_host.v2("sys/fs/cgroup/a/b", limit=10_000, used=0)
    assert v2_host.free(SLURM_MEM_PER_NODE="64G").limit.startswith("cgroup ")


def _memory_mounts() -> Iterator[tuple[Path, str]]:
    """Where memory groups may be made, and the name of their limit."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2":
            yield Path(folder), "memory.max"
        if kind == "cgroup" and "memory" in options.split(","):
            yield Path(folder), "memory.limit_in_bytes"


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A group of the kernel limited to 256 MiB, with the group `inner` in it."""
    reasons = ["no cgroup is mounted"] if not Path("/proc/mounts").exists() else []
    for mount, limit in _memory_mounts() if not reasons else ():
        group = mount / f"test-memory-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            if not (group / limit).exists():
                reasons.append(f"{mount}: no memory controller")
                continue
            (group / "inner").mkdir()
            (group / limit).write_text(str(256 * MIB))
            yield group
            return
        finally:
            for folder in (group / "inner", group):
                if folder.is_dir():
                    folder.rmdir()
    pytest.skip(f"no memory cgroup can be made: {'; '.join(reasons)}")


INSIDE = """
import json, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
from common.data.memory import free_memory
before = free_memory()
held = b"x" * (64 << 20)
json.dump({"before": before, "after": free_memory(), "modules": list(sys.modules)}, sys.stdout)
"""


@pytest.mark.parametrize("inside", [".", "inner"])
def test_a_real_group_bounds_its_processes(real_group: Path, inside: str) -> None:
    command = [sys.executable, "-c", INSIDE, str(real_group / inside)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(result.stdout)
    (before, limit), (after, _) = said["before"], said["after"]
    assert limit == f"cgroup {real_group}"
    assert 128 * MIB < before <= 256 * MIB
    assert abs(before - after - 64 * MIB) < 8 * MIB
    assert not {"torch", "numpy"} & set(said["modules"])


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("50%", Budget(0.5, None)),
        (" 12.5 % ", Budget(0.125, None)),
        ("100%", Budget(1.0, None)),
        ("8GB", Budget(None, 8_000_000_000)),
        ("8GiB", Budget(None, 8 * GIB)),
        ("512 MiB", Budget(None, 512 * MIB)),
        ("1.5gb", Budget(None, 1_500_000_000)),
        ("1.001 kB", Budget(None, 1_001)),
        ("2 TB", Budget(None, 2 * 10**12)),
        ("0.5TIB", Budget(None, 512 * GIB)),
        ("0GB", Budget(None, 0)),
        ("0", Budget(None, 0)),
        (0, Budget(None, 0)),
        (123456, Budget(None, 123456)),
        ("123456", Budget(None, 123456)),
    ],
)
def test_budgets(text: str | int, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        *(0.5, "0.5", 8.0, True, -1, "-1", "-8GB", "0%", "100.1%", "150%", "half", "", "%", "GB", "8 G", "8iB", "1e9"),
        *("nan", "8,5GB", "1_000", "8GB 8GB", "\u0663GB", "8GB\n9"),
    ],
)
def test_anything_else_is_refused_with_the_forms(text: str | int | float) -> None:
    with pytest.raises(UserError) as refused:
        parse_budget(text)
    assert repr(text) in str(refused.value)
    assert '"50%"' in str(refused.value)


def test_a_share_is_of_the_free_memory_and_a_size_is_itself() -> None:
    assert parse_budget("25%").of(1_000) == 250
    assert parse_budget("100%").of(1_001) == 1_001
    assert parse_budget("2kB").of(1_000) == 2_000
    assert parse_budget(0).of(1_000) == 0


@settings(deadline=None)
@given(st.integers(0, 1 << 63))
def test_whole_bytes_are_read_back(size: int) -> None:
    for text in (size, str(size), f"{size}B", f" {size} b"):
        assert parse_budget(text) == Budget(None, size)


@settings(deadline=None)
@given(st.integers(0, 10**7), st.sampled_from("kmgt"), st.booleans(), st.booleans())
def test_sizes_are_read_back_exactly(thousandths: int, prefix: str, binary: bool, spaced: bool) -> None:
    factor = (1024 if binary else 1000) ** (1 + "kmgt".index(prefix))
    unit = prefix.upper() + ("iB" if binary else "B")
    text = f"{thousandths // 1000}.{thousandths % 1000:03d}{' ' if spaced else ''}{unit}"
    assert parse_budget(text) == Budget(None, thousandths * factor // 1000)


@settings(deadline=None)
@given(st.integers(1, 10_000), st.integers(0, 1 << 45))
def test_shares_are_read_back(hundredths: int, free: int) -> None:
    budget = parse_budget(f"{hundredths / 100}%")
    assert budget.share == hundredths / 10_000
    assert abs(budget.of(free) - free * hundredths / 10_000) <= 1
    assert budget.of(free) <= free


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_what_is_shown_is_a_budget_of_nearly_that_size(size: int) -> None:
    shown = parse_budget(show_bytes(size)).size
    assert shown is not None
    assert abs(shown - size) <= 0.05 * size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (512_000_000, "512 MB"),
        (999_600_000, "1.0 GB"),
        (1_870_000_000, "1.9 GB"),
        (9_960_000_000, "10 GB"),
        (25_276_080_128, "25 GB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert show_bytes(size) == text
