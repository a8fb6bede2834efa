import os
import zipfile
from pathlib import Path

import pytest
import torch

from common.checkpoints import (
    BEST,
    LAST,
    RunCheckpointIO,
    best,
    damage,
    drop_left,
    find_checkpoint,
    keep_best,
    keep_newest,
    load,
    newest,
    require_loadable,
    step_path,
    tensor_bytes,
)
from common.errors import UserError

io = RunCheckpointIO()


def save(folder: Path, step: int, size: int = 1000) -> Path:
    path = step_path(folder, step)
    io.save_checkpoint({"step": step, "weights": torch.full((size,), float(step))}, path)
    return path


def test_saved_is_loaded(tmp_path: Path) -> None:
    loaded = io.load_checkpoint(save(tmp_path, 3))
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"], torch.full((1000,), 3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003.ckpt"]


def test_the_newest_two_are_kept_and_last_is_the_last(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        keep_newest(tmp_path, save(tmp_path, step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, "step-00000010.ckpt", "step-00000015.ckpt"]
    assert load(tmp_path / LAST)["step"] == 15


@pytest.mark.parametrize(("again", "kept"), [(7, [5, 7]), (10, [5, 10]), (12, [5, 12])])
def test_a_damaged_one_does_not_count_as_the_second(tmp_path: Path, again: int, kept: list[int]) -> None:
    for step in (5, 10):
        keep_newest(tmp_path, save(tmp_path, step))
    step_path(tmp_path, 10).write_bytes(b"torn")
    resumed = newest(tmp_path)
    assert resumed == step_path(tmp_path, 5)
    written = save(tmp_path, again)
    drop_left(tmp_path, resumed=resumed, written=written)
    keep_newest(tmp_path, written)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == [step_path(tmp_path, step).name for step in kept]
    assert newest(tmp_path) == written


def test_a_run_that_starts_afresh_leaves_nothing_of_before(tmp_path: Path) -> None:
    save(tmp_path, 10).write_bytes(b"torn")
    drop_left(tmp_path, resumed=None, written=save(tmp_path, 5))
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000005.ckpt"]


def test_the_best_are_kept_by_score_then_by_step(tmp_path: Path) -> None:
    for step, score in ((1, 0.5), (2, 0.7), (3, 0.7), (4, float("nan")), (5, 0.6), (6, -0.25)):
        keep_best(tmp_path, save(tmp_path, step), step=step, score=score, count=2)
    assert [(one.step, one.score) for one in best(tmp_path)] == [(2, 0.7), (3, 0.7)]
    assert load(tmp_path / BEST)["step"] == 2
    keep_best(tmp_path, save(tmp_path, 7), step=7, score=0.9, count=2)
    assert [one.step for one in best(tmp_path)] == [7, 2]
    assert load(tmp_path / BEST)["step"] == 7


def test_a_step_done_again_replaces_its_own_best(tmp_path: Path) -> None:
    keep_best(tmp_path, save(tmp_path, 2), step=2, score=0.7, count=1)
    keep_best(tmp_path, save(tmp_path, 2), step=2, score=0.69, count=1)  # not the same on other hardware
    assert [(one.step, one.score) for one in best(tmp_path)] == [(2, 0.69)]


def test_negative_scores_and_scores_that_are_no_numbers_rank(tmp_path: Path) -> None:
    for step, score in ((1, float("nan")), (2, -1.5e-7), (3, -3.0)):
        keep_best(tmp_path, save(tmp_path, step), step=step, score=score, count=3)
    assert [one.step for one in best(tmp_path)] == [2, 3, 1]
    assert best(tmp_path)[0].score == -1.5e-7


@pytest.mark.parametrize("count", [0, 100, -1])
def test_a_truncated_checkpoint_is_damaged(tmp_path: Path, count: int) -> None:
    path = save(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:count])
    assert damage(path)
    with pytest.raises(UserError, match=r"step-00000001\.ckpt: damaged checkpoint"):
        load(path)


def test_every_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 1, size=64)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    start = content.index(torch.full((64,), 1.0).numpy().tobytes())
    assert entry.file_size == 256
    for place in range(start, start + 256, 17):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        assert "wrong checksum" in str(damage(path))


def test_a_damaged_newest_is_passed_by_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1)
    later = save(tmp_path, 2)
    later.write_bytes(later.read_bytes()[:-30])
    assert newest(tmp_path) == step_path(tmp_path, 1)
    assert "step-00000002.ckpt: damaged checkpoint" in capsys.readouterr().out
    assert newest(tmp_path / "absent") is None
    step_path(tmp_path, 1).write_bytes(b"")
    assert newest(tmp_path) is None
    assert "step-00000001.ckpt: damaged checkpoint (File is not a zip file); there is none before: starting afresh" in (
        capsys.readouterr().out
    )


def test_a_best_one_stands_in_where_no_other_is_whole(tmp_path: Path) -> None:
    keep_best(tmp_path, save(tmp_path, 2), step=2, score=0.7, count=1)
    step_path(tmp_path, 2).write_bytes(b"torn")
    save(tmp_path, 5).write_bytes(b"torn")
    found = newest(tmp_path)
    assert found is not None
    assert load(found)["step"] == 2


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"evil\.ckpt: .*more than data"):
        io.load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "made").exists()


def test_what_is_no_data_is_named_before_it_is_saved() -> None:
    require_loadable({"a": [1, {"b": torch.ones(2)}], "c": "text"})
    with pytest.raises(UserError, match="its entry 'callbacks' could not be loaded again as data"):
        require_loadable({"a": 1, "callbacks": {"folder": Path("x")}})


def test_a_full_disk_stops_clearly_and_costs_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=3m none {disk} 2>/dev/null"):
        pytest.skip("mounting a small disk needs root")
    try:
        before = save(disk, 1, size=400_000)
        content = before.read_bytes()
        with pytest.raises(
            UserError, match=r"step-00000002\.ckpt: no space left on the disk: 2,\d{3},\d{3} bytes needed, 1,"
        ):
            save(disk, 2, size=400_000)
        with pytest.raises(UserError, match="no space left on the disk"):
            save(disk, 1, size=800_000)  # in the place of the first
        assert before.read_bytes() == content
        assert [path.name for path in disk.iterdir()] == [before.name]
    finally:
        os.system(f"umount {disk}")


def test_bytes_of_nested_tensors() -> None:
    assert tensor_bytes({"a": [torch.zeros(3), (torch.zeros(2, dtype=torch.int64), 5)], "b": "text"}) == 28


def test_without_a_trained_run_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint at .*latest/checkpoints/best\.ckpt; train first"):
        find_checkpoint(tmp_path)


def test_a_run_without_a_validation_has_its_newest(tmp_path: Path) -> None:
    folder = tmp_path / "first" / "checkpoints"
    folder.mkdir(parents=True)
    save(folder, 1)
    newest_one = save(folder, 2)
    assert find_checkpoint(tmp_path, "first") == newest_one
    best_one = folder / "best.ckpt"
    best_one.write_bytes(newest_one.read_bytes())
    assert find_checkpoint(tmp_path, "first") == best_one
