import torch
from hypothesis import given
from hypothesis import strategies as st

from projects.ball.decode import locate
from projects.ball.nets import BallOutput
from projects.ball.targets import ball_targets


def _batch(points_xy: list[tuple[float, float]], visible: list[bool], labelled: list[bool]) -> dict[str, torch.Tensor]:
    """Windows of three frames of 64 x 96 pixels whose target is the middle one."""
    batch = len(points_xy)
    window = torch.zeros(batch, 3, 2)
    window[:, 1] = torch.tensor(points_xy)
    middle = torch.zeros(batch, 3, dtype=torch.bool)
    return {
        "frames": torch.zeros(batch, 3, 3, 64, 96),
        "window_xy": window,
        "window_visible": middle.index_put((torch.arange(batch), torch.tensor(1)), torch.tensor(visible)),
        "window_labelled": middle.index_put((torch.arange(batch), torch.tensor(1)), torch.tensor(labelled)),
        "anchor": torch.ones(batch, dtype=torch.long),
    }


@given(
    x=st.floats(-0.49, 95.49), y=st.floats(-0.49, 63.49), stride=st.sampled_from([1, 2, 4, 8]), sigma=st.floats(0.3, 3)
)
def test_decoding_the_target_gives_the_point_back(x: float, y: float, stride: int, sigma: float) -> None:
    targets = ball_targets(_batch([(x, y)], [True], [True]), stride=stride, sigma=sigma)
    located = locate(BallOutput(torch.logit(targets.heatmap, 1e-6), targets.offset), stride=stride)
    torch.testing.assert_close(located.points_xy, torch.tensor([[x, y]]), atol=1e-4, rtol=0)
    assert located.scores.item() > 0.999
    assert targets.offset.abs().max() <= 1.5


def test_an_absent_ball_has_an_empty_map() -> None:
    targets = ball_targets(_batch([(50.0, 30.0)], [False], [True]), stride=4, sigma=1.0)
    assert not targets.heatmap.any()
    assert not targets.offset_mask.any()
    assert targets.labelled.tolist() == [True]


def test_an_unlabelled_frame_counts_nowhere() -> None:
    targets = ball_targets(_batch([(50.0, 30.0), (50.0, 30.0)], [True, True], [True, False]), stride=4, sigma=1.0)
    assert targets.labelled.tolist() == [True, False]
    assert targets.offset_mask.flatten(1).sum(1).tolist() == [9, 0]


def test_the_cells_around_the_ball_know_where_it_is() -> None:
    targets = ball_targets(_batch([(50.0, 30.0)], [True], [True]), stride=4, sigma=1.0)
    cells = targets.offset_mask[0, 0].nonzero().tolist()
    assert cells == [[row, column] for row in (6, 7, 8) for column in (11, 12, 13)]  # 30.5 / 4 and 50.5 / 4 cells
    for row, column in cells:
        expected = torch.tensor([50.5 / 4 - column - 0.5, 30.5 / 4 - row - 0.5])
        torch.testing.assert_close(targets.offset[0, :, row, column], expected)


def test_a_peak_one_cell_beside_the_ball_decodes_to_the_same_place() -> None:
    targets = ball_targets(_batch([(50.0, 30.0)], [True], [True]), stride=4, sigma=1.0)
    beside = targets.heatmap.roll(1, dims=3)
    located = locate(BallOutput(torch.logit(beside, 1e-6), targets.offset), stride=4)
    torch.testing.assert_close(located.points_xy, torch.tensor([[50.0, 30.0]]))
