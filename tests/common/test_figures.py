"""Marks are where they are said to be; a panel shows its images where a reader looks for them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from common.figures import (
    PREDICTED,
    TRUE,
    Kind,
    area_share,
    crop_around,
    draw_marker,
    fit_hw,
    heat,
    overlay_heat,
    panel,
)

GREY = 120


def _grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


@pytest.mark.parametrize("kind", ["circle", "cross", "disc"])
@given(x=st.floats(14, 26), y=st.floats(14, 16))
def test_a_mark_is_centred_on_its_point(kind: Kind, x: float, y: float) -> None:
    image = _grey(30, 40)
    draw_marker(image, (x, y), TRUE, kind)
    weight = np.abs(image.astype(float) - GREY).sum(axis=2)
    rows, columns = np.mgrid[:30, :40]
    assert (columns * weight).sum() / weight.sum() == pytest.approx(x, abs=0.15)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(y, abs=0.15)


def test_marks_have_their_shapes() -> None:
    ring, cross, disc = _grey(41, 41), _grey(41, 41), _grey(41, 41)
    draw_marker(ring, (20.0, 20.0), TRUE, "circle", radius=10.0)
    draw_marker(cross, (20.0, 20.0), PREDICTED, "cross", radius=10.0)
    draw_marker(disc, (20.0, 20.0), PREDICTED, "disc", radius=10.0)
    assert tuple(ring[20, 30]) == tuple(ring[10, 20]) == TRUE
    assert tuple(cross[25, 25]) == tuple(cross[15, 25]) == PREDICTED
    assert tuple(disc[20, 20]) == tuple(disc[20, 28]) == PREDICTED
    for image in (ring, cross):
        assert tuple(image[20, 20]) == (GREY, GREY, GREY), "the ball itself stays visible"


@given(x=st.floats(-60, 100), y=st.floats(-60, 90), kind=st.sampled_from(["circle", "cross", "disc"]))
def test_a_mark_at_or_beyond_the_border_is_cut(x: float, y: float, kind: Kind) -> None:
    small, large = _grey(30, 40), _grey(230, 240)
    draw_marker(small, (x, y), TRUE, kind)
    draw_marker(large, (x + 100, y + 100), TRUE, kind)
    np.testing.assert_allclose(small.astype(int), large[100:130, 100:140], atol=1)


def test_opacity_fades() -> None:
    images = [_grey(21, 21) for _ in range(3)]
    for image, opacity in zip(images, (0.0, 0.5, 1.0), strict=True):
        draw_marker(image, (10.0, 10.0), (255, 255, 255), "disc", opacity=opacity)
    none, half, full = (int(image[10, 10, 0]) for image in images)
    assert none == GREY < half < full == 255


def test_heat_is_magma_from_zero_to_one() -> None:
    values = np.linspace(-0.5, 1.5, 41, dtype=np.float32)[None]
    expected = colormaps["magma"](np.clip(values, 0, 1), bytes=True)[..., :3]
    np.testing.assert_allclose(heat(values).astype(int), expected, atol=4)
    lightness = heat(np.linspace(0, 1, 256, dtype=np.float32)[None]).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > -0.5).all()


def test_overlaid_heat_is_bright_where_the_heatmap_is() -> None:
    values = np.zeros((8, 12), np.float32)
    values[2, 9] = 1
    image = overlay_heat(_grey(64, 96), values)
    y, x = np.unravel_index(image.sum(axis=2).argmax(), (64, 96))
    assert (abs(x - 75.5) <= 4, abs(y - 19.5) <= 4) == (True, True)
    assert tuple(image[60, 5]) == (54, 54, 54), "elsewhere the frame is dark grey"


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), factor=st.integers(1, 7), seed=st.integers(0, 99))
def test_an_area_share_is_the_mean_of_what_a_cell_covers(rows: int, columns: int, factor: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((rows * factor, columns * factor))
    for given_, tolerance in ((values > 0.5, 4e-3), (values.astype(np.float32), 1e-6)):
        expected = given_.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        np.testing.assert_allclose(area_share(given_, (rows, columns)), expected, atol=tolerance)


@given(height=st.integers(1, 60), width=st.integers(1, 60), rows=st.integers(1, 60), columns=st.integers(1, 60))
def test_an_area_share_of_all_or_nothing_is_all_or_nothing(height: int, width: int, rows: int, columns: int) -> None:
    for value in (True, False):
        share = area_share(np.full((height, width), value), (rows, columns))
        assert (share.shape, share.dtype) == ((rows, columns), np.float32)
        assert (share == value).all()


@given(x=st.floats(-5, 45), y=st.floats(-5, 35), zoom=st.integers(1, 5))
def test_a_crop_keeps_the_place_of_a_point(x: float, y: float, zoom: int) -> None:
    image = _grey(30, 40)
    column, row = round(x), round(y)
    if 0 <= column < 40 and 0 <= row < 30:
        image[row, column] = 255
    crop = crop_around(image, (x, y), 12, zoom)
    assert crop.image.shape == (12 * zoom, 12 * zoom, 3)
    placed = crop.place((float(column), float(row)))
    pixel = tuple(crop.image[round(placed[1]), round(placed[0])])
    assert pixel == ((255,) * 3 if 0 <= column < 40 and 0 <= row < 30 else (225,) * 3)
    assert all(abs(value - (6 * zoom - 0.5)) <= zoom + 0.01 for value in crop.place((x, y)))


@given(height=st.integers(1, 500), width=st.integers(1, 500))
def test_fitting_keeps_proportions_inside_the_cell(height: int, width: int) -> None:
    fitted = fit_hw((height, width), (90, 160))
    assert fitted[0] <= 90
    assert fitted[1] <= 160
    assert fitted[0] == 90 or fitted[1] == 160
    assert abs(fitted[0] * width - fitted[1] * height) <= max(height, width)


def test_a_panel_is_a_grid_on_a_light_ground(tmp_path: Path) -> None:
    colours = [[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), (200, 200, 0)]]
    rows = [
        [np.full((50, w, 3), colour, np.uint8) for w, colour in zip((100, 50), row, strict=True)] for row in colours
    ]
    path = tmp_path / "deep" / "panel.png"
    panel(rows, column_titles=["Wide\nnote", "Square"], row_captions=["first", "second"], path=path, cell_hw=(100, 200))
    sheet = np.asarray(Image.open(path))
    assert sheet[2, 2].min() > 240
    boxes = {}
    for colour in (colour for row in colours for colour in row):
        y, x = np.nonzero((sheet == colour).all(axis=2))
        boxes[colour] = (int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1)
        assert x.size == boxes[colour][2] * boxes[colour][3]
    (a, b), (c, d) = ([boxes[colour] for colour in row] for row in colours)
    assert (a[2:], b[2:], c[2:], d[2:]) == ((200, 100), (100, 100), (200, 100), (100, 100))
    assert (a[0], b[0], a[1], c[1]) == (c[0], d[0], b[1], d[1]), "columns and rows are aligned"
    assert b[0] > a[0] + 200
    assert c[1] > a[1] + 100
    title, caption = sheet[: a[1] - 20, a[0] :], sheet[a[1] + 100 : c[1], c[0] : c[0] + 120]
    assert title.min() < 60, "a title in dark ink"
    assert caption.min() < 150, "a caption above the second row"
    assert list(path.parent.iterdir()) == [path]


def test_a_panel_of_uneven_rows_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    rows = [[_grey(5, 5), _grey(5, 5)], [_grey(5, 5)]]
    with pytest.raises(ValueError, match="zip"):
        panel(rows, column_titles=["a", "b"], row_captions=["", ""], path=tmp_path / "p.png", cell_hw=(9, 9))
    assert not list(tmp_path.iterdir())
