"""What is behind the people: ground, walls, skies, and things that are none of them."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from projects.pose.synthetic.canvas import Canvas, Colour, Plane, Planes, Tube
from projects.pose.synthetic.noise import random_noise
from projects.pose.synthetic.outfit import SKINS, covered_limb, random_cloth, random_colour

Row = Float[np.ndarray, "1 w"]
Column = Float[np.ndarray, "h 1"]
ROUGH = ((2.5, 6.0), (14.0, 40.0), (130.0,))  # sizes of the unevenness of grounds, pixels


def random_ground(rng: np.random.Generator, size_hw: tuple[int, int], horizon: float) -> Planes:
    """A wall or a sky above a floor that meet at row `horizon`, textured; RGB 0..255, float32."""
    height, width = size_hw
    foot = int(horizon + rng.uniform(0.0, 0.2) * height)
    planes = np.empty((3, height, width), np.float32)
    planes[:, :foot] = _wall(rng, (foot, width))
    planes[:, foot:] = _floor(rng, (height - foot, width), foot - horizon)
    planes += sum(float(rng.uniform(1, 11)) * random_noise(rng, size_hw, scales) for scales in ROUGH)
    tint = float(rng.uniform(0, 10)) * random_noise(rng, size_hw, ROUGH[-1])
    planes[0] += tint
    planes[2] -= tint
    return planes


def _wall(rng: np.random.Generator, size_hw: tuple[int, int]) -> Planes:
    """A gradient, with or without a pattern."""
    first, second = (np.array(random_colour(rng, 60, 250, tint=0.6), np.float32)[:, None, None] for _ in range(2))
    rows, columns = (np.arange(side, dtype=np.float32) for side in size_hw)
    y, x = rows[:, None], columns[None]
    planes = first + (0.5 * (second - first)) * (y / size_hw[0])
    kind = list(WALLS)[rng.integers(len(WALLS))]
    contrast = float(rng.uniform(0.08, 0.4) * rng.choice([-1, 1]))
    return np.asarray(planes * (1 + contrast * WALLS[kind](x, y, float(rng.uniform(9, 48)))))


def _stripes(x: Row, y: Column, period: float) -> Plane:
    return np.asarray(np.clip(0.5 + 3 * np.sin(x * (2 * np.pi / period)), 0, 1) + 0 * y)


def _boards(x: Row, y: Column, period: float) -> Plane:
    return np.asarray((y % period < 0.12 * period) + 0 * x, np.float32)


def _bricks(x: Row, y: Column, period: float) -> Plane:
    row = np.floor(y / (0.45 * period))
    joints = (y % (0.45 * period) < 1.5) | ((x + 0.5 * period * (row % 2)) % period < 1.5)
    return np.asarray(joints, np.float32)


def _slanted(x: Row, y: Column, period: float) -> Plane:
    return np.asarray(np.clip(0.5 + 3 * np.sin((x + 0.7 * y) * (2 * np.pi / period)), 0, 1))


def _flat(x: Row, y: Column, period: float) -> Plane:
    return np.asarray(0 * x + 0 * y)


WALLS: Mapping[str, Callable[[Row, Column, float], Plane]] = MappingProxyType(
    {"flat": _flat, "plaster": _flat, "sky": _flat, "stripes": _stripes, "boards": _boards, "bricks": _bricks,
     "slanted": _slanted}
)  # fmt: skip
"""Share (0..1) of the second colour at column x and row y, with a period in pixels."""


def _floor(rng: np.random.Generator, size_hw: tuple[int, int], below: float) -> Planes:
    """A colour, or tiles that shrink towards the horizon, `below` rows above the first one."""
    height, width = size_hw
    colour = np.array(random_colour(rng, 60, 230, tint=0.6), np.float32)[:, None, None]
    if rng.random() < 0.55:
        return np.broadcast_to(colour, (3, height, width))
    tiles = float(rng.uniform(2, 6))
    depth = tiles / (np.arange(height, dtype=np.float32)[:, None] + (below + 8))
    across = (np.arange(width, dtype=np.float32)[None] - float(rng.uniform(0, width))) * depth
    odd = (np.floor(across) + np.floor(depth * float(rng.uniform(70, 200)))).astype(np.int32) & 1
    return np.asarray(colour * (1 - float(rng.uniform(0.05, 0.3)) * odd.astype(np.float32)))


Thing = Callable[[np.random.Generator, Canvas, Float[np.ndarray, " 2"], float], None]


def draw_things(rng: np.random.Generator, canvas: Canvas, horizon: float, nearest: float) -> None:
    """Draws furniture, poles, trees, pictures and shapes from row `horizon` to row `nearest`, the farthest first."""
    height, width = canvas.size_hw
    feet = np.sort(rng.uniform(horizon, max(nearest, horizon + 1), int(rng.integers(2, 10))))
    for foot in feet.tolist():
        scale = max(foot - horizon, 0.05 * height) / rng.uniform(1.1, 1.7)
        place = np.array([rng.uniform(0, width), foot])
        list(THINGS.values())[rng.integers(len(THINGS))](rng, canvas, place, float(scale))


def _bar(rng: np.random.Generator, canvas: Canvas, ends_xy: Float[np.ndarray, "2 2"], radius: float) -> None:
    """A round bar in the colours of cloth or, now and then, of skin."""
    cloth = random_cloth(rng, patterned=0.3)
    if rng.random() < 0.25:
        cloth = type(cloth)(SKINS[rng.integers(len(SKINS))], cloth.other)
    length = float(np.linalg.norm(ends_xy[1] - ends_xy[0])) / 100
    look = covered_limb(1.0, cloth, cloth, length_m=length, radius_m=0.1)
    canvas.tube(Tube(ends_xy, (radius, radius * float(rng.uniform(0.6, 1))), (radius * 0.3, radius * 0.3), look))


def _pole(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    top = foot_xy + scale * np.array([rng.normal(0, 0.15), -rng.uniform(0.6, 2.6)])
    _bar(rng, canvas, np.stack([foot_xy, top]), scale * float(rng.uniform(0.02, 0.08)))


def _sticks(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    """Bars joined end to end like limbs."""
    points = foot_xy + np.cumsum(scale * rng.normal(0, 0.35, (int(rng.integers(3, 6)), 2)) - [0, 0.15 * scale], axis=0)
    for start, end in pairwise(points):
        _bar(rng, canvas, np.stack([start, end]), scale * float(rng.uniform(0.03, 0.07)))


def _tree(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    trunk = scale * rng.uniform(0.8, 1.6)
    canvas.shadow((float(foot_xy[0]), float(foot_xy[1])), (0.5 * scale, 0.1 * scale), 0.3)
    _bar(rng, canvas, np.stack([foot_xy, foot_xy - [0, trunk]]), 0.09 * scale)
    green = (rng.uniform(20, 90), rng.uniform(70, 150), rng.uniform(20, 70))
    for _ in range(7):
        x, y = foot_xy - [0, trunk + 0.3 * scale] + scale * rng.normal(0, 0.25, 2)
        shade = rng.uniform(0.7, 1.2)
        colour: Colour = (green[0] * shade, green[1] * shade, green[2] * shade)
        canvas.ellipse((float(x), float(y)), (0.32 * scale, 0.28 * scale), colour, 0)


def _box(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    """A cupboard, a block or a car-sized body, with a lighter top."""
    wide, high = scale * rng.uniform(0.3, 1.8), scale * rng.uniform(0.3, 1.6)
    deep = scale * rng.uniform(0.05, 0.25)
    front, top = boxed(foot_xy, float(wide), float(high), float(deep))
    red, green, blue = random_colour(rng, 40, 200)
    canvas.shadow((float(foot_xy[0]), float(foot_xy[1])), (0.6 * wide, 0.1 * scale), 0.4)
    canvas.polygon(front, (red, green, blue))
    canvas.polygon(top, (1.2 * red, 1.2 * green, 1.2 * blue))
    for _ in range(int(rng.integers(0, 3))):  # doors
        share = np.sort(rng.uniform(0.08, 0.92, (2, 2)), axis=0)
        low, size = front.min(axis=0), np.ptp(front, axis=0)
        canvas.polygon(rectangle(low + share[0] * size, low + share[1] * size), (0.8 * red, 0.8 * green, 0.8 * blue))


def _frame(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    """A window, picture or poster on the wall."""
    size = scale * rng.uniform(0.3, 1.2, 2)
    low = foot_xy - [size[0] / 2, scale * rng.uniform(1.2, 2.4)]
    canvas.polygon(rectangle(low, low + size), random_colour(rng))
    canvas.polygon(rectangle(low + 0.08 * size, low + 0.92 * size), random_colour(rng, 60, 240))
    if rng.random() < 0.5:
        x, y = low + rng.uniform(0.3, 0.7, 2) * size
        canvas.ellipse((float(x), float(y)), (0.2 * float(size[0]), 0.25 * float(size[1])), random_colour(rng), 0)


def _globe(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    """A ball or a lamp, as large as a head or larger."""
    radius = scale * float(rng.uniform(0.08, 0.3))
    x, y = float(foot_xy[0]), float(foot_xy[1] - rng.choice([radius, scale * rng.uniform(0.5, 2)]))
    canvas.ellipse((x, y), (radius, radius * float(rng.uniform(0.8, 1.2))), random_colour(rng), 0)


def _table(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    """A table, or a chair with a back."""
    wide, high = scale * rng.uniform(0.4, 1.3), scale * rng.uniform(0.4, 0.8)
    radius = 0.03 * scale
    colour = random_colour(rng)
    for share in (-0.5, -0.35, 0.35, 0.5):
        foot = foot_xy + np.array([share * wide, -0.06 * scale * (abs(share) < 0.4)])
        _bar(rng, canvas, np.stack([foot, [foot[0], foot_xy[1] - high]]), radius)
    low = foot_xy - np.array([0.55 * wide, high + 0.06 * scale])
    canvas.polygon(rectangle(low, low + np.array([1.1 * wide, 0.09 * scale])), colour)
    if rng.random() < 0.5:
        canvas.polygon(rectangle(low - [0, 0.9 * high], low + np.array([0.1 * wide, 0])), colour)


def _shape(rng: np.random.Generator, canvas: Canvas, foot_xy: Float[np.ndarray, " 2"], scale: float) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.15, 0.7, (len(angles), 1))
    canvas.polygon(foot_xy - [0, scale] + scale * ring, random_colour(rng))


THINGS: Mapping[str, Thing] = MappingProxyType(
    {"pole": _pole, "sticks": _sticks, "tree": _tree, "box": _box, "frame": _frame, "globe": _globe, "table": _table,
     "shape": _shape}
)  # fmt: skip


def rectangle(low_xy: Float[np.ndarray, " 2"], high_xy: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "4 2"]:
    """Corners in turn."""
    (left, top), (right, bottom) = low_xy, high_xy
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def boxed(
    foot_xy: Float[np.ndarray, " 2"], wide: float, high: float, deep: float
) -> tuple[Float[np.ndarray, "4 2"], Float[np.ndarray, "4 2"]]:
    """Front and top of a box whose front stands with its middle on a point; all in pixels."""
    x, y = foot_xy
    front = rectangle(np.array([x - wide / 2, y - high]), np.array([x + wide / 2, y]))
    top = np.array([front[0], front[1], front[1] + [-0.15 * wide, -deep], front[0] + [0.15 * wide, -deep]])
    return front, top
