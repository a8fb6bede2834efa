"""Memory that this process may still take, and budgets cut from it."""

import os
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil

from common.errors import UserError

LINE = 64  # bytes of a cache line
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as the largest multiple of a page, just below 2**63
UNITS = {
    **{"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
    **{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40},
}
SLURM = {  # memory on this node, and how often; see the output environment variables of sbatch
    "SLURM_MEM_PER_NODE": "",
    "SLURM_MEM_PER_CPU": "SLURM_CPUS_ON_NODE",
    "SLURM_MEM_PER_GPU": "SLURM_GPUS_ON_NODE",
}
FORMS = (
    'write a share of the free memory ("50%", at most "100%"), a size ("8GB", "512 MiB"), whole bytes, or 0 for none'
)


class Memory(NamedTuple):
    """Free bytes, and for people what bounds them: "machine", "cgroup /sys/fs/cgroup/a" or "SLURM_MEM_PER_NODE"."""

    free: int
    limit: str


class Budget(NamedTuple):
    """Either a share of the free memory, in (0, 1], or a size in bytes; the other one is None."""

    share: float | None
    size: int | None

    def of(self, free: int) -> int:
        """Bytes of this budget where `free` bytes are free; a size is not cut down to them."""
        return int(free * self.share) if self.share is not None else self.size or 0


class _Version(NamedTuple):
    """How one version of cgroups names its parts."""

    controller: str  # in /proc/self/cgroup; version 2 leaves it empty
    filesystem: str
    mount: str  # the usual one
    limit: str
    used: str
    cache: str  # line of memory.stat: file pages that go first when memory runs short


V1 = _Version(
    "memory", "cgroup", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)
V2 = _Version("", "cgroup2", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def free_memory(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Memory:
    """The tightest of what the machine has available, what each cgroup leaves and what Slurm granted.

    A cgroup, own or above, leaves its limit less its use without inactive file pages, which the kernel drops first
    (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst). Slurm's grant is counted less the resident pages
    of this process alone; where Slurm confines its jobs, their cgroup also knows the other processes.

    Args:
        root: where `proc/self` and the mounts of cgroups are looked for.
        environ: where Slurm's variables are looked for.
    """
    machine = Memory(psutil.virtual_memory().available, "machine")
    groups = (_left(folder, version) for version in (V2, V1) for folder in _groups(root, version))
    return min([machine, *filter(None, groups), *_granted(environ)], key=lambda memory: memory.free)


def parse_budget(text: str | int | float) -> Budget:
    """Reads "50%", "1.5GB", "512 MiB" or a whole number of bytes; 0 means none.

    kB to TB are powers of 1000, KiB to TiB of 1024, in any case; parts of a byte are dropped.

    Raises:
        UserError: anything else, such as 0.5, which could be a share or a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|[kmgt]?i?b)?", str(text).strip().lower(), re.ASCII)
    number, unit = found.groups() if found else ("", "")
    if unit == "%" and 0 < Fraction(number) <= 100:
        return Budget(float(Fraction(number) / 100), None)
    if unit in UNITS:
        return Budget(None, int(Fraction(number) * UNITS[unit]))
    if unit is None and number.isdecimal():
        return Budget(None, int(number))
    raise UserError(f"budget {text!r}: not an amount of memory; {FORMS}")


def show_bytes(n: int) -> str:
    """A size for people, in powers of 1000: "1.9 GB", "512 MB", "0 B"."""
    unit = next((unit for unit in ("B", "kB", "MB", "GB") if n < 999.5 * UNITS[unit.lower()]), "TB")
    value = n / UNITS[unit.lower()]
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def round_up(size: int, multiple: int = LINE) -> int:
    """The next multiple, for arrays that follow each other in one memory."""
    return -(-size // multiple) * multiple


def _groups(root: Path, version: _Version) -> Iterator[Path]:
    """Folders of this process's group and those above it, up to the mount."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, own = line.split(":", 2)
        if version.controller in controllers.split(","):
            for top, mount in _mounts(root, version):
                yield from _upwards(PurePosixPath(own), top, mount)


def _upwards(own: PurePosixPath, top: str, mount: Path) -> Iterator[Path]:
    """From `own` up to `mount`, which shows the hierarchy from `top` down.

    Inside a container `own` may be named as the host sees it. Then no such folder exists, and only the mount counts.
    """
    inside = own.relative_to(top) if own.is_relative_to(top) else PurePosixPath()
    if ".." in inside.parts or not (mount / inside).is_dir():
        inside = PurePosixPath()
    return (mount / step for step in (inside, *inside.parents))


def _mounts(root: Path, version: _Version) -> list[tuple[str, Path]]:
    """Each mount of the hierarchy: the group at its top and its folder; the usual place where none is listed."""
    mounts = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")  # see proc_pid_mountinfo(5)
        top, folder = place.split()[3:5]
        filesystem, *_, options = kind.split()
        if filesystem == version.filesystem and version.controller in ("", *options.split(",")):
            mounts.append((top, root / folder.lstrip("/")))
    return mounts or [("/", root / version.mount.lstrip("/"))]


def _left(folder: Path, version: _Version) -> Memory | None:
    """What one group leaves; None where it sets no limit."""
    limit, used = _whole(_read(folder / version.limit)), _whole(_read(folder / version.used))
    if limit is None or used is None or limit >= UNLIMITED:
        return None
    cache = re.search(rf"^{version.cache} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
    working = max(used - int(cache[1] if cache else 0), 0)
    return Memory(max(limit - working, 0), f"cgroup {folder}")


def _granted(environ: Mapping[str, str]) -> Iterator[Memory]:
    """What Slurm granted on this node, less what this process holds; 0 or nonsense is no limit."""
    for size, count in SLURM.items():
        granted = _slurm_bytes(environ.get(size, "")) * (_whole(environ.get(count, "")) or 0 if count else 1)
        if granted:
            resident = psutil.Process().memory_info().rss
            yield Memory(max(granted - resident, 0), f"{size} x {count}" if count else size)


def _slurm_bytes(text: str) -> int:
    """Bytes in Slurm's notation: mebibytes, unless K, M, G or T follows; 0 for nonsense."""
    found = re.fullmatch(r"(\d+)([kmgt]?)", text.strip().lower(), re.ASCII)
    return int(found[1]) * UNITS[f"{found[2] or 'm'}ib"] if found else 0


def _whole(text: str) -> int | None:
    """A whole number; None for anything else, such as "max" or a file that is not there."""
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    """The text of a file; empty where it is absent, closed to us or vanishing with its group."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
