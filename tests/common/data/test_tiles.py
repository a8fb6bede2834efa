"""Cutting and putting together are inverse, in values, for every size, overlap, type and blend."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.data.blending import Blend, window
from common.data.tiles import Box, Edge, Fill, Grid, cut, fill_tile, make_grid, untile, untile_rows
from common.errors import UserError

BLENDS = get_args(Blend)
TYPES = ["bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]


@st.composite
def places(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `make_grid`."""

    def pair(most: tuple[int, int]) -> tuple[int, int]:
        return draw(st.integers(1, most[0])), draw(st.integers(1, most[1]))

    edge = draw(st.sampled_from(get_args(Edge)))
    size_hw = pair((50, 50))
    tile_hw = pair(size_hw if edge == "snap" else (50, 50))
    stride_hw = pair(tile_hw)
    counts = (size // stride + 1 for size, stride in zip(size_hw, stride_hw, strict=True))
    assume(math.prod(counts) <= 36)
    overlap_hw = tile_hw[0] - stride_hw[0], tile_hw[1] - stride_hw[1]
    return {"size_hw": size_hw, "tile_hw": tile_hw, "overlap_hw": overlap_hw, "edge": edge}


def scene(grid: Grid, kind: str, seed: int) -> np.ndarray:
    """Random bits: huge integers, NaN, infinities and subnormal numbers among them."""
    random = np.random.default_rng(seed)
    shape, dtype = (2, *grid.size_hw), np.dtype(kind)
    if kind == "bool":
        return random.random(shape) < 0.5
    return np.frombuffer(random.bytes(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)


def alike(array: np.ndarray) -> np.ndarray:
    return array


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy())


@settings(deadline=None, max_examples=60)
@given(
    place=places(),
    kind=st.sampled_from(TYPES),
    blend=st.sampled_from(BLENDS),
    make=st.sampled_from([alike, tensor]),
    fill=st.sampled_from(get_args(Fill)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_scene_cut_and_put_together_is_the_same(
    place: dict[str, Any], kind: str, blend: Blend, make: Callable[[np.ndarray], Any], fill: Fill, seed: int
) -> None:
    grid = make_grid(**place)
    original = scene(grid, kind, seed)
    tiles = [cut(make(original), grid, number, fill=fill, value=1) for number in range(len(grid))]
    assert all(tuple(tile.shape) == (2, *grid.tile_hw) for tile in tiles)
    whole = untile(tiles, grid, blend=blend)
    assert type(whole) is type(tiles[0])
    assert whole.dtype == tiles[0].dtype
    np.testing.assert_array_equal(np.asarray(whole), original)
    strips = list(untile_rows(iter(tiles), grid, blend=blend))
    assert [top for top, _ in strips] == list(grid.tops)
    np.testing.assert_array_equal(np.concatenate([np.asarray(rows) for _, rows in strips], axis=-2), original)


def naive(tiles: np.ndarray, grid: Grid, blend: Blend) -> np.ndarray:
    """Weighted sum over sum of weights, in float64; for `crop` the value whose tile's middle is nearest, the later one
    where two are as near."""
    weight = window(grid.tile_hw[0], blend)[:, None] * window(grid.tile_hw[1], blend)
    height, width = (size + tile for size, tile in zip(grid.size_hw, grid.tile_hw, strict=True))
    total, weights = np.zeros((height, width)), np.zeros((height, width))
    nearest = np.full((2, height, width), np.inf)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, len(grid.lefts))
        top, left = grid.tops[row], grid.lefts[column]
        there = np.s_[top : top + grid.tile_hw[0], left : left + grid.tile_hw[1]]
        if blend == "crop":
            far = [abs(np.arange(side) + 0.5 - side / 2) for side in grid.tile_hw]
            near = np.broadcast_arrays(far[0][:, None], far[1])
            closer = (near[0] <= nearest[0][there]) & (near[1] <= nearest[1][there])
            for axis in range(2):
                nearest[axis][there][closer] = near[axis][closer]
            total[there] = np.where(closer, tile, total[there])
            weights[there] = 1
        else:
            total[there] += weight * tile
            weights[there] += weight
    inside = np.s_[: grid.size_hw[0], : grid.size_hw[1]]
    return total[inside] / weights[inside]


@settings(deadline=None, max_examples=80)
@given(
    place=places(),
    kind=st.sampled_from(["float32", "float64"]),
    blend=st.sampled_from(BLENDS),
    make=st.sampled_from([alike, tensor]),
    seed=st.integers(0, 2**32 - 1),
)
def test_tiles_that_differ_give_the_weighted_mean(
    place: dict[str, Any], kind: str, blend: Blend, make: Callable[[np.ndarray], Any], seed: int
) -> None:
    grid = make_grid(**place)
    tiles = np.random.default_rng(seed).random((len(grid), *grid.tile_hw)).astype(kind)
    found = np.asarray(untile((make(tile) for tile in tiles), grid, blend=blend))
    expected = naive(tiles.astype(np.float64), grid, blend)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 if kind == "float32" else 1e-14)


@pytest.mark.parametrize("make", [alike, tensor])
def test_integers_that_differ_go_to_the_nearest_and_do_not_wrap(make: Callable[[np.ndarray], Any]) -> None:
    grid = make_grid((1, 3), (1, 2), overlap_hw=(0, 1))

    def blended(kind: str, first: int, second: int, blend: Blend = "mean") -> int:
        pair = [np.full((1, 2), value, dtype=kind) for value in (first, second)]
        return int(np.asarray(untile((make(tile) for tile in pair), grid, blend=blend))[0, 1])

    assert blended("uint8", 255, 0) == 127  # a step of -127.5 is rounded to the even -128
    assert blended("uint8", 0, 254) == 127
    assert blended("int16", -32768, 32767) in (-1, 0)
    assert blended("int64", 2**62 + 1, 2**62 + 1) == 2**62 + 1
    assert blended("int64", 2**62, 2**62 + 2**40) == 2**62 + 2**39
    assert blended("uint64", 2**63 + 2**41, 2**63) == 2**63 + 2**40
    assert blended("uint8", 3, 9, "crop") == 9


def test_three_tiles_at_a_pixel_weigh_alike() -> None:
    grid = make_grid((1, 5), (1, 3), overlap_hw=(0, 2))
    tiles = [np.full((1, 3), value) for value in (0.0, 3.0, 9.0)]
    np.testing.assert_allclose(untile(tiles, grid, blend="mean"), [[0, 1.5, 4, 6, 9]], rtol=1e-15)
    assert untile(tiles, grid, blend="crop").tolist() == [[0, 0, 3, 9, 9]]


def test_windows_by_hand() -> None:
    assert window(4, "mean").tolist() == [1, 1, 1, 1]
    half = np.sqrt(0.5) / 2
    np.testing.assert_allclose(window(4, "hann"), [0.5 - half, 0.5 + half, 0.5 + half, 0.5 - half])
    np.testing.assert_allclose(window(16, "gaussian")[[0, 7]], np.exp([-(7.5**2) / 8, -(0.5**2) / 8]))
    assert all(window(tile, blend).min() > 0 for tile in (1, 2, 5000) for blend in BLENDS)


@pytest.mark.parametrize("make", [alike, tensor])
@pytest.mark.parametrize("blend", BLENDS)
def test_nan_stays_at_its_own_pixels(blend: Blend, make: Callable[[np.ndarray], Any]) -> None:
    grid = make_grid((20, 31), (8, 9), overlap_hw=(5, 3))
    random = np.random.default_rng(0)
    missing = random.random(grid.size_hw) < 0.2
    tiles = []
    for number in range(len(grid)):
        tile = random.random(grid.tile_hw)
        tile[cut(missing, grid, number)] = np.nan
        tiles.append(make(tile))
    np.testing.assert_array_equal(np.isnan(np.asarray(untile(tiles, grid, blend=blend))), missing)
    np.testing.assert_array_equal(np.isnan(np.asarray(untile(tiles, grid, blend=blend, infinite=False))), missing)


@settings(deadline=None)
@given(place=places())
def test_every_pixel_is_covered(place: dict[str, Any]) -> None:
    grid = make_grid(**place)
    seen = np.zeros(grid.size_hw, dtype=int)
    for number in range(len(grid)):
        box = grid.box(number)
        assert 0 <= box.top < box.bottom <= grid.size_hw[0]
        assert 0 <= box.left < box.right <= grid.size_hw[1]
        seen[box.top : box.bottom, box.left : box.right] += 1
        assert grid.valid(number).sum() == (box.bottom - box.top) * (box.right - box.left)
        assert grid.valid(number)[: box.bottom - box.top, : box.right - box.left].all()
    assert seen.min() >= 1


def test_grids_by_hand() -> None:
    padded = make_grid((10, 7), (4, 7), overlap_hw=(1, 0))
    assert padded == Grid((10, 7), (4, 7), (0, 3, 6), (0,))
    assert make_grid((11, 7), (4, 7), overlap_hw=(1, 0)).tops == (0, 3, 6, 9)
    snapped = make_grid((11, 7), (4, 7), overlap_hw=(1, 0), edge="snap")
    assert snapped.tops == (0, 3, 6, 7)
    assert snapped.box(3) == Box(7, 11, 0, 7)
    assert make_grid((3, 20), (8, 8)).box(2) == Box(0, 3, 16, 20)
    assert make_grid((3, 20), (8, 8)).valid(2).tolist() == [[True] * 4 + [False] * 4] * 3 + [[False] * 8] * 5
    assert make_grid((1, 1), (1, 1), edge="snap") == Grid((1, 1), (1, 1), (0,), (0,))


def test_snapped_tiles_lie_in_the_scene_and_are_views() -> None:
    whole = np.arange(90).reshape(9, 10)
    grid = make_grid((9, 10), (4, 4), overlap_hw=(1, 2), edge="snap")
    assert all(np.shares_memory(cut(whole, grid, number), whole) for number in range(len(grid)))
    assert cut(whole, grid, len(grid) - 1).tolist() == whole[5:, 6:].tolist()


@pytest.mark.parametrize("make", [alike, tensor])
@settings(deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), down=st.integers(0, 15), right=st.integers(0, 15))
def test_small_parts_are_mirrored_again_and_again(
    make: Callable[[np.ndarray], Any], height: int, width: int, down: int, right: int
) -> None:
    part = np.arange(height * width).reshape(1, height, width)
    tile_hw = height + down, width + right
    reflected = np.asarray(fill_tile(make(part), tile_hw))
    np.testing.assert_array_equal(reflected, np.pad(part, ((0, 0), (0, down), (0, right)), mode="reflect"))
    constant = np.asarray(fill_tile(make(part), tile_hw, fill="constant", value=7))
    expected = np.pad(part, ((0, 0), (0, down), (0, right)), constant_values=7)
    np.testing.assert_array_equal(constant, expected)


def test_out_is_written_to_and_may_be_memory_mapped(tmp_path: Path) -> None:
    grid = make_grid((50, 41), (16, 16), overlap_hw=(4, 4))
    original = np.random.default_rng(0).random((3, 50, 41), dtype=np.float32)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=original.shape)
    assert untile((cut(original, grid, number) for number in range(len(grid))), grid, out=out) is out
    out.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), original)


def test_rows_leave_as_soon_as_no_tile_touches_them() -> None:
    grid, taken = make_grid((100, 40), (16, 16), overlap_hw=(4, 4)), 0

    def tiles() -> Any:
        nonlocal taken
        for number in range(len(grid)):
            taken += 1
            yield np.full(grid.tile_hw, number)

    for row, (top, rows) in enumerate(untile_rows(tiles(), grid)):
        assert taken == (row + 1) * len(grid.lefts)
        assert top == 12 * row
        assert rows.shape == (min(12, 100 - top) if row < len(grid.tops) - 1 else 100 - top, 40)
    assert taken == len(grid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_hw": (0, 5)}, "height: found a scene of 0"),
        ({"tile_hw": (4, 0)}, "width: found a scene of 20 and tiles of 0"),
        ({"overlap_hw": (4, 0)}, "height: tiles of 4 pixels that overlap by 4.* from 0 to 3"),
        ({"overlap_hw": (0, -1)}, "width: tiles of 4 pixels that overlap by -1"),
        (
            {"size_hw": (20, 3), "edge": "snap"},
            "width: a tile of 4 pixels cannot be moved inside a scene of 3; give edge",
        ),
    ],
)
def test_what_cannot_cover_is_refused_before_any_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_grid(**{"size_hw": (20, 20), "tile_hw": (4, 4)} | arguments)


@pytest.mark.parametrize("tops", [(), (1,), (0, 5), (0, 4, 4, 8), (0, 4), (0, 4, 8, 12), (4, 0, 8)])
def test_a_grid_with_gaps_is_refused(tops: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="tops: found"):
        Grid((12, 4), (4, 4), tops, (0,))


def test_tiles_that_do_not_fit_the_grid_are_refused() -> None:
    grid = make_grid((4, 8), (4, 4))
    tile = np.zeros((1, 4, 4))
    for tiles, message in (
        ([tile], "found 1 tiles; expected 2"),
        ([], "found 0 tiles"),
        ([tile] * 3, "tile 3 is"),
        ([tile, tile[0]], "tile 2 is .4, 4. float64"),
        ([tile, tile.astype(np.float32)], "tile 2 is .* float32; .* float64"),
        ([tile[:, :3]], "tile 1 is .1, 3, 4."),
    ):
        with pytest.raises(UserError, match=message):
            untile(tiles, grid)
    with pytest.raises(UserError, match=r"out: found \(1, 4, 8\) float32; expected \(1, 4, 8\) float64"):
        untile([tile] * 2, grid, out=np.zeros((1, 4, 8), np.float32))
    overlapping, odd = make_grid((4, 7), (4, 4), overlap_hw=(0, 1)), np.full((4, 4), 1j)
    for make in (alike, tensor):
        assert (np.asarray(untile([make(odd)] * 2, overlapping, blend="crop")) == 1j).all()
        with pytest.raises(UserError, match="complex128: expected bool, integers or floats"):
            untile([make(odd)] * 2, overlapping)
    with pytest.raises(UserError, match="a grid for"):
        cut(np.zeros((8, 4)), grid, 0)
    with pytest.raises(IndexError):
        grid.box(2)
    with pytest.raises(UserError, match=r"a part of \(5, 4\) pixels"):
        fill_tile(np.zeros((5, 4)), (4, 4))
    with pytest.raises(UserError, match=r"a part of \(0, 4\) pixels"):
        fill_tile(np.zeros((0, 4)), (4, 4))


def test_works_without_torch_and_refuses_unknown_words() -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["jaxtyping"] = None  # importing them raises
import numpy as np
from common.data.tiles import UserError, cut, fill_tile, make_grid, untile
scene, grid = np.random.default_rng(0).random((9, 9)), make_grid((9, 9), (4, 4), overlap_hw=(2, 1))
assert (untile((cut(scene, grid, n) for n in range(len(grid))), grid) == scene).all()
for wrong in (
    lambda: untile([], grid, blend="wrap"), lambda: fill_tile(scene, (9, 9), fill="wrap"),
    lambda: make_grid((9, 9), (4, 4), edge="wrap"),
):
    try:
        wrong()
    except UserError as error:
        assert "found 'wrap'; expected one of" in str(error), error
    else:
        raise AssertionError
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
