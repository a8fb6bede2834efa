import csv
import random
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from common.data import store
from common.data.check import check_data
from common.data.read import Video
from common.errors import BadRecordError, UserError
from projects.ball.data import BallData, BallWindowDataset


def _data(rallies: Path, **settings: Any) -> BallData:
    defaults = {"offsets": (-2, 0, 1), "size_hw": (90, 160), "batch_size": 4, "num_workers": 0}
    data = BallData(root=str(rallies), store=str(rallies.parent / "store"), **(defaults | settings))
    data.prepare_data()
    data.setup("fit")
    return data


def test_a_sample_holds_the_frames_and_labels_of_its_window(rallies: Path) -> None:
    dataset = _data(rallies).datasets["test"]
    for index in (0, len(dataset) // 2, len(dataset) - 1):
        sample = dataset[0, index]
        name, frame = dataset.source_of(index)  # type: ignore[attr-defined]
        clip = next(part.clip for part in dataset.parts if part.clip.name == name)  # type: ignore[attr-defined]
        frames = Video(clip.path).read([frame - 2, frame, frame + 1], (90, 160))
        np.testing.assert_array_equal(sample["frames"], np.stack([frames[frame + offset] for offset in (-2, 0, 1)]))
        row = int(np.flatnonzero(clip.labels.frames == frame)[0])
        assert sample["window_labelled"][sample["anchor"]]
        assert bool(sample["window_visible"][1]) == bool(clip.labels.visible[row])
        if clip.labels.visible[row]:
            original = (sample["window_xy"][1] + 0.5) * sample["scale_xy"] - 0.5
            np.testing.assert_allclose(original, clip.labels.points_xy[row], atol=1e-3)


def test_store_and_video_give_the_same_samples(rallies: Path) -> None:
    stored, decoded = _data(rallies).datasets["test"], _data(rallies, frames="video").datasets["test"]
    assert len(stored) == len(decoded)
    assert torch.equal(stored[0, 3]["frames"], decoded[0, 3]["frames"])


@pytest.mark.parametrize(
    "settings", [{}, {"val_videos": ["game_02"]}, {"val_fraction": 0.3}, {"fold": 1, "folds": 3}, {"fold": 4}]
)
def test_splits_share_no_frame(rallies: Path, settings: dict[str, Any]) -> None:
    datasets = _data(rallies, **settings).datasets
    seen: set[tuple[str, int]] = set()
    for dataset in datasets.values():
        frames = {
            (part.clip.name, int(frame)) for part in dataset.parts for frame in part.windows.frames.ravel()  # type: ignore[attr-defined]
        }  # fmt: skip
        assert frames
        assert not frames & seen
        seen |= frames


def test_batches_do_not_depend_on_workers(rallies: Path) -> None:
    one, other = (_data(rallies, num_workers=workers).train_dataloader() for workers in (0, 2))
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


def test_what_was_left_out_is_said(real_data: Path, tmp_path: Path) -> None:
    data = BallData(
        root=str(real_data / "ball" / "badminton"), store=str(tmp_path), frames="video", test_videos=["train_00039"],
        size_hw=(90, 160),
    )  # fmt: skip
    data.setup("fit")
    assert "windows of 3 frames" in data.describe()
    assert len(data.datasets["test"]) == 89  # 91 labelled frames, the first and the last without a neighbour


def test_offsets_must_hold_the_target(rallies: Path) -> None:
    with pytest.raises(UserError, match=r"offsets: found \[1, 2\]; expected different frame offsets with 0"):
        BallData(root=str(rallies), offsets=(1, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": "lots"}, "cache: budget 'lots': not an amount of memory"),
        ({"cache": 50}, "cache: 50 is 50 bytes, in which nothing fits; for a share write '50%', with %"),
        ({"cache_folder": "/nowhere"}, "cache_folder: no folder /nowhere"),
        ({"num_workers": -1}, "num_workers: found -1; expected 0 or more"),
        ({"batch_size": 0}, "batch_size: found 0; expected 1 or more"),
        ({"fold": 5}, "fold: found 5; expected 0..4, one of 5 folds"),
        ({"fold": -1, "folds": 3}, "fold: found -1; expected 0..2, one of 3 folds"),
        ({"folds": 1}, "folds: found 1; expected 2 or more"),
        ({"fold": 0, "val_videos": ["game_02"]}, "fold 0 and val_videos ['game_02'] both name"),
        ({"skip_damaged": -0.1}, "skip_damaged: found -0.1; expected a share"),
    ],
)
def test_wrong_settings_of_the_loaders_are_named(rallies: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        BallData(root=str(rallies), **settings)


def test_what_fits_is_said_and_does_not_change_the_batches(rallies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams = []
    for cache in ("50%", 0, 300_000):
        data = _data(rallies, cache=cache)
        streams.append([batch["frames"].clone() for batch in data.train_dataloader()])
        data.val_dataloader(), data.teardown("fit")
    said = capsys.readouterr().out
    assert "cache: train: 0 of" in said
    assert "100%" in said
    assert all(torch.equal(one, other) for stream in streams[1:] for one, other in zip(streams[0], stream, strict=True))


def test_an_empty_split_is_named(rallies: Path) -> None:
    data = _data(rallies, test_videos=["game_01", "game_02", "game_03", "game_04"])
    with pytest.raises(UserError, match="the train split holds no sample"):
        data.train_dataloader()


def test_folds_validate_each_video_once(rallies: Path) -> None:
    seen, notes = [], []
    for fold in range(4):
        data = _data(rallies, fold=fold, folds=4, seed=fold)
        seen += [part.clip.name for part in data.datasets["val"].parts]  # type: ignore[attr-defined]
        notes.append(data.describe().splitlines()[0].rpartition(" (")[2])
    assert seen == [f"training/game_0{n}" for n in range(1, 5)]
    assert notes[2] == "val: fold 2 of 0..3: 1 of 4 training videos)"


def test_padding_has_no_label(rallies: Path) -> None:
    data = _data(rallies, batch_size=64)
    batch = next(iter(data.test_dataloader()))
    moved = data.on_after_batch_transfer(batch, 0)
    count = len(data.datasets["test"])
    assert len(batch["index"]) == 64 > count
    assert batch["valid"].tolist() == [True] * count + [False] * (64 - count)
    assert torch.equal(moved["window_labelled"][:count], batch["window_labelled"][:count])
    assert not moved["window_labelled"][count:].any()


@pytest.fixture
def damaged(rallies: Path, tmp_path: Path) -> tuple[Path, Path, set[int]]:
    """A copy of the rallies, a training video of it with bytes overwritten, and its lost frames."""
    root = tmp_path / "damaged"
    shutil.copytree(rallies, root)
    path = root / "training" / "videos" / "game_02.mp4"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = random.Random(0).randbytes(400)
    path.write_bytes(content)
    video = Video(path)
    lost = set(range(len(video))) - video.read(range(len(video))).keys()
    assert 0 < len(lost) < len(video) // 2
    return root, path, lost


def _damaged_data(root: Path, tmp_path: Path, **settings: Any) -> BallData:
    defaults = {"size_hw": (32, 64), "batch_size": 4, "frames": "video", "val_videos": ["game_01"]}
    return BallData(root=str(root), store=str(tmp_path / "store"), **(defaults | settings))


@pytest.mark.parametrize("workers", [0, 2])
def test_training_skips_windows_with_lost_frames_and_nothing_else(
    workers: int, damaged: tuple[Path, Path, set[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, path, lost = damaged
    data = _damaged_data(root, tmp_path, skip_damaged=0.5, num_workers=workers)
    data.setup("fit")
    capsys.readouterr()
    loader, samples = data.train_dataloader(), data.datasets["train"]
    assert isinstance(samples, BallWindowDataset)
    sources = {index: samples.source_of(index) for index in range(len(samples))}
    reached = {frame + step for frame in lost for step in (-1, 0, 1)}
    bad = {index for index, (name, frame) in sources.items() if name == "training/game_02" and frame in reached}
    order = loader.batch_sampler.sampler.indices()[: 4 * len(loader)].tolist()
    valid = [bool(each) for batch in loader for each in batch["valid"]]
    assert [index not in bad for index in order] == valid
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert len(said) == len(bad & set(order)) > 0
    assert all(line.startswith(f"skipped: {path}: sample ") and "cannot be decoded" in line for line in said)
    assert loader.skips is not None and loader.skips.count == len(said)
    assert len(list(data.some_frames(1000))) == len(samples) - len(bad)
    assert f"skipped in statistics: {path}: frame" in capsys.readouterr().out


def test_without_permission_a_lost_frame_ends_training(damaged: tuple[Path, Path, set[int]], tmp_path: Path) -> None:
    root, path, _ = damaged
    data = _damaged_data(root, tmp_path)
    data.setup("fit")
    with pytest.raises(BadRecordError, match=r"frame \d+ of \d+ cannot be decoded") as raised:
        list(data.train_dataloader())
    assert raised.value.path == path
    with pytest.raises(BadRecordError, match=r"frame \d+ of \d+ cannot be decoded"):
        list(data.some_frames(1000))


def _checked(data: BallData, tmp_path: Path) -> tuple[bool, list[list[str]]]:
    """Whether all could be read, and the table."""
    whole = check_data(data, tmp_path / "check.csv")
    with (tmp_path / "check.csv").open(newline="") as file:
        return whole, list(csv.reader(file))


@pytest.mark.parametrize("frames", ["store", "video"])
def test_check_finds_nothing_wrong_with_whole_data(
    frames: str, rallies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _checked(_damaged_data(rallies, tmp_path, frames=frames), tmp_path) == (True, [["path", "kind", "detail"]])
    assert re.search(r"^0 of \d+ records cannot be read; the full list: ", capsys.readouterr().out, re.MULTILINE)


def test_check_lists_every_frame_that_a_video_lost(
    damaged: tuple[Path, Path, set[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, path, lost = damaged
    (root / "training" / "videos" / "game_03.mp4").write_bytes(b"not a video")
    whole, rows = _checked(_damaged_data(root, tmp_path), tmp_path)
    assert not whole
    assert [row[1] for row in rows[1:]] == ["video that cannot be read"] + ["damaged record"] * len(lost)
    numbers = [int(re.search(r"game_02 (\d+) of train: frame \1 of", row[2])[1]) for row in rows[2:]]  # type: ignore[index]
    assert set(numbers) == lost
    assert {row[0] for row in rows[2:]} == {str(path)}
    said = capsys.readouterr().out
    assert f"cannot be read: {len(lost)} x damaged record in {path}: " in said
    pattern = rf"^{len(lost)} of \d+ records cannot be read, and 1 files cannot be opened; the full list: "
    assert re.search(pattern, said, re.MULTILINE)


def test_check_lists_what_is_wrong_with_a_store(
    damaged: tuple[Path, Path, set[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, path, lost = damaged
    monkeypatch.setattr(store, "FRAMES_PER_SHARD", 8)
    data = _damaged_data(root, tmp_path, frames="store")
    data.prepare_data()
    shards = sorted(file for file in data.folder.rglob("*.h5") if file.parent.name.startswith("training%2Fgame_04"))
    cut, spoilt = shards[0], shards[1]
    cut.write_bytes(cut.read_bytes()[:1000])
    with h5py.File(spoilt, "r") as file:
        place, stored = file["frames"].id.get_chunk_info(2).byte_offset, int(file["index"][2])
    content = bytearray(spoilt.read_bytes())
    content[place + 100] ^= 1
    spoilt.write_bytes(content)
    with pytest.raises(BadRecordError, match="damaged shard"):
        data.setup("fit")
    whole, rows = _checked(_damaged_data(root, tmp_path, frames="store"), tmp_path)
    assert not whole
    assert [rows[1][:2], rows[-1][:2]] == [
        [str(cut), "shard of frames that cannot be read"], [str(spoilt), "damaged record"],
    ]  # fmt: skip
    assert rows[-1][2].startswith(f"training/game_04 {stored} of train: damaged shard of frames")
    assert {(row[0], row[1]) for row in rows[2:-1]} == {(str(path), "frame that cannot be decoded")}
    assert len(rows) == 3 + len(lost)


def test_a_folder_of_which_nothing_can_be_read_is_listed(
    rallies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "none"
    shutil.copytree(rallies, root)
    videos = list(root.glob("*/videos/*.mp4"))
    for video in videos:
        video.write_bytes(b"not a video")
    whole, rows = _checked(_damaged_data(root, tmp_path, frames="store", val_videos=[]), tmp_path)
    assert not whole
    assert {row[0] for row in rows[1:]} == set(map(str, videos))
    assert "0 of 0 records cannot be read, and 5 files cannot be opened" in capsys.readouterr().out
