"""Random changes to pictures of people, on the device; points and what is ignored move along."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from kornia.geometry.transform import warp_affine
from torch import Tensor

from common.data.augment import ImageAugment, move_points
from projects.pose.skeleton import Skeleton

Image = Float[Tensor, "batch 3 height width"]
Ignored = Float[Tensor, "batch 1 height width"]
Points = Float[Tensor, "batch people joints 2"]
Visibility = UInt8[Tensor, "batch people joints"]


@dataclass(frozen=True)
class PoseAugment(ImageAugment):
    """An `ImageAugment` drawn per picture.

    A mirrored person's right arm is the left arm of the picture, so flips exchange right and left joints. They move
    pixels and compute none: a flip alone, done twice, gives the picture back. Where the map uncovers something, the
    picture is black, as around a letterboxed one, and nothing is ignored.
    """

    flip: float = 0.5
    scale: float = 0.5
    rotate: float = 30.0
    translate: float = 0.12
    brightness: float = 0.12
    contrast: float = 0.2
    saturation: float = 0.3
    gain: float = 0.1
    blur: float = 1.0
    noise: float = 4.0

    def __call__(
        self,
        image: Image,
        ignored: Ignored,
        points_xy: Points,
        visibility: Visibility,
        seeds: Int[Tensor, " batch"],
        *,
        skeleton: Skeleton,
    ) -> tuple[Image, Ignored, Points, Visibility]:
        """Changed copies of pictures and joints.

        Args:
            image: 0..255, and so is the returned one.
            ignored: 255 where pixels count in no loss, else 0; in between where a border is interpolated.
            points_xy: joints in pixels, inside the picture or not.
            visibility: 0 not labelled, 1 hidden, 2 visible.
            seeds: one per picture, different in every epoch.
            skeleton: of the joints.

        Returns:
            image, ignored, points_xy and visibility. A joint that left the picture keeps its place outside it and its
            visibility, as its limbs still lead there; one that is not labelled is (0, 0).
        """
        draws, size_hw = self.draw(seeds), (image.shape[-2], image.shape[-1])
        mirrored = self.mirrored(draws)
        with torch.autocast(image.device.type, enabled=False):  # a matrix product in bf16 moves points by pixels
            planes = torch.cat([image, ignored], dim=1)
            if mirrored.any():
                chosen = mirrored.to(image.device)
                planes = torch.where(chosen[:, None, None, None], planes.flip(-1), planes)
                points_xy, visibility = _exchanged(points_xy, visibility, chosen, skeleton=skeleton, width=size_hw[1])
            if self.warps:
                matrices = self.matrices(draws, size_hw, mirrored=torch.zeros_like(mirrored)).to(image)
                planes = warp_affine(planes, matrices, size_hw)
                points_xy = move_points(points_xy.flatten(1, 2), matrices).view_as(points_xy)
            image = self.disturb(planes[:, None, :3], draws)[:, 0]
        return image, planes[:, 3:], torch.where(visibility[..., None] > 0, points_xy, 0), visibility


def _exchanged(
    points_xy: Points, visibility: Visibility, chosen: Bool[Tensor, " batch"], *, skeleton: Skeleton, width: int
) -> tuple[Points, Visibility]:
    """The chosen samples' joints as a mirror shows them."""
    joints = torch.from_numpy(skeleton.mirrored_joints).to(chosen.device)
    points, seen = points_xy[:, :, joints], visibility[:, :, joints]
    points = torch.stack([width - 1 - points[..., 0], points[..., 1]], dim=-1)
    return (
        torch.where(chosen[:, None, None, None], points, points_xy),
        torch.where(chosen[:, None, None], seen, visibility),
    )
