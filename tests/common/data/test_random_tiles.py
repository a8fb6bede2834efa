from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.blocks import NOT_COUNTED, BlockRecords
from common.data.plan import EpochSampler, ReadPlan, sample_seeds
from common.data.random_tiles import RandomTiles, block_side, cells
from common.data.tiles import Box
from common.errors import UserError


@dataclass
class Numbered:
    """A scene in which each value says where it is."""

    name: str
    size_hw: tuple[int, int]
    channels: int = 2

    @cached_property
    def values(self) -> np.ndarray:
        count = self.channels * self.size_hw[0] * self.size_hw[1]
        return np.arange(1, count + 1, dtype=np.float32).reshape(self.channels, *self.size_hw)

    @cached_property
    def classes(self) -> np.ndarray:
        return (self.values[0] % 251).astype(np.uint8)

    def read_labelled(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        part = np.s_[..., box.top : box.bottom, box.left : box.right]
        return self.values[part], self.classes[part]


def tiles_of(sizes: Sequence[tuple[int, int]], tile_hw: tuple[int, int], kind: type = np.float32) -> RandomTiles:
    scenes = [Numbered(f"scene {number}", size) for number, size in enumerate(sizes)]
    blocks = BlockRecords(scenes, channels=2, kind=kind, side_hw=block_side(tile_hw), content="numbers")
    return RandomTiles(blocks, tile_hw=tile_hw, seed=3)


SIZES = st.tuples(st.integers(1, 45), st.integers(1, 45))


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(SIZES, min_size=1, max_size=3), tile=st.tuples(st.integers(4, 24), st.integers(4, 24)),
       epoch=st.integers(0, 5))  # fmt: skip
def test_a_tile_is_the_part_of_its_scene_at_its_corner(
    sizes: list[tuple[int, int]], tile: tuple[int, int], epoch: int
) -> None:
    samples = tiles_of(sizes, tile)
    indices = np.arange(len(samples))
    batch = samples.batch(epoch, indices.tolist())
    corners = samples.corners(indices, sample_seeds(indices, seed=3, epoch=epoch))
    for index, (top, left) in enumerate(corners.tolist()):
        scene = samples.blocks.scenes[samples.scene_of[index]]
        assert isinstance(scene, Numbered)
        rows, columns = min(tile[0], scene.size_hw[0]), min(tile[1], scene.size_hw[1])
        part = np.s_[..., top : top + rows, left : left + columns]
        assert scene.values[part].shape[1:] == (rows, columns), "it left the scene"
        np.testing.assert_array_equal(batch["image"][index, :, :rows, :columns], scene.values[part])
        np.testing.assert_array_equal(batch["label"][index, :rows, :columns], scene.classes[part])
        assert (batch["label"][index, rows:] == NOT_COUNTED).all()
        assert (batch["label"][index, :, columns:] == NOT_COUNTED).all()
        image = batch["image"][index].numpy()
        assert ((image % 1 == 0) & (image >= 1) & (image <= scene.values.size)).all(), "beyond its end it is reflected"


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 400), tile=st.integers(4, 90))
def test_the_cells_reach_every_pixel(size: int, tile: int) -> None:
    low, high = (ends[:, 0] for ends in cells((size, 8), (tile, 8)))
    assert (low <= high).all()
    assert low[0] == 0
    assert high[-1] == max(size - tile, 0)
    assert (low[1:] <= high[:-1] + tile).all()
    assert len(low) == 1 + -(-max(size - tile, 0) // tile)


def test_every_pixel_is_seen_about_equally_often() -> None:
    samples = tiles_of([(100, 130)], (32, 32))
    seen = np.zeros((100, 130))
    indices = np.arange(len(samples))
    for epoch in range(400):
        for top, left in samples.corners(indices, sample_seeds(indices, seed=0, epoch=epoch)).tolist():
            seen[top : top + 32, left : left + 32] += 1
    assert seen.min() > 0.05 * seen.mean()  # the very corners; nothing is left out
    assert seen.max() < 3 * seen.mean()
    assert np.quantile(seen, 0.1) > 0.3 * seen.mean()


def test_through_a_cache_it_is_the_same() -> None:
    plain, cached = (tiles_of([(40, 50), (33, 12)], (16, 16)) for _ in range(2))
    sampler = EpochSampler(len(cached), seed=1, shuffle=True)
    cached.cache(ReadPlan(cached.reads, sampler), budget=cached.nbytes // 2, folder=None)
    for epoch in range(2):
        cached.begin(epoch)
        order = sampler.order(epoch).tolist()
        for name, values in cached.batch(epoch, order).items():
            np.testing.assert_array_equal(values, plain.batch(epoch, order)[name])
    assert cached.records is not None
    assert cached.records.stats().hits > 0


def test_places_change_from_epoch_to_epoch_and_depend_on_nothing_else() -> None:
    samples = tiles_of([(90, 90)], (32, 32))
    first, again, other = (samples.batch(epoch, [2, 0])["image"] for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(samples.batch(0, [2])["image"][0], first[0])


def test_integers_stay_integers() -> None:
    assert tiles_of([(40, 40)], (16, 16), np.uint16).batch(0, [0])["image"].numpy().dtype == np.uint16


def test_what_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="tile_hw: found"):
        block_side((3, 64))


def test_a_sample_is_called_by_its_scene() -> None:
    samples = tiles_of([(40, 40), (64, 64)], (32, 32))
    assert samples.source_of(len(samples) - 1) == ("scene 1 tile", 3)
