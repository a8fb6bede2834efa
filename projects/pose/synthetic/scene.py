"""A picture's people: who stands where, what hides them, and how the whole is drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from projects.pose.synthetic.backdrop import boxed, draw_things, random_ground, rectangle
from projects.pose.synthetic.body import Body, pose_body, random_build
from projects.pose.synthetic.canvas import Canvas, Light, Tube, plain
from projects.pose.synthetic.figure import Figure
from projects.pose.synthetic.outfit import random_colour, random_outfit
from projects.pose.synthetic.poses import random_pose

COUNTS = (0.35, 0.45, 0.16, 0.04)  # of 1, 2, 3 and 4 people in the foreground
CROWD, DISTANT = 0.07, 0.12  # share of the pictures that have some
OCCLUDER = 0.06  # share of the people who have something in front of them
Draw = Callable[[Canvas], None]


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        canvas: the finished drawing, before the camera.
        people: the foreground's, and those too far away to label.
        crowd: small people who share one region.
    """

    canvas: Canvas
    people: tuple[Figure, ...]
    distant: tuple[Figure, ...]
    crowd: tuple[Figure, ...]


@dataclass(frozen=True)
class View:
    """How the viewer stands.

    Attributes:
        size_hw: of the picture.
        horizon: row at the height of the viewer's eyes.
        eye: that height in metres.
        pitch: how far the viewer looks down, degrees.
    """

    size_hw: tuple[int, int]
    horizon: float
    eye: float
    pitch: float

    def foot(self, scale: float) -> float:
        """Row of the ground where a metre is `scale` pixels long."""
        return self.horizon + self.eye * scale


def random_scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
    """Draws a picture by chance."""
    view = View(
        size_hw, size_hw[0] * float(rng.uniform(0.2, 0.48)), float(rng.uniform(1.1, 1.6)), float(rng.uniform(0, 12))
    )
    canvas = Canvas(random_ground(rng, size_hw, view.horizon), _random_light(rng))
    crowd = _crowd(rng, view) if rng.random() < CROWD else ()
    distant = _distant(rng, view, len(crowd)) if rng.random() < DISTANT else ()
    people = _foreground(rng, view, len(crowd) + len(distant))
    draw_things(rng, canvas, view.horizon, min(view.foot(min(one.scale for one in people)), 1.02 * size_hw[0]))
    strokes: list[tuple[float, Draw]] = [(one.scale, _stand(one)) for one in (*crowd, *distant)]
    for one in people:
        strokes += [(one.scale, _stand(one)), *_about(rng, one, view)]
    for _, stroke in sorted(strokes, key=lambda pair: pair[0]):
        stroke(canvas)
    return Scene(canvas, people, distant, crowd)


def _random_light(rng: np.random.Generator) -> Light:
    aside, above = np.radians([rng.uniform(-80, 80), rng.uniform(5, 65)])
    x, y, z = np.sin(aside) * np.cos(above), -np.sin(above), -np.cos(aside) * np.cos(above)
    return Light((float(x), float(y), float(z)), float(rng.uniform(0.45, 0.8)))


def _foreground(rng: np.random.Generator, view: View, first: int) -> tuple[Figure, ...]:
    """One to four people, few of them over others."""
    count = int(rng.choice(4, p=COUNTS)) + 1
    height, width = view.size_hw
    size = height * float(np.exp(rng.uniform(np.log(0.85), np.log(1.15)))) * (1.0, 0.92, 0.8, 0.7)[count - 1]
    people, taken = list[Figure](), list[tuple[float, float]]()
    for number in range(count):
        scale = size / 1.7 * float(np.exp(rng.normal(0, 0.16)))
        body = _random_body(rng, view)
        aside = [float(point[0]) * scale for point in body.joints.values()]
        tried = [(x + min(aside), x + max(aside), x) for x in (width * rng.uniform(0.06, 0.94, 6)).tolist()]
        left, right, x = min(tried, key=lambda place: max((_overlap(place[:2], other) for other in taken), default=0.0))
        taken.append((left, right))
        people.append(Figure(first + number, body, random_outfit(rng), _place(body, x, scale, view), scale))
    return tuple(people)


def _random_body(rng: np.random.Generator, view: View, *, calm: bool = False) -> Body:
    yaw = rng.normal(0, 20) + rng.choice([0, 180, 90, -90], p=[0.9, 0.05, 0.025, 0.025])
    return pose_body(random_build(rng), random_pose(rng, calm=calm), yaw=float(yaw), pitch=view.pitch)


def _place(body: Body, x: float, scale: float, view: View) -> tuple[float, float]:
    """Puts the lowest point of the body on the ground."""
    lowest = max(float(point[1]) for point in body.joints.values()) + 0.03 * body.build.stature
    return x, view.foot(scale) - lowest * scale


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Share (0..1) of the narrower one of two ranges that lies in the other one."""
    (a, b), (c, d) = one, other
    return max(min(b, d) - max(a, c), 0.0) / max(min(b - a, d - c), 1.0)


def _stand(one: Figure) -> Draw:
    def draw(canvas: Canvas) -> None:
        for side in ("left", "right"):
            x, y = one.joint_xy(f"{side}_toe").tolist()
            canvas.shadow((x, y), (0.2 * one.scale, 0.06 * one.scale), 0.45)
        one.draw(canvas)

    return draw


def _about(rng: np.random.Generator, one: Figure, view: View) -> list[tuple[float, Draw]]:
    """What somebody sits on, just behind, and what stands just in front."""
    things = list[tuple[float, Draw]]()
    x, y = one.joint_xy("hips").tolist()
    low = view.foot(one.scale)
    if one.body.pose.action == "sitting":
        things.append((0.999 * one.scale, _seat(rng, (x, low), low - y, one.scale)))
    if rng.random() < OCCLUDER:
        things.append((1.001 * one.scale, _occluder(rng, x, low, one.scale)))
    return things


def _seat(rng: np.random.Generator, foot_xy: tuple[float, float], high: float, scale: float) -> Draw:
    """A block."""
    front, top = boxed(np.array(foot_xy), 0.5 * scale, max(high - 0.05 * scale, 1.0), 0.08 * scale)
    colour = random_colour(rng)

    def draw(canvas: Canvas) -> None:
        canvas.polygon(front, colour)
        canvas.polygon(top, colour)

    return draw


def _occluder(rng: np.random.Generator, x: float, low: float, scale: float) -> Draw:
    """A thing that hides legs or a strip of somebody."""
    x += float(rng.normal(0, 0.3)) * scale
    colour = random_colour(rng)
    if rng.random() < 0.4:
        top = np.array([x + rng.normal(0, 0.1) * scale, low - rng.uniform(1.2, 2.6) * scale])
        radius = float(rng.uniform(0.03, 0.09)) * scale
        tube = Tube(np.stack([[x, low], top]), (radius, radius), (0.0, 0.0), plain(colour))
        return lambda canvas: canvas.tube(tube)
    wide, high = scale * rng.uniform(0.3, 1.1), scale * rng.uniform(0.2, 0.85)
    low += 0.05 * scale
    corners = rectangle(np.array([x - wide / 2, low - high]), np.array([x + wide / 2, low]))
    return lambda canvas: canvas.polygon(corners, colour)


def _distant(rng: np.random.Generator, view: View, first: int) -> tuple[Figure, ...]:
    """One to three people too small to label."""
    return tuple(
        _small(
            rng,
            view,
            first + number,
            float(rng.uniform(0, view.size_hw[1])),
            view.size_hw[0] * float(rng.uniform(0.05, 0.1)),
        )
        for number in range(int(rng.integers(1, 4)))
    )


def _crowd(rng: np.random.Generator, view: View) -> tuple[Figure, ...]:
    """People side by side, a region without names."""
    height, width = view.size_hw
    size, middle = height * float(rng.uniform(0.08, 0.14)), float(rng.uniform(0.15, 0.85)) * width
    count = int(rng.integers(8, 17))
    return tuple(
        _small(
            rng, view, number, middle + float(rng.normal(0, 0.09 * count)) * size, size * float(rng.uniform(0.85, 1.15))
        )
        for number in range(count)
    )


def _small(rng: np.random.Generator, view: View, person: int, x: float, size: float) -> Figure:
    body = _random_body(rng, view, calm=True)
    return Figure(person, body, random_outfit(rng), _place(body, x, size / 1.7, view), size / 1.7)
