"""Tiled prediction: the scene of the blended tiles, whatever the batches; no thread and no error gets lost."""

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from common.data.blending import Blend
from common.data.tiles import Box, cut, make_grid, untile
from common.errors import UserError
from common.tiled import AHEAD, predict_rows, predict_scene

GRID = make_grid((45, 70), (16, 24), overlap_hw=(5, 7))


class Pixels:
    """A scene in memory, and what was read of it."""

    def __init__(self, *, kind: str = "float32", seed: int = 0) -> None:
        self.values = (200 * np.random.default_rng(seed).random((3, *GRID.size_hw))).astype(kind)
        self.boxes = list[Box]()

    def __call__(self, box: Box) -> np.ndarray:
        self.boxes.append(box)
        return self.values[:, box.top : box.bottom, box.left : box.right]


def numbered(tiles: Tensor, numbers: range) -> Tensor:
    """Tiles that disagree: two maps that hold the tile's number."""
    assert len(tiles) == len(numbers)
    means = tiles.float().mean(dim=1, keepdim=True)
    shares = torch.tensor(list(numbers)).view(-1, 1, 1, 1) / len(GRID)
    return torch.cat([means + shares, means * shares], dim=1)


@cache
def blended(blend: Blend, kind: str) -> np.ndarray:
    """The answers of single tiles, put together."""
    values = Pixels(kind=kind).values
    tiles = [torch.from_numpy(cut(values, GRID, number))[None] for number in range(len(GRID))]
    return untile([numbered(tile, range(n, n + 1))[0] for n, tile in enumerate(tiles)], GRID, blend=blend).numpy()


@settings(deadline=None, max_examples=15)
@given(
    batch_size=st.integers(1, 20), blend=st.sampled_from(get_args(Blend)), kind=st.sampled_from(["float32", "uint8"])
)
def test_rows_scene_and_single_tiles_are_one(batch_size: int, blend: Blend, kind: str) -> None:
    read, done = Pixels(kind=kind), list[int]()
    expected = blended(blend, kind)
    options: Any = {"batch_size": batch_size, "blend": blend}
    whole = predict_scene(read, numbered, GRID, advance=done.append, **options)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, expected)
    assert read.boxes == [GRID.box(number) for number in range(len(GRID))]
    assert sum(done) == len(GRID)
    assert max(done) == min(batch_size, len(GRID))
    strips = list(predict_rows(read, numbered, GRID, **options))
    assert [top for top, _ in strips] == list(GRID.tops)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in strips], axis=1), expected)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("writeable", [True, False])
def test_an_identity_gives_the_scene_and_leaves_it_alone(batch_size: int, writeable: bool) -> None:
    read = Pixels()
    before = read.values.copy()
    read.values.flags.writeable = writeable
    found = predict_scene(read, lambda tiles, _: tiles, GRID, batch_size=batch_size, blend="gaussian")
    np.testing.assert_array_equal(found, before)
    np.testing.assert_array_equal(read.values, before)
    assert not np.shares_memory(found, read.values)


def test_a_network_may_not_write_into_the_scene() -> None:
    for batch_size in (1, 4):
        with pytest.raises(UserError, match="network: wrote into its input"):
            predict_scene(Pixels(), lambda tiles, _: tiles.sub_(1), GRID, batch_size=batch_size)


def test_it_reads_and_writes_memory_mapped_files(tmp_path: Path) -> None:
    read = Pixels()
    np.save(tmp_path / "scene.npy", read.values)
    values, read.values = read.values, np.load(tmp_path / "scene.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=values.shape)
    for batch_size in (1, 3):
        out[:] = 0
        assert predict_scene(read, lambda tiles, _: tiles, GRID, batch_size=batch_size, out=out) is out
        out.flush()
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values)


def test_what_is_missing_stays_missing_and_nothing_else() -> None:
    read = Pixels()
    read.values[:, np.random.default_rng(1).random(GRID.size_hw) < 0.1] = np.nan
    layer = nn.Conv2d(3, 1, 3, padding=1)

    def network(tiles: Tensor, _: range) -> Tensor:
        missing = tiles.isnan().any(dim=1, keepdim=True)
        return layer(tiles.nan_to_num()).sigmoid().masked_fill(missing, torch.nan)

    found = predict_scene(read, network, GRID, batch_size=5)
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(read.values[0]))
    known = found[0][~np.isnan(found[0])]
    assert known.min() >= 0
    assert known.max() <= 1


def test_it_runs_in_inference_mode_and_leaves_it_between_strips() -> None:
    layer, modes = nn.Conv2d(3, 1, 1), []

    def network(tiles: Tensor, _: range) -> Tensor:
        modes.append(torch.is_inference_mode_enabled())
        return layer(tiles).to(torch.bfloat16)  # as under autocast

    for _, rows in predict_rows(Pixels(), network, GRID, batch_size=4):
        assert not torch.is_inference_mode_enabled()
        assert rows.dtype == np.float32
    assert modes
    assert all(modes)


def test_reading_stays_a_few_batches_ahead_and_buffers_are_used_again() -> None:
    read, places, lead = Pixels(), set[int](), list[int]()

    def network(tiles: Tensor, numbers: range) -> Tensor:
        places.add(tiles.data_ptr())
        lead.append(len(read.boxes) - numbers.stop)
        return tiles

    predict_scene(read, network, GRID, batch_size=2)
    assert len(places) <= AHEAD + 1
    assert max(lead) <= 2 * AHEAD


def test_an_error_in_reading_arrives_and_no_thread_stays() -> None:
    before = threading.active_count()

    def read(box: Box) -> np.ndarray:
        if box == GRID.box(6):
            raise OSError("gone")
        return np.zeros((1, box.bottom - box.top, box.right - box.left), np.float32)

    for batch_size in (1, 4):
        with pytest.raises(OSError, match="gone"):
            predict_scene(read, lambda tiles, _: tiles, GRID, batch_size=batch_size)
        assert threading.active_count() == before


def test_an_error_in_the_network_leaves_no_thread() -> None:
    before = threading.active_count()

    def network(tiles: Tensor, numbers: range) -> Tensor:
        raise KeyError("no such layer")

    with pytest.raises(KeyError, match="no such layer"):
        list(predict_rows(Pixels(), network, GRID, batch_size=2))
    assert threading.active_count() == before


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    rows: Iterator[Any] = predict_rows(Pixels(), lambda tiles, _: tiles, GRID, batch_size=2)
    next(rows)
    assert threading.active_count() > before
    rows.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_what_does_not_fit_is_refused() -> None:
    def predict(network: Any = lambda tiles, _: tiles, read: Any = None, **options: Any) -> None:
        predict_scene(read or Pixels(), network, GRID, **{"batch_size": 2} | options)

    with pytest.raises(UserError, match="batch_size: found 0"):
        predict(batch_size=0)
    for wrong in (lambda tiles, _: tiles[:, :, ::2], lambda tiles, _: tiles[:1], lambda tiles, _: tiles[:, 0]):
        with pytest.raises(UserError, match="network: returned"):
            predict(wrong)
    for out in (np.zeros((3, 45, 71), np.float32), np.zeros((3, 45, 70))):
        with pytest.raises(UserError, match=r"out: found .* expected \(3, 45, 70\) float32"):
            predict(out=out)
    whole = Pixels().values
    with pytest.raises(UserError, match=r"read .*; expected"):
        predict(read=lambda box: whole)

    def changes(box: Box) -> np.ndarray:
        return np.zeros((1, box.bottom - box.top, box.right - box.left), np.float32 if box.left else np.uint8)

    with pytest.raises(UserError, match=r"float32; expected .* uint8, as in the first"):
        predict(read=changes)
