"""What stands still in a rally: hall, table, net and light."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from projects.ball.synthetic.camera import Camera
from projects.ball.synthetic.canvas import Canvas, Colour, random_colour
from projects.ball.synthetic.flight import HALF_LENGTH, HALF_WIDTH, NET_HEIGHT, NET_OVERHANG, RADIUS, TABLE_HEIGHT
from projects.ball.synthetic.planes import Field, Planes, from_rgb

MARGIN = 6  # pixels drawn beyond the picture on every side: room for the camera to shake; even, for the chroma
NET_HALF, NET_TOP = HALF_WIDTH + NET_OVERHANG, TABLE_HEIGHT + NET_HEIGHT
WORDS = ("OPEN", "TT", "CUP", "2024", "SPIN", "o O o", "TABLE", "PRO", "00", "GO")

Rectangle = tuple[float, float, float, float]  # low and high on the first axis, low and high on the second


def _corners(box: Rectangle) -> list[tuple[float, float]]:
    a, b, c, d = box
    return [(a, c), (b, c), (b, d), (a, d)]


def _table_faces() -> Float[np.ndarray, "faces 4 3"]:
    low, top = TABLE_HEIGHT - 0.05, TABLE_HEIGHT
    legs = [(x, y) for x in (-1.05, 1.05) for y in (HALF_WIDTH - 0.15, 0.15 - HALF_WIDTH)]
    faces = [[(a, y, b) for a, b in _corners((x - 0.03, x + 0.03, 0.0, top))] for x, y in legs]
    faces += [
        [(x, a, b) for a, b in _corners((-HALF_WIDTH, HALF_WIDTH, low, top))] for x in (-HALF_LENGTH, HALF_LENGTH)
    ]
    faces += [[(a, -HALF_WIDTH, b) for a, b in _corners((-HALF_LENGTH, HALF_LENGTH, low, top))]]
    faces += [[(a, b, top) for a, b in _corners((-HALF_LENGTH, HALF_LENGTH, -HALF_WIDTH, HALF_WIDTH))]]
    return np.array(faces)


TABLE_FACES = _table_faces()


@dataclass(frozen=True)
class Scene:
    """Fields of the picture's size plus `MARGIN` on every side, float32.

    Attributes:
        background: hall, table and net before the light.
        net: how much the net hides of what is behind it, 0..1.
        table_and_net: the same for both together.
    """

    background: Planes
    net: Field
    table_and_net: Field


def random_scene(rng: np.random.Generator, camera: Camera, size_hw: tuple[int, int]) -> Scene:
    """A hall with a table, dark enough for a bright ball to stand out nearly everywhere."""
    height, width = size_hw[0] + 2 * MARGIN, size_hw[1] + 2 * MARGIN

    def canvas() -> Canvas:
        return Canvas((-MARGIN, -MARGIN), (height, width))

    hall, table, net = canvas(), canvas(), canvas()
    _draw_hall(rng, hall, camera)
    _draw_table(rng, table, camera)
    tape = _draw_net(rng, net, camera)
    texture = _texture(rng, (height, width))
    background = hall.result()[0] * (1 + texture)
    table_colour, table_alpha = table.result()
    background = background * (1 - table_alpha) + table_colour * (1 + texture / 4)
    net_colour, net_alpha = net.result()
    tape_colour, tape_alpha = tape.result()
    opacity = np.float32(rng.uniform(0.3, 0.6))
    background = background * (1 - opacity * net_alpha) + opacity * net_colour
    background = background * (1 - tape_alpha) + tape_colour
    hides = np.maximum(opacity * net_alpha, tape_alpha)
    return Scene(from_rgb(background), hides, np.maximum(hides, table_alpha))


def _texture(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Smooth blotches and a fine grain around 0."""
    total = np.zeros(size_hw, dtype=np.float32)
    for cell, strength in ((48, 0.07), (12, 0.03), (3, 0.02)):
        coarse = rng.uniform(-1, 1, (size_hw[0] // cell + 2, size_hw[1] // cell + 2)).astype(np.float32)
        fine = Image.fromarray(coarse).resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
        total += strength * np.asarray(fine)
    return total


def _draw_hall(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> None:
    wall_y = rng.uniform(2.2, 6.0)
    wall, floor = random_colour(rng, 30, 115), random_colour(rng, 30, 110)
    left, right = _reach(camera, wall_y)
    canvas.fill(floor)
    _wall(canvas, camera, (left, right, 0.0, 9.0), wall_y, wall)
    line = random_colour(rng, 60, 200, tint=0.2)
    seam = (floor[0] * 9 // 10, floor[1] * 9 // 10, floor[2] * 9 // 10)
    for x in np.arange(-6, 6, rng.uniform(0.4, 2.5)):
        _ground(canvas, camera, (x, x + 0.03, -1.8, wall_y), 0.0, seam)
    _ground(canvas, camera, (left, right, wall_y - 0.6, wall_y - 0.54), 0.0, line)
    for _ in range(rng.integers(1, 7)):
        _draw_poster(rng, canvas, camera, wall_y)
    if rng.uniform() < 0.6:
        _draw_boards(rng, canvas, camera, wall_y)
    for _ in range(rng.integers(0, 6)):  # lamps, labels and holes: bright spots on the wall
        _spot(canvas, camera, [rng.uniform(-4, 4), wall_y, rng.uniform(0.2, 3)], rng.uniform(0.015, 0.05), rng)
    for _ in range(rng.integers(0, 4)):  # balls that lie about
        ground = [rng.uniform(-2.5, 2.5), rng.uniform(1.0, wall_y), RADIUS]
        _spot(canvas, camera, ground, RADIUS, rng)


def _reach(camera: Camera, y: float) -> tuple[float, float]:
    """The part of a line along the table that lies well before the camera."""
    x = np.linspace(-14, 14, 113)
    scale = camera.project(np.stack([x, np.full_like(x, y), np.zeros_like(x)], axis=1))[1]
    seen = x[scale < camera.focal / 1.5]
    return float(seen.min()), float(seen.max())


def _draw_poster(rng: np.random.Generator, canvas: Canvas, camera: Camera, wall_y: float) -> None:
    x, z, width, height = rng.uniform(-4, 4), rng.uniform(0.4, 2.6), rng.uniform(0.2, 1.6), rng.uniform(0.2, 1.0)
    paper = random_colour(rng, 20, 150 if rng.uniform() < 0.85 else 230)
    _wall(canvas, camera, (x, x + width, z, z + height), wall_y, paper)
    centre_xy, scale = camera.project(np.array([[x + width / 2, wall_y, z + height / 2]]))
    canvas.text(centre_xy[0], str(rng.choice(WORDS)), 0.5 * height * float(scale[0]), random_colour(rng, 20, 235))


def _draw_boards(rng: np.random.Generator, canvas: Canvas, camera: Camera, wall_y: float) -> None:
    """The low barriers around a court, with letters."""
    y, panel, colour = rng.uniform(1.9, wall_y - 0.1), rng.uniform(1.0, 2.4), random_colour(rng, 25, 110)
    for x in np.arange(-8, 8, panel):
        _wall(canvas, camera, (x, x + panel - 0.04, 0.0, 0.7), y, colour)
        centre_xy, scale = camera.project(np.array([[x + panel / 2, y, 0.38]]))
        canvas.text(centre_xy[0], str(rng.choice(WORDS)), 0.3 * float(scale[0]), random_colour(rng, 150, 235, tint=0.2))


def table_outlines(camera: Camera) -> Float[np.ndarray, "faces 4 2"]:
    """Polygons of the table in pixels: legs, edges, and the top as the last."""
    return camera.project(TABLE_FACES.reshape(-1, 3))[0].reshape(-1, 4, 2)


def _draw_table(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> None:
    steel, white = random_colour(rng, 15, 70), random_colour(rng, 150, 225, tint=0.06)
    *frame, top = table_outlines(camera)
    for face in frame:
        canvas.polygon(face, steel)
    canvas.polygon(top, white)
    red, green, blue = ((24, 60, 120), (20, 84, 70), (38, 40, 48), (30, 96, 130))[rng.integers(4)]
    shade = rng.uniform(0.7, 1.2)
    paint = (int(shade * red), int(shade * green), int(shade * blue))
    for low, high in ((0.02 - HALF_WIDTH, -0.0015), (0.0015, HALF_WIDTH - 0.02)):
        _ground(canvas, camera, (0.02 - HALF_LENGTH, HALF_LENGTH - 0.02, low, high), TABLE_HEIGHT, paint)


def _draw_net(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> Canvas:
    """Draws the mesh, which lets light through; returns a canvas with tape and posts, which do not."""
    mesh, post = random_colour(rng, 15, 60), random_colour(rng, 15, 60)
    _across(canvas, camera, (-NET_HALF, NET_HALF, TABLE_HEIGHT, NET_TOP), 0.0, mesh)
    solid = canvas.like()
    _across(
        solid, camera, (-NET_HALF, NET_HALF, NET_TOP - 0.015, NET_TOP), 0.0, random_colour(rng, 130, 215, tint=0.06)
    )
    posts = np.array([[[0.0, y, z] for z in (TABLE_HEIGHT - 0.03, NET_TOP)] for y in (NET_HALF, -NET_HALF)])
    ends_xy, scale = camera.project(posts.reshape(-1, 3))
    solid.capsules(ends_xy.reshape(-1, 2, 2), 0.012 * scale.reshape(-1, 2), [post, post])
    return solid


def _wall(canvas: Canvas, camera: Camera, box: Rectangle, y: float, colour: Colour) -> None:
    _polygon(canvas, camera, [(x, y, z) for x, z in _corners(box)], colour)


def _ground(canvas: Canvas, camera: Camera, box: Rectangle, z: float, colour: Colour) -> None:
    _polygon(canvas, camera, [(x, y, z) for x, y in _corners(box)], colour)


def _across(canvas: Canvas, camera: Camera, box: Rectangle, x: float, colour: Colour) -> None:
    _polygon(canvas, camera, [(x, y, z) for y, z in _corners(box)], colour)


def _polygon(canvas: Canvas, camera: Camera, corners: list[tuple[float, float, float]], colour: Colour) -> None:
    points_xy, scale = camera.project(np.array(corners))
    if (scale < camera.focal).all():  # nearer than a metre is beside the camera: nothing of it can be in the picture
        canvas.polygon(points_xy, colour)


def _spot(canvas: Canvas, camera: Camera, point: list[float], radius: float, rng: np.random.Generator) -> None:
    xy, scale = camera.project(np.array([point]))
    canvas.disc(xy[0], radius * float(scale[0]), random_colour(rng, 150, 250, tint=0.15))
