"""Windows without their ball: the best negatives there are."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.data.augment import uniforms

_STREAM = 1  # of the seeds' random numbers; WindowAugment has 0
_EDGE = 1.5  # radii from the ball's path to where the paint has faded out


def mask_ball(
    frames: Float[Tensor, "batch time 3 height width"],
    window_xy: Float[Tensor, "batch time 2"],
    window_visible: Bool[Tensor, "batch time"],
    window_labelled: Bool[Tensor, "batch time"],
    seeds: Int[Tensor, " batch"],
    *,
    probability: float,
    radius: float,
) -> tuple[Float[Tensor, "batch time 3 height width"], Bool[Tensor, "batch time"]]:
    """Paints the ball away from every frame of some windows, where it is then absent.

    Eligible are windows in which every frame is labelled (an unlabelled one might still show the ball) and the ball is
    visible at least once. Of these, the share `probability` is painted; what is drawn for a window depends on its seed
    alone. The ball's place in a frame is a capsule: all within `radius` of its path during an exposure, taken half way
    to its neighbouring positions, since a fast ball is a streak. Paint fades out to 1.5 radii; beyond, nothing changes.

    Each pixel gets the value it has in the frame whose ball is farthest from it, or, as far as even that ball covers
    it, the mean colour of a ring around the capsule.

    Args:
        frames: 0..255.
        window_xy: the ball in every frame, in pixels; any value where not visible.
        window_visible: whether the ball is visible.
        window_labelled: whether the frame is labelled.
        seeds: one per window.
        probability: 0..1.
        radius: of the largest ball, with its blurred rim, in pixels.

    Returns:
        frames and window_visible, with all frames of the painted windows not visible.
    """
    drawn = (uniforms(seeds, 1, stream=_STREAM)[:, 0] < probability).to(frames.device)
    chosen = (drawn & window_labelled.all(dim=1) & window_visible.any(dim=1)).nonzero()[:, 0]
    if not len(chosen):
        return frames, window_visible
    distances = _path_distances(window_xy[chosen], window_visible[chosen], size_hw=(frames.shape[-2], frames.shape[-1]))
    painted = _painted(frames[chosen], distances, radius)
    return frames.index_copy(0, chosen, painted), window_visible.index_fill(0, chosen, False)


def _painted(
    frames: Float[Tensor, "batch time 3 height width"],
    distances: Float[Tensor, "batch time height width"],
    radius: float,
) -> Float[Tensor, "batch time 3 height width"]:
    farthest, source = distances.max(dim=1, keepdim=True)
    background = frames.gather(1, source[:, :, None].expand(-1, -1, 3, -1, -1))
    ring = ((distances > _EDGE * radius) & (distances <= 2 * _EDGE * radius)).to(frames)[:, :, None]
    ring_mean = (frames * ring).sum(dim=(3, 4), keepdim=True) / ring.sum(dim=(3, 4), keepdim=True).clamp(min=1)
    paint = torch.lerp(background, ring_mean, _cover(farthest, radius))
    return torch.lerp(frames, paint, _cover(distances, radius))


def _cover(
    distances: Float[Tensor, "batch time height width"], radius: float
) -> Float[Tensor, "batch time 1 height width"]:
    """1 up to the radius, then falling to 0."""
    return ((_EDGE - distances / radius) / (_EDGE - 1)).clamp(0, 1)[:, :, None]


def _path_distances(
    xy: Float[Tensor, "batch time 2"], visible: Bool[Tensor, "batch time"], *, size_hw: tuple[int, int]
) -> Float[Tensor, "batch time height width"]:
    """Pixels from each pixel to the ball's path during each frame; infinite where the ball is not visible."""
    between = visible[:, 1:] & visible[:, :-1]
    steps = torch.where(between[..., None], xy.diff(dim=1), 0)
    none = torch.zeros_like(xy[:, :1])
    before, after = torch.cat([none, steps], dim=1), torch.cat([steps, none], dim=1)
    unknown = torch.zeros_like(visible[:, :1])
    has_before, has_after = torch.cat([unknown, between], dim=1), torch.cat([between, unknown], dim=1)
    before = torch.where(has_before[..., None], before, after)  # at the end of a path: as on its other side
    after = torch.where(has_after[..., None], after, before)
    distances = torch.minimum(
        _segment_distances(xy, after / 2, size_hw=size_hw), _segment_distances(xy, -before / 2, size_hw=size_hw)
    )
    return distances.masked_fill(~visible[..., None, None], torch.inf)


def _segment_distances(
    start: Float[Tensor, "batch time 2"], along: Float[Tensor, "batch time 2"], *, size_hw: tuple[int, int]
) -> Float[Tensor, "batch time height width"]:
    """Pixels from each pixel to the segment from `start` to `start + along`."""
    height, width = size_hw
    x = torch.arange(width, device=start.device) - start[..., 0, None, None]
    y = torch.arange(height, device=start.device)[:, None] - start[..., 1, None, None]
    along_x, along_y = along[..., None, None].unbind(dim=2)
    length_squared = along_x.square() + along_y.square()
    share = ((x * along_x + y * along_y) / length_squared.clamp(min=1e-6)).clamp(0, 1)
    return torch.hypot(x - share * along_x, y - share * along_y)
