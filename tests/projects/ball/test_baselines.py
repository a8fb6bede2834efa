import pytest
import torch

from projects.ball.baselines import moving_blob


def rally(*, ball: float = 180.0, time: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """A ball of radius 3 over a static noisy background with a brighter and larger static blob; frames, positions."""
    generator = torch.Generator().manual_seed(0)
    frames = (80 * torch.rand(2, 1, 3, 60, 90, generator=generator)).repeat(1, time, 1, 1, 1)
    frames[..., 40:55, 60:80] = 255
    xy = torch.tensor([[15.0, 10.0], [10.0, 30.0]])[:, None] + torch.tensor([12.0, 4.0]) * torch.arange(time)[:, None]
    rows, columns = torch.arange(60.0)[:, None], torch.arange(90.0)
    blob = torch.hypot(columns - xy[..., 0, None, None], rows - xy[..., 1, None, None]) <= 3
    return torch.where(blob[:, :, None], ball, frames), xy


@pytest.mark.parametrize("anchor", [[0, 4], [2, 1]])
def test_the_moving_blob_is_found_beside_a_brighter_static_one(anchor: list[int]) -> None:
    frames, xy = rally()
    found, scores = moving_blob(frames, torch.tensor(anchor), radius=3.0)
    expected = torch.stack([xy[0, anchor[0]], xy[1, anchor[1]]])
    assert (found - expected).norm(dim=1).max() <= 1.5
    assert ((scores > 0.2) & (scores < 180 / 255)).all()


def test_a_brighter_ball_scores_higher_and_a_static_scene_scores_0() -> None:
    anchor = torch.tensor([2, 2])
    dim, bright = (moving_blob(rally(ball=ball)[0], anchor, radius=3.0)[1] for ball in (120.0, 250.0))
    assert (bright > dim).all()
    static = rally()[0][:, :1].repeat(1, 3, 1, 1, 1)
    assert not moving_blob(static, anchor, radius=3.0)[1].any()
