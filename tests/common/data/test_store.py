"""What is stored is what the video holds, whole, whatever interrupts."""

import errno
import gc
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.data import shard, store
from common.data.read import Video
from common.data.store import FrameStore, VideoFrames, prepare
from common.errors import UserError

SIZE_HW = (24, 40)
REPOSITORY = Path(__file__).resolve().parents[3]
Write = Callable[..., Path]
Wanted = dict[str, tuple[Path, Sequence[int]]]


@pytest.fixture
def wanted(tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    monkeypatch.setattr(store, "FRAMES_PER_SHARD", 8)
    one, two = (write_video(tmp_path / f"{name}.mp4", 30) for name in ("one", "two"))
    return {"training/game_1": (one, [29, *range(3, 20)]), "training_game_1": (two, range(0, 30, 2))}


def fill(wanted: Wanted, folder: Path, workers: int = 1) -> FrameStore:
    assert prepare(wanted, folder=folder, size_hw=SIZE_HW, workers=workers, progress=False) == []
    return FrameStore(folder, SIZE_HW)


def contents(frames: FrameStore, wanted: Wanted) -> dict[tuple[str, int], bytes]:
    return {(name, int(n)): frames.read(name, int(n)).tobytes() for name in wanted for n in frames.frames(name)}


def direct(wanted: Wanted) -> dict[tuple[str, int], bytes]:
    frames = {name: Video(path).read(indices, SIZE_HW) for name, (path, indices) in wanted.items()}
    return {(name, index): frame.tobytes() for name, read in frames.items() for index, frame in read.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_holds_what_a_direct_read_gives(workers: int, wanted: Wanted, tmp_path: Path) -> None:
    frames = fill(wanted, tmp_path / "store", workers)
    assert contents(frames, wanted) == direct(wanted)
    assert frames.frames("training/game_1").tolist() == [*range(3, 20), 29]
    assert frames.frames("training/game_1").dtype == np.int64
    for indices in ([29, 3, 29], range(8, 13), [19, 29], [5, 4, 3], [3, 5, 6]):  # 10 and 11 are in two shards
        stack = frames.read_many("training/game_1", indices)
        np.testing.assert_array_equal(stack, [frames.read("training/game_1", index) for index in indices])
    clips = [path for path in (tmp_path / "store" / "24x40").iterdir() if path.name.startswith("training%2Fgame_1-")]
    assert [sorted(path.name for path in clip.iterdir()) for clip in clips] == [
        ["11-18.h5", "19-29.h5", "3-10.h5", "clip.json"]
    ]


def test_a_second_call_decodes_nothing(wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(fill(wanted, tmp_path), wanted)
    monkeypatch.setattr(shard.Shard, "write", lambda self: pytest.fail(f"{self.file} written again"))
    monkeypatch.setattr(shard, "Video", lambda path: pytest.fail(f"{path} opened again"))
    assert contents(fill(wanted, tmp_path), wanted) == before


def test_a_changed_video_or_list_never_meets_the_old_frames(wanted: Wanted, tmp_path: Path, write_video: Write) -> None:
    name = "training/game_1"
    video, _ = wanted[name]
    old = fill(wanted, tmp_path / "store")
    longer = fill({name: (video, [0, 1, 29])}, tmp_path / "store")
    assert old.frames(name).tolist() == [*range(3, 20), 29]  # an open store stays as it was
    assert longer.frames(name).tolist() == [0, 1, *range(3, 20), 29]  # several lists of one video are read as one
    write_video(video, 31, start=100)
    assert fill({name: (video, [1, 30])}, tmp_path / "store").frames(name).tolist() == [1, 30]


SCRIPT = """
import sys, time
from pathlib import Path
from common.data import shard, store
store.FRAMES_PER_SHARD = 8
write = shard.Shard._write
def slow(self, video, temporary):
    write(self, video, temporary)
    print("shard", flush=True)
    time.sleep(0.2)
shard.Shard._write = slow
wanted = {"training/game_1": (Path(sys.argv[1]), range(30))}
store.prepare(wanted, folder=Path(sys.argv[2]), size_hw=(24, 40), workers=1)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_call_is_completed_by_the_next(end: int, wanted: Wanted, tmp_path: Path) -> None:
    folder, video = tmp_path / "store", wanted["training_game_1"][0]
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(video), str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=-3
    )
    assert child.stdout is not None
    while b"shard" not in child.stdout.readline():
        pass
    child.stdout.readline()  # the second shard is whole but still under its temporary name
    child.send_signal(end)
    child.wait()
    assert len(list(folder.rglob("*.tmp.h5"))) == (1 if end == signal.SIGKILL else 0)
    done = list(folder.rglob("[0-9]*.h5"))
    assert 1 <= len(done) < 4
    times = [path.stat().st_mtime_ns for path in done]
    job = {"training/game_1": (video, range(30))}
    assert contents(fill(job, folder), job) == direct(job)
    assert [path.stat().st_mtime_ns for path in done] == times
    assert not list(folder.rglob("*.tmp.h5"))


def test_frames_that_cannot_be_decoded_are_named_on_every_call(
    wanted: Wanted, tmp_path: Path, write_video: Write
) -> None:
    path = write_video(tmp_path / "bad.mp4", 40)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = random.Random(0).randbytes(600)
    path.write_bytes(content)
    lost = sorted(set(range(40)) - Video(path).read(range(40)).keys())
    assert lost
    for _ in range(2):
        problems = prepare(
            {"bad": (path, range(45))}, folder=tmp_path / "s", size_hw=SIZE_HW, workers=1, progress=False
        )
        assert [problem.detail for problem in problems] == [f"frame {index} of 40" for index in lost]
        assert {(problem.path, problem.kind) for problem in problems} == {(path, "frame that cannot be decoded")}
    frames = FrameStore(tmp_path / "s", SIZE_HW)
    assert frames.frames("bad").tolist() == sorted(set(range(40)) - set(lost))
    with pytest.raises(UserError, match=f"frame {lost[0]} of clip 'bad' is not stored"):
        frames.read("bad", lost[0])
    with pytest.raises(UserError, match=rf"bad\.mp4: frame {lost[0]} of 40 cannot be decoded"):
        VideoFrames({"bad": path}, SIZE_HW).read_many("bad", [0, lost[0]])


@pytest.mark.parametrize("place", ["pixels", "head", "cut"])
def test_a_damaged_shard_is_named_with_the_remedy(place: str, wanted: Wanted, tmp_path: Path) -> None:
    name = "training/game_1"
    frame = fill(wanted, tmp_path).read(name, 5).tobytes()
    file = next(tmp_path.rglob("3-10.h5"))
    content = bytearray(file.read_bytes())
    if place == "cut":
        del content[len(content) // 2 :]
    else:
        content[content.index(frame) + 1000 if place == "pixels" else 3] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"3-10\.h5: damaged shard.*delete this file, `prepare` makes it again"):
        FrameStore(tmp_path, SIZE_HW).read(name, 5)
    file.unlink()
    assert fill(wanted, tmp_path).read(name, 5).tobytes() == frame


def _first_bytes(frames: FrameStore) -> int:
    return int(frames.read("training/game_1", 7).astype(np.int64).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_crosses_processes_without_its_handles(method: str, wanted: Wanted, tmp_path: Path) -> None:
    frames = fill(wanted, tmp_path)
    expected = _first_bytes(frames)  # a file is open now
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(_first_bytes, [frames] * 4) == [expected] * 4
    assert not pickle.loads(pickle.dumps(frames))._handles
    child = os.fork()
    if child == 0:
        os._exit(0 if _first_bytes(frames) == expected and frames._pid == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert _first_bytes(frames) == expected


def open_files(suffix: str, folder: Path = Path("/")) -> int:
    files = [handle.resolve() for handle in Path("/proc/self/fd").iterdir()]
    return sum(file.suffix == suffix and file.is_relative_to(folder) for file in files)


def test_open_files_are_bounded(wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OPEN_FILES", 2)
    frames = fill(wanted, tmp_path)
    assert contents(frames, wanted) == direct(wanted)
    assert open_files(".h5", tmp_path.resolve()) == 2  # others may be open that earlier tests left


def test_videos_read_as_the_store_does(wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OPEN_VIDEOS", 1)
    frames, stored = VideoFrames({name: path for name, (path, _) in wanted.items()}, SIZE_HW), fill(wanted, tmp_path)
    gc.collect()
    before = open_files(".mp4")
    for name, indices in (("training/game_1", [4, 3, 19]), ("training_game_1", [0, 28]), ("training/game_1", [29, 5])):
        np.testing.assert_array_equal(frames.read_many(name, indices), stored.read_many(name, indices))
    assert frames.frames("training_game_1").tolist() == list(range(30))
    gc.collect()  # PyAV's objects refer to each other
    assert open_files(".mp4") == before + 1


def test_a_disk_too_small_is_told_before_and_during(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(UserError, match=r"24x40: no space left on the disk: 95,040 bytes needed, 1,000 free"):
            fill(wanted, tmp_path / "s")
    assert not list(tmp_path.rglob("*.h5"))

    def full(self: object, video: Video, temporary: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard.Shard, "_write", full)
    with pytest.raises(UserError, match=r"3-10\.h5: no space left on the disk: 23,040 bytes needed"):
        fill(wanted, tmp_path / "s")
    assert not list(tmp_path.rglob("*.h5"))


def test_errors_name_what_is_missing(wanted: Wanted, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"24x40: no frames stored here; run `prepare`"):
        FrameStore(tmp_path / "none", SIZE_HW)
    with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
        fill({"gone": (tmp_path / "gone.mp4", [0])}, tmp_path / "s")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(UserError, match=r"text\.mp4: not a readable video"):
        fill(wanted | {"text": (tmp_path / "text.mp4", [0])}, tmp_path / "s", workers=2)
    with pytest.raises(UserError, match="no frames of clip 'other' stored; there are"):
        fill(wanted, tmp_path / "s").frames("other")
    assert fill({"none": (wanted["training_game_1"][0], [])}, tmp_path / "t").frames("none").tolist() == []
    notes = [json.loads(file.read_text()) for file in tmp_path.rglob("clip.json")]
    assert {note["clip"] for note in notes} >= {"training/game_1", "training_game_1", "none"}
