import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.heatmaps import cells_to_pixels, gaussian_heatmaps, peaks, pixels_to_cells

coordinates = st.floats(-3000, 3000, width=32)


def test_the_centre_of_a_cell_is_the_mean_of_its_pixels() -> None:
    pixels = torch.tensor([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]).mean(dim=0)
    assert torch.equal(pixels_to_cells(pixels, 4), torch.tensor([0.0, 1.0]))


@given(x=coordinates, y=coordinates, stride=st.integers(1, 64))
def test_pixels_and_cells_are_inverse(x: float, y: float, stride: int) -> None:
    points = torch.tensor([[x, y]])
    assert torch.allclose(cells_to_pixels(pixels_to_cells(points, stride), stride), points, rtol=1e-5, atol=1e-4)
    assert torch.allclose(pixels_to_cells(cells_to_pixels(points, stride), stride), points, rtol=1e-5, atol=1e-4)


@given(x=st.floats(-3, 12, width=32), y=st.floats(-3, 9, width=32), sigma=st.floats(0.3, 5))
def test_values_are_the_gaussian_of_the_distance(x: float, y: float, sigma: float) -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[x, y]]]), torch.tensor([[True]]), size_hw=(7, 10), sigma=sigma)
    rows, columns = np.mgrid[:7, :10]
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(heatmap[0, 0].numpy(), expected, rtol=1e-3, atol=1e-6)


@given(x=st.floats(-0.5, 9.5, width=32), y=st.floats(-0.5, 6.5, width=32))
def test_a_snapped_peak_is_exactly_1_and_nearest(x: float, y: float) -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[x, y]]]), torch.tensor([[True]]), size_hw=(7, 10), sigma=1.5, snap=True)
    cells, values = peaks(heatmap[:, 0])
    assert values.item() == 1 and (heatmap == 1).sum() == 1
    assert abs(cells[0, 0] - x) <= 0.5 and abs(cells[0, 1] - y) <= 0.5


@pytest.mark.parametrize("point", [(-0.51, 3.0), (9.51, 3.0), (4.0, -0.51), (4.0, 6.51)])
def test_a_point_outside_the_map_has_no_snapped_peak(point: tuple[float, float]) -> None:
    points, present = torch.tensor([[point]]), torch.tensor([[True]])
    assert not gaussian_heatmaps(points, present, size_hw=(7, 10), sigma=1.0, snap=True).any()
    assert gaussian_heatmaps(points, present, size_hw=(7, 10), sigma=1.0).any()


@pytest.mark.parametrize("snap", [False, True])
def test_absent_points_are_zero_whatever_their_coordinates(snap: bool) -> None:
    points = torch.tensor([[[2.0, 3.0], [math.nan, math.inf]], [[4.0, -math.inf], [1.0, 1.0]]])
    present = torch.tensor([[True, False], [False, True]])
    heatmaps = gaussian_heatmaps(points, present, size_hw=(7, 10), sigma=2.0, snap=snap)
    assert heatmaps.isfinite().all()
    assert torch.equal(heatmaps.flatten(2).any(dim=2), present)


def test_heatmaps_are_float32_for_half_points_under_autocast() -> None:
    points, present = torch.tensor([[[2.0, 3.0]]]), torch.tensor([[True]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gaussian_heatmaps(points.half(), present, size_hw=(7, 10), sigma=2.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, gaussian_heatmaps(points, present, size_hw=(7, 10), sigma=2.0))


def test_sigma_must_be_positive() -> None:
    with pytest.raises(UserError, match=r"sigma = 0\.0"):
        gaussian_heatmaps(torch.zeros(1, 1, 2), torch.tensor([[True]]), size_hw=(7, 10), sigma=0.0)


def test_peaks_are_x_then_y() -> None:
    heatmap = torch.zeros(2, 4, 6)
    heatmap[0, 1, 5] = 0.7
    heatmap[1, 3, 2] = -0.1
    heatmap[1] -= 1
    cells, values = peaks(heatmap)
    assert cells.tolist() == [[5, 1], [0, 0]]
    assert torch.allclose(values, torch.tensor([0.7, -1.0]))
