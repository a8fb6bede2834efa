import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.data.read import Video
from common.errors import UserError
from projects.ball.data import BallData


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


@pytest.mark.parametrize("settings", [{}, {"val_videos": ["game_02"]}, {"val_fraction": 0.3}])
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
