"""Random changes to images and windows of frames; their points move along."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import warp_affine
from torch import Tensor

from common.errors import UserError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_MID_GREY = 127.5
_LIMITS = {"scale": math.inf, "rotate": 180.0, "blur": math.inf, "noise": 255.0}  # of the others: 1


def uniforms(seeds: Int[Tensor, " batch"], count: int, *, stream: int) -> Float64[Tensor, "batch count"]:
    """Numbers in 0..1 (1 excluded) on the CPU, each row a function of its seed and the stream alone.

    Two consumers of the same seeds take different streams, or their choices go together. NumPy's generators use all
    64 bits of a seed; torch's CPU generator uses the lower 32.
    """
    rows = [np.random.default_rng((stream, seed % 2**64)).random(count) for seed in seeds.tolist()]
    return torch.from_numpy(np.reshape(rows, (len(rows), count)))


@dataclass(frozen=True)
class ImageAugment:
    """Flip, affine map, blur, colour and noise of some images: a subclass says of which, with which points.

    What is drawn for a sample depends on its seed alone: not on the rest of the batch, the number of workers or the
    device. Only the noise itself differs between kinds of device, where it is made. 0 switches a part off; all 0
    changes nothing.

    Args:
        flip: probability of a horizontal flip.
        scale: largest zoom, in or out: 0.2 is 1/1.2..1.2.
        rotate: largest angle in degrees.
        translate: largest shift, as a share of width and height.
        brightness: largest shift of all values, as a share of 255.
        contrast: largest relative change of the distance from mid-grey.
        saturation: largest relative change of the distance from grey.
        gain: largest relative change of each channel by itself, which tints.
        blur: standard deviation of the strongest Gaussian blur, in pixels. Three in four samples stay sharp.
        noise: standard deviation of the strongest Gaussian noise in grey levels, alike in the three channels.

    Raises:
        UserError: if a value is outside its range.
    """

    flip: float
    scale: float
    rotate: float
    translate: float
    brightness: float
    contrast: float
    saturation: float
    gain: float
    blur: float
    noise: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value, limit = getattr(self, field.name), _LIMITS.get(field.name, 1.0)
            if not 0 <= value <= limit:
                raise UserError(f"augmentation {field.name} = {value}: give 0 (off) to {limit:g}")

    @property
    def warps(self) -> bool:
        """Whether there is an affine map besides the flip."""
        return bool(self.scale or self.rotate or self.translate)

    def draw(self, seeds: Int[Tensor, " batch"]) -> Float64[Tensor, "batch draws"]:
        """Everything that is random but the noise's pixels, each row a function of its seed alone."""
        return uniforms(seeds, 14, stream=0)

    def mirrored(self, draws: Float64[Tensor, "batch draws"]) -> Bool[Tensor, " batch"]:
        """Which samples are flipped."""
        return draws[:, 0] < self.flip

    def matrices(
        self, draws: Float64[Tensor, "batch draws"], size_hw: tuple[int, int], *, mirrored: Bool[Tensor, " batch"]
    ) -> Float64[Tensor, "batch 2 3"]:
        """From pixels of the given picture to pixels of the changed one: flip, zoom, turn about the centre, shift."""
        height, width = size_hw
        mirror = torch.where(mirrored, -1.0, 1.0).double()
        zoom, angle, right, down = (2 * draws[:, 1:5] - 1).unbind(dim=1)
        zoom = torch.exp(zoom * math.log1p(self.scale))
        cosine, sine = (zoom * function(angle * math.radians(self.rotate)) for function in (torch.cos, torch.sin))
        linear = torch.stack([mirror * cosine, -sine, mirror * sine, cosine], dim=1).view(-1, 2, 2)
        centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
        shift = self.translate * torch.stack([right * width, down * height], dim=1)
        return torch.cat([linear, (centre + shift - linear @ centre)[..., None]], dim=2)

    def disturb(
        self, frames: Float[Tensor, "batch time 3 height width"], draws: Float64[Tensor, "batch draws"]
    ) -> Float[Tensor, "batch time 3 height width"]:
        """Blur and colour, the same for all frames of a sample, and noise: what moves no point. Values are 0..255."""
        if self.blur:
            frames = _blurred(frames, self.blur * (4 * draws[:, 11] - 3), largest=self.blur)
        if self.brightness or self.contrast or self.saturation or self.gain:
            frames = _recoloured(frames, *self._colours(draws[:, 5:11]))
        if self.noise:
            frames = _noisy(frames, self.noise * draws[:, 12], seeds=(draws[:, 13] * 2**32).long())
        return frames

    def _colours(self, draws: Float64[Tensor, "batch 6"]) -> tuple[Tensor, Tensor]:
        """All colour changes as one 3x3 matrix and one shift per sample."""
        draws = 2 * draws - 1
        saturation, contrast = 1 + self.saturation * draws[:, 0], 1 + self.contrast * draws[:, 1]
        gain = 1 + self.gain * draws[:, 3:]
        grey = torch.tensor(_LUMA, dtype=torch.float64).expand(3, 3)
        mixing = torch.lerp(grey, torch.eye(3, dtype=torch.float64), saturation[:, None, None])
        shift = _MID_GREY * (1 - contrast) + 255 * self.brightness * draws[:, 2]
        return gain[..., None] * contrast[:, None, None] * mixing, gain * shift[:, None]


@dataclass(frozen=True)
class WindowAugment(ImageAugment):
    """An `ImageAugment` drawn per window, the same for all its frames (noise: per frame).

    Uncovered parts of the picture become black before the colours change. Reflection would show a second ball beside
    one near the border, and repeating the border would draw a ball that touches it out to a streak.
    """

    flip: float = 0.5
    scale: float = 0.2
    rotate: float = 10.0
    translate: float = 0.1
    brightness: float = 0.15
    contrast: float = 0.2
    saturation: float = 0.3
    gain: float = 0.1
    blur: float = 1.0
    noise: float = 4.0

    def __call__(
        self,
        frames: Float[Tensor, "batch time 3 height width"],
        points_xy: Float[Tensor, "batch time 2"],
        visible: Bool[Tensor, "batch time"],
        seeds: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch time 3 height width"], Float[Tensor, "batch time 2"], Bool[Tensor, "batch time"]]:
        """Changed copies of frames and points.

        Args:
            frames: 0..255, and so are the returned ones.
            points_xy: one per frame, in pixels.
            visible: whether there is a point.
            seeds: one per window, different in every epoch.

        Returns:
            frames, points and visible. A point that left the picture is not visible; where not visible, it is (0, 0).
        """
        draws, size_hw = self.draw(seeds), (frames.shape[-2], frames.shape[-1])
        with torch.autocast(frames.device.type, enabled=False):  # a matrix product in bf16 moves points by pixels
            if self.flip or self.warps:
                matrices = self.matrices(draws, size_hw, mirrored=self.mirrored(draws)).to(frames)
                frames = warp_affine(frames.flatten(1, 2), matrices, size_hw).view_as(frames)
                points_xy, visible = _moved(points_xy, visible, matrices, size_hw=size_hw)
            return self.disturb(frames, draws), points_xy, visible


def move_points(
    points_xy: Float[Tensor, "batch points 2"], matrices: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch points 2"]:
    """Points where an affine map puts them; call it without autocast."""
    return points_xy @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]


def _moved(points_xy: Tensor, visible: Tensor, matrices: Tensor, *, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    points = move_points(points_xy, matrices)
    outer = points.new_tensor(size_hw[::-1]) - 0.5
    visible = visible & ((points >= -0.5) & (points <= outer)).all(dim=-1)
    return torch.where(visible[..., None], points, 0), visible


def _blurred(frames: Tensor, sigmas: Tensor, *, largest: float) -> Tensor:
    """Blurs the samples whose sigma is positive."""
    chosen = (sigmas > 0).nonzero()[:, 0]
    if not len(chosen):
        return frames
    size, sigmas, chosen = 2 * math.ceil(3 * largest) + 1, sigmas[chosen].to(frames), chosen.to(frames.device)
    stacked = frames[chosen].flatten(1, 2)
    sigmas_yx = sigmas[:, None].expand(-1, 2)
    blurred = gaussian_blur2d(stacked, size, sigmas_yx, border_type="replicate", separable=False)  # faster up to 7 x 7
    return frames.index_copy(0, chosen, blurred.view(-1, *frames.shape[1:]))


def _recoloured(frames: Tensor, mixing: Tensor, shift: Tensor) -> Tensor:
    time = frames.shape[1]
    pixels = frames.flatten(0, 1).flatten(2)
    mixing, shift = (values.to(frames).repeat_interleave(time, dim=0) for values in (mixing, shift))
    return torch.baddbmm(shift[..., None], mixing, pixels).clamp_(0, 255).view_as(frames)


def _noisy(frames: Tensor, sigmas: Tensor, *, seeds: Tensor) -> Tensor:
    time, _, height, width = frames.shape[1:]
    generator = torch.Generator(frames.device)
    noise = frames.new_empty(len(frames), time, 1, height, width)
    for window, seed, sigma in zip(noise, seeds.tolist(), sigmas.tolist(), strict=True):
        window.normal_(std=sigma, generator=generator.manual_seed(seed))
    return (frames + noise).clamp_(0, 255)
