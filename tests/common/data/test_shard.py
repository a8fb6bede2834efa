"""A shard that somebody else made."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.data.shard import open_shard
from common.errors import BadRecordError

H, W = 4, 6


def write(path: Path, **changes: Callable[[h5py.File], object]) -> Path:
    """A shard of three frames, with some of its arrays made otherwise."""
    made: dict[str, Callable[[h5py.File], object]] = {
        "frames": lambda file: file.create_dataset(
            "frames", data=np.ones((3, H, W, 3), np.uint8), chunks=(1, H, W, 3), fletcher32=True
        ),
        "index": lambda file: file.create_dataset("index", data=np.arange(3)),
        "failed": lambda file: file.create_dataset("failed", data=np.zeros(0, np.int64)),
    }
    with h5py.File(path, "w") as file:
        for make in (made | changes).values():
            make(file)
    return path


def array(name: str, data: object, **options: object) -> dict[str, Callable[[h5py.File], object]]:
    return {name: lambda file: file.create_dataset(name, data=data, **options)}


def empty(name: str, shape: tuple[int, ...], **options: object) -> dict[str, Callable[[h5py.File], object]]:
    return {name: lambda file: file.create_dataset(name, shape, **options)}


def link(kind: h5py.ExternalLink | h5py.SoftLink) -> dict[str, Callable[[h5py.File], object]]:
    return {"index": lambda file: file.__setitem__("index", kind)}


def virtual(file: h5py.File) -> object:
    layout = h5py.VirtualLayout((3,), np.int64)
    layout[:] = h5py.VirtualSource("other.h5", "index", (3,))
    return file.create_virtual_dataset("index", layout)


FRAMES = np.zeros((3, H, W, 3), np.uint8)
ELSEWHERE = "index: missing, or of another file"
FOREIGN = {
    "more than the file has": (empty("frames", (3, 10**6, 10**6, 3), dtype="u1", chunks=(1, 64, 64, 3)), "bytes in a"),
    "endless numbers": (empty("index", (10**12,), dtype="i8", chunks=(1024,)), r"8,000,\d+,\d+,\d+ bytes in a file of"),
    "endless losses": (empty("failed", (10**12,), dtype="i8", chunks=(1024,)), "bytes in a file of"),
    "packed": (array("frames", FRAMES, chunks=(1, H, W, 3), compression="gzip"), "frames: packed"),
    "shuffled": (array("index", np.arange(3), chunks=(3,), shuffle=True), "index: packed"),
    "stored elsewhere": (empty("index", (3,), dtype="i8", external=[("/etc/hostname", 0, 24)]), ELSEWHERE),
    "virtual": ({"index": virtual}, ELSEWHERE),
    "link to a file": (link(h5py.ExternalLink("other.h5", "/index")), ELSEWHERE),
    "link": (link(h5py.SoftLink("/failed")), ELSEWHERE),
    "folder": ({"index": lambda file: file.create_group("index")}, ELSEWHERE),
    "missing": ({"failed": lambda file: None}, "failed: missing"),
    "text": (array("index", ["a", "b", "c"]), "arrays of uint8"),
    "fewer numbers": (array("index", np.arange(2)), "2 numbers for frames"),
    "grey": (array("frames", FRAMES[..., :1], chunks=(1, H, W, 1)), r"frames \(3, 4, 6, 1\)"),
    "one piece": (array("frames", FRAMES), "chunks None"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_no_shard_holds_is_refused(kind: str, tmp_path: Path) -> None:
    changes, message = FOREIGN[kind]
    path = write(tmp_path / "0-2.h5", **changes)
    with pytest.raises(BadRecordError, match=rf"0-2\.h5: damaged shard of frames \(.*{message}"), open_shard(path):
        pass


def test_a_whole_shard_opens(tmp_path: Path) -> None:
    with open_shard(write(tmp_path / "0-2.h5")) as file:
        assert file["frames"][1].sum() == H * W * 3
