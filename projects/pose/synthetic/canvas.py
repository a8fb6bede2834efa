"""Shaded, antialiased drawing into a picture that remembers whose part each pixel shows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt16
from PIL import Image, ImageDraw

from projects.pose.synthetic.noise import cut, noise_tile

Colour = tuple[float, float, float]
Plane = Float[np.ndarray, "h w"]
Planes = Float[np.ndarray, "3 h w"]
Colours = Float[np.ndarray, "3 _ _"]
Look = Callable[[Plane, Plane], Colours]
"""Colour of a tube (3, h, w) or (3, 1, 1), 0..255, where along it (0..1) and where across it (-1..1) a pixel lies."""
Box = tuple[slice, slice]

PARTS = 32  # numbers kept for the parts of one owner
NOBODY = 0
SUPERSAMPLING = 2
FOLDS = (4.0, 12.0, 40.0)  # pixels: sizes of folds of cloth and of unevenness of skin
SHADOW, SHADOW_REACH = 0.3, 0.5  # how dark the contact shadow of a part is, and how far it reaches, in its radii
LOOSE = 1.125  # how many times thicker cloth is than the limb in it


@dataclass(frozen=True)
class Light:
    """Where the light comes from.

    Attributes:
        towards_xyz: direction to it, length 1: right, down, away from the viewer.
        ambient: share (0..1) of it that comes from everywhere.
    """

    towards_xyz: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Tube:
    """A rounded limb of varying thickness, in pixels of the picture.

    Attributes:
        ends_xy: of its axis.
        radii: half widths at equal steps along the axis, two or more.
        caps: how far its rounded ends reach beyond the axis' ends.
        look: its colours.
        owner: number of its owner and part: `PARTS` x person + part, or `NOBODY`.
        covered: share of the length, from the first end, where loose cloth makes it `LOOSE` times as thick.
        lifted: whether it throws a soft shadow on what it lies on of the same owner.
    """

    ends_xy: Float[np.ndarray, "2 2"]
    radii: tuple[float, ...]
    caps: tuple[float, float]
    look: Look
    owner: int = NOBODY
    covered: float = 0.0
    lifted: bool = False


def plain(colour: Colour) -> Look:
    """One colour everywhere."""
    planes = np.array(colour, np.float32)[:, None, None]
    return lambda _along, _across: planes


class Canvas:
    """A picture under construction.

    Args:
        planes: RGB 0..255, float32, drawn upon.
        light: that falls on all tubes.
    """

    def __init__(self, planes: Planes, light: Light) -> None:
        self.planes, self.light = planes, light
        self.size_hw: tuple[int, int] = (planes.shape[1], planes.shape[2])
        self.owner: UInt16[np.ndarray, "h w"] = np.zeros(self.size_hw, np.uint16)
        self.painted = dict[int, int]()  # pixels of each owner's part, whether or not something hides them now

    def tube(self, tube: Tube) -> None:
        """Draws a tube with the shade of a round body."""
        thick = max(tube.radii)
        margin = LOOSE * max(thick, *tube.caps) + 1 + SHADOW_REACH * thick * tube.lifted
        box = self._box(tube.ends_xy.min(axis=0) - margin, tube.ends_xy.max(axis=0) + margin)
        if box is None:
            return
        (ax, ay), (bx, by) = tube.ends_xy.tolist()
        length = max(float(np.hypot(bx - ax, by - ay)), 1e-3)
        ux, uy = (bx - ax) / length, (by - ay) / length
        x, y = _grid(box, ax, ay)
        along = (x * (ux / length)) + (y * (uy / length))
        across = y * ux - x * uy
        clipped = along.clip(0, 1)
        radius = _radius(tube, clipped)
        first, last = (
            length / max(cap, 0.5) * r for cap, r in zip(tube.caps, tube.radii[:: len(tube.radii) - 1], strict=True)
        )
        beyond = along - clipped
        beyond *= first if first == last else np.where(along < 0, np.float32(first), np.float32(last))
        distance = np.sqrt(beyond * beyond + across * across) - radius
        share = (across / radius).clip(-1, 1)
        colour = tube.look(clipped, share) * self._shade(box, share, (-uy, ux))
        if tube.lifted:
            self._contact(box, distance, thick, tube.owner)
        self._lay(box, distance, colour, tube.owner)

    def ellipse(
        self, centre_xy: tuple[float, float], radii_xy: tuple[float, float], colour: Colour, owner: int
    ) -> None:
        """Draws a flat upright ellipse."""
        centre, radii = np.array(centre_xy), np.maximum(radii_xy, 0.4)
        box = self._box(centre - radii - 1, centre + radii + 1)
        if box is None:
            return
        x, y = _grid(box, *centre_xy)
        rx, ry = radii.tolist()
        distance = (np.sqrt((x / rx) ** 2 + (y / ry) ** 2) - 1) * min(rx, ry)
        self._lay(box, distance, np.array(colour, np.float32)[:, None, None], owner)

    def polygon(self, points_xy: Float[np.ndarray, "n 2"], colour: Colour, *, owner: int = NOBODY) -> None:
        """Fills a polygon; a little noise keeps it from being flat."""
        box = self._box(points_xy.min(axis=0) - 1, points_xy.max(axis=0) + 1)
        if box is None:
            return
        height, width = (int(side.stop - side.start) for side in box)
        mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
        local = (points_xy - [box[1].start, box[0].start] + 0.5) * SUPERSAMPLING - 0.5
        ImageDraw.Draw(mask).polygon([(x, y) for x, y in local.tolist()], fill=255)
        alpha = np.asarray(mask.reduce(SUPERSAMPLING), np.float32) / 255
        self._lay(box, 0.5 - alpha, np.array(colour, np.float32)[:, None, None] * self._fold(box), owner)

    def ball(self, ball: "Ball", texture: Callable[[Planes], Planes], owner: int) -> None:
        """Draws an ellipsoid whose colours are a function of the place on it.

        Args:
            ball: where, which way round and how large.
            texture: colour (3, h, w) of points (3, h, w) on the unit ball, in the ball's own axes.
            owner: whose part it is.
        """
        reach = max(ball.radii) * 1.1 + 1
        box = self._box(ball.centre_xy - reach, ball.centre_xy + reach)
        if box is None:
            return
        x, y = _grid(box, *ball.centre_xy.tolist())
        into = (ball.axes / np.array(ball.radii)).T.astype(np.float32)  # the ball's unit axes from the picture's
        flat = into[:, 0, None, None] * x + into[:, 1, None, None] * y
        deep = into[:, 2]
        a, b = float(deep @ deep), np.tensordot(deep, flat, 1)
        outline = (flat * flat).sum(axis=0) - b * b / a  # 1 on the silhouette
        towards = (-b - np.sqrt(np.maximum(1 - outline, 0) * a)) / a
        points = flat + deep[:, None, None] * towards
        points /= np.maximum(np.sqrt((points * points).sum(axis=0)), 1e-6)
        distance = (np.sqrt(outline) - 1) * min(ball.radii)
        normal = np.tensordot((ball.axes / np.array(ball.radii)).astype(np.float32), points, 1)
        normal /= np.sqrt((normal * normal).sum(axis=0)) + 1e-9
        lit = sum(part * towards for part, towards in zip(normal, self.light.towards_xyz, strict=True))
        colour = texture(points) * (self.light.ambient + (1 - self.light.ambient) * np.maximum(lit, 0))
        self._contact(box, distance, max(ball.radii) * 0.6, owner)
        self._lay(box, distance, colour, owner)

    def shadow(self, centre_xy: tuple[float, float], radii_xy: tuple[float, float], darkness: float) -> None:
        """Darkens a soft ellipse on the ground."""
        centre, radii = np.array(centre_xy), np.maximum(radii_xy, 1.0)
        box = self._box(centre - 1.8 * radii, centre + 1.8 * radii)
        if box is None:
            return
        x, y = _grid(box, *centre_xy)
        square = (x / float(radii[0])) ** 2 + (y / float(radii[1])) ** 2
        self.planes[:, *box] *= 1 - darkness * np.exp(-1.5 * square)

    def _box(self, low_xy: Float[np.ndarray, " 2"], high_xy: Float[np.ndarray, " 2"]) -> Box | None:
        height, width = self.size_hw
        left, top = max(int(np.floor(low_xy[0])), 0), max(int(np.floor(low_xy[1])), 0)
        right, bottom = min(int(np.ceil(high_xy[0])) + 1, width), min(int(np.ceil(high_xy[1])) + 1, height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def _shade(self, box: Box, share: Plane, across_xy: tuple[float, float]) -> Plane:
        lx, ly, lz = self.light.towards_xyz
        lit = share * (across_xy[0] * lx + across_xy[1] * ly) - np.sqrt(1 - share * share) * lz
        np.maximum(lit, 0, out=lit)
        return np.asarray((lit * (1 - self.light.ambient) + self.light.ambient) * self._fold(box))

    def _fold(self, box: Box) -> Plane:
        corner, size = (box[0].start, box[1].start), (box[0].stop - box[0].start, box[1].stop - box[1].start)
        return np.asarray(1 + np.float32(0.06) * cut(noise_tile(FOLDS), corner, size))

    def _contact(self, box: Box, distance: Plane, radius: float, owner: int) -> None:
        if radius < 2:
            return
        own = self.owner[box] // PARTS == owner // PARTS
        if own.any():
            near = (1 - distance / (SHADOW_REACH * radius)).clip(0, 1)
            self.planes[:, *box] *= 1 - SHADOW * near * own

    def _lay(self, box: Box, distance: Plane, colour: Colours, owner: int) -> None:
        """Covers what lies within an outline, given the distance to it in pixels, negative inside."""
        under = self.planes[:, *box]
        under += (0.5 - distance).clip(0, 1) * (colour - under)
        inside = distance < 0
        np.copyto(self.owner[box], np.uint16(owner), where=inside)
        if owner != NOBODY:
            self.painted[owner] = self.painted.get(owner, 0) + int(np.count_nonzero(inside))


@dataclass(frozen=True)
class Ball:
    """An ellipsoid seen from far away.

    Attributes:
        centre_xy: in pixels.
        axes: columns are its own axes in those of the picture (right, down, away), of length 1.
        radii: along its axes, in pixels.
    """

    centre_xy: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "3 3"]
    radii: tuple[float, float, float]


def _grid(box: Box, x: float, y: float) -> tuple[Float[np.ndarray, "1 w"], Float[np.ndarray, "h 1"]]:
    """Columns and rows of a box, from the point (x, y)."""
    rows, columns = (np.arange(side.start, side.stop, dtype=np.float32) for side in box)
    return columns[None] - x, rows[:, None] - y


def _radius(tube: Tube, along: Plane) -> Plane:
    """Half width where along the tube (0..1) a pixel lies."""
    radii = [max(radius, 0.5) for radius in tube.radii]
    if len(radii) > 2:
        radius = np.interp(along, np.linspace(0, 1, len(radii)), radii).astype(np.float32)
    else:
        radius = radii[0] + (radii[1] - radii[0]) * along
    if tube.covered >= 1:
        radius *= LOOSE
    elif tube.covered > 0:
        radius *= 1 + (LOOSE - 1) * (along < tube.covered).astype(np.float32)
    return np.asarray(radius)
