"""Pictures with people drawn into them. NumPy and Pillow alone."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from common.files import atomic_path
from projects.pose.people import People
from projects.pose.skeleton import Skeleton

_WIDTH = 0.022  # of a limb, as a share of the longer side of a person's joints
_LEAST_PX, _MOST_SHARE = 1.5, 0.02  # and its limits, the latter of the picture
_DISC = 1.0  # radius of a joint, in widths of a limb
_RIM, _LEAST_RIM_PX, _MOST_RIM_PX = 0.25, 0.34, 1.0  # of both, as a share of the width
_OPACITY = 0.9
_FAR = 1e6  # coordinates beyond would overflow where lines are drawn


def draw_people(
    image: UInt8[np.ndarray, "height width 3"], people: People, skeleton: Skeleton
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of a picture with its people: limbs as lines and joints as discs in the skeleton's colours.

    Lines are as wide as the person is large, antialiased, with a dark rim that shows them on any ground. The best
    person is drawn last. Joints that were not found, or whose place is not finite, are left out, and their limbs too.

    Args:
        image: RGB.
        people: in pixels of `image`, also beyond its border.
        skeleton: of the people.
    """
    drawn = Image.fromarray(image)
    largest = max(_MOST_SHARE * max(drawn.size), _LEAST_PX)
    for points, scores in zip(people.points_xy[::-1].astype(np.float64), people.scores[::-1], strict=True):
        found = (scores > 0) & np.isfinite(points).all(axis=1)
        if found.any():
            places = np.clip(points, -_FAR, _FAR)
            extent = float(np.ptp(places[found], axis=0).max())
            _draw_person(drawn, places, found, skeleton, width=min(max(_WIDTH * extent, _LEAST_PX), largest))
    return np.array(drawn)


def _draw_person(
    image: Image.Image,
    points: Float[np.ndarray, "joints 2"],
    found: Bool[np.ndarray, " joints"],
    skeleton: Skeleton,
    *,
    width: float,
) -> None:
    """Into an enlarged copy of the part with the person, which made small again is antialiased."""
    margin = _DISC * width + 2
    low = np.clip(np.floor(points[found].min(axis=0) - margin), 0, image.size).astype(int)
    high = np.clip(np.ceil(points[found].max(axis=0) + margin), 0, image.size).astype(int)
    if (high <= low).any():
        return
    box = (*low.tolist(), *high.tolist())
    part = image.crop(box)
    zoom = 3 if width < 6 else 2 if width < 24 else 1
    large = part.resize((part.width * zoom, part.height * zoom), Image.Resampling.NEAREST)
    pen, rim = ImageDraw.Draw(large), round(min(max(_RIM * width, _LEAST_RIM_PX), _MOST_RIM_PX) * zoom)
    places = np.rint((points - low + 0.5) * zoom - 0.5)  # Pillow would cut
    limbs = found[skeleton.limb_joints].all(axis=1)
    for ends, colour in zip(
        places[skeleton.limb_joints[limbs]].reshape(-1, 4), skeleton.limb_colours[limbs], strict=True
    ):
        pen.line(ends.tolist(), fill=(0, 0, 0), width=round(width * zoom) + 2 * rim)
        pen.line(ends.tolist(), fill=tuple(colour.tolist()), width=round(width * zoom))
    for (x, y), colour in zip(places[found].tolist(), skeleton.joint_colours[found].tolist(), strict=True):
        pen.circle((x, y), round(_DISC * width * zoom), fill=tuple(colour), outline=(0, 0, 0), width=rim)
    image.paste(Image.blend(part, large.reduce(zoom), _OPACITY), box)


def save_overlay(output: Path, source: Path, drawn: UInt8[np.ndarray, "_ _ 3"]) -> None:
    """Writes `<name>_pose.jpg` of a JPEG, `<name>_pose.png` of any other picture, into the folder `output`."""
    suffix = ".jpg" if source.suffix.lower() in (".jpeg", ".jpg") else ".png"
    with atomic_path(output / f"{source.stem}_pose{suffix}") as temporary:
        Image.fromarray(drawn).save(temporary, quality=92, compress_level=1)
