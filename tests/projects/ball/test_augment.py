import torch

from projects.ball.augment import mask_ball

RADIUS = 4.0
OUTER = 1.5 * RADIUS
Scene = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def scene(step_xy: tuple[float, float] = (16.0, 5.0), *, batch: int = 2, time: int = 3) -> Scene:
    """A ball that is a streak as long as its step, over a static noisy background: background, frames, positions."""
    background = 100 * torch.rand(batch, 1, 3, 48, 80, generator=torch.Generator().manual_seed(0)).expand(
        -1, time, -1, -1, -1
    )
    step = torch.tensor(step_xy)
    xy = torch.tensor([22.0, 18.0]) + step * torch.arange(time)[:, None]
    rows, columns = torch.arange(48.0)[:, None], torch.arange(80.0)
    streak = torch.zeros(time, 48, 80, dtype=torch.bool)
    for share in torch.linspace(-0.5, 0.5, 21):
        x, y = (xy + share * step)[:, :, None, None].unbind(dim=1)
        streak |= torch.hypot(columns - x, rows - y) <= 0.8 * RADIUS
    frames = torch.where(streak[None, :, None], 250.0, background)
    return background, frames, xy.expand(batch, -1, -1)


def everywhere(xy: torch.Tensor) -> torch.Tensor:
    return torch.ones(xy.shape[:2], dtype=torch.bool)


def test_the_background_shows_where_the_ball_was() -> None:
    background, frames, xy = scene()
    yes = everywhere(xy)
    painted, visible = mask_ball(frames, xy, yes, yes, torch.arange(2), probability=1.0, radius=RADIUS)
    assert (frames != background).any(dim=(2, 3, 4)).all()
    assert torch.equal(painted, background)
    assert not visible.any()


def test_a_bounce_is_painted_on_both_sides() -> None:
    background, _, _ = scene()
    xy = torch.tensor([[16.0, 12.0], [36.0, 32.0], [56.0, 12.0]]).expand(2, -1, -1)
    rows, columns = torch.arange(48.0)[:, None], torch.arange(80.0)
    streak = torch.zeros(48, 80, dtype=torch.bool)
    for share in torch.linspace(0, 0.5, 21):
        for end in (xy[0, 0], xy[0, 2]):
            x, y = xy[0, 1] + share * (end - xy[0, 1])
            streak |= torch.hypot(columns - x, rows - y) <= 0.8 * RADIUS
    frames = background.clone()
    frames[:, 1] = torch.where(streak, 250.0, frames[:, 1])
    painted, _ = mask_ball(frames, xy, everywhere(xy), everywhere(xy), torch.arange(2), probability=1.0, radius=RADIUS)
    assert torch.equal(painted, background)


def test_a_ball_at_rest_gets_the_colour_around_it_and_nothing_beyond_changes() -> None:
    _, frames, xy = scene((0.0, 0.0))
    flat = torch.where(frames == 250, frames, torch.tensor([10.0, 60.0, 90.0]).view(3, 1, 1))
    yes = everywhere(xy)
    painted, _ = mask_ball(flat, xy, yes, yes, torch.arange(2), probability=1.0, radius=RADIUS)
    assert torch.allclose(painted, torch.tensor([10.0, 60.0, 90.0]).view(3, 1, 1).expand_as(painted), atol=1e-3)
    painted, _ = mask_ball(frames, xy, yes, yes, torch.arange(2), probability=1.0, radius=RADIUS)
    beyond = torch.hypot(torch.arange(80.0) - xy[0, 0, 0], torch.arange(48.0)[:, None] - xy[0, 0, 1]) >= OUTER
    assert torch.equal(painted[..., beyond], frames[..., beyond])
    assert (painted[..., ~beyond] != frames[..., ~beyond]).float().mean() > 0.9
    assert painted.max() < 200


def test_frames_without_a_ball_stay_and_serve_as_background() -> None:
    background, frames, xy = scene((1.0, 0.0))
    visible = everywhere(xy)
    visible[:, 2] = False
    frames = torch.where(visible[..., None, None, None], frames, background)
    painted, none_visible = mask_ball(
        frames, xy * visible[..., None], visible, everywhere(xy), torch.arange(2), probability=1.0, radius=RADIUS
    )
    assert torch.equal(painted, background) and not none_visible.any()


def test_windows_that_are_not_wholly_labelled_or_show_no_ball_stay() -> None:
    _, frames, xy = scene()
    labelled, visible = everywhere(xy), everywhere(xy)
    labelled[0, 2] = False
    visible[1] = False
    painted, still_visible = mask_ball(frames, xy, visible, labelled, torch.arange(2), probability=1.0, radius=RADIUS)
    assert torch.equal(painted, frames) and torch.equal(still_visible, visible)


def test_the_probability_is_the_share_of_windows_and_each_is_drawn_by_its_seed() -> None:
    _, frames, xy = scene(batch=1)
    frames, xy, seeds = frames.repeat(200, 1, 1, 1, 1), xy.repeat(200, 1, 1), torch.arange(200)
    yes = everywhere(xy)
    shares = {}
    for probability in (0.0, 0.2, 1.0):
        painted, visible = mask_ball(frames, xy, yes, yes, seeds, probability=probability, radius=RADIUS)
        assert torch.equal(visible.all(dim=1), (painted == frames).flatten(1).all(dim=1))
        shares[probability] = (~visible).all(dim=1)
    assert not shares[0.0].any() and shares[1.0].all() and 20 < shares[0.2].sum() < 60
    half = slice(100, None)
    _, visible = mask_ball(frames[half], xy[half], yes[half], yes[half], seeds[half], probability=0.2, radius=RADIUS)
    assert torch.equal(~visible.any(dim=1), shares[0.2][half])
