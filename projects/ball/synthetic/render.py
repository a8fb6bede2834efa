"""Frames of a rally: standing scene, players, and the ball swept along its path while the shutter is open."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from projects.ball.synthetic.camera import Camera
from projects.ball.synthetic.canvas import Canvas
from projects.ball.synthetic.flight import HALF_WIDTH, RADIUS, TABLE_HEIGHT, Flight
from projects.ball.synthetic.light import Display, Flashes, Light, Wanderer
from projects.ball.synthetic.planes import Box, Field, Planes, crop, even_box, from_rgb, half, halve, inside
from projects.ball.synthetic.players import Joints, Player
from projects.ball.synthetic.scene import MARGIN, Scene, table_outlines

Patch = Float[np.ndarray, "patch_h patch_w"]
MOST_SAMPLES = 48  # of the ball's path in one exposure


@dataclass(frozen=True)
class Sight:
    """How the ball shows in one frame.

    Attributes:
        point_xy: its projection in the middle of the exposure, pixels.
        share: how much of its image lies in the picture and is not hidden, 0..1.
        contrast: mean difference from what it covers, in levels of brightness, where it covers most.
    """

    point_xy: tuple[float, float]
    share: float
    contrast: float


@dataclass(frozen=True)
class Rally:
    """All that determines the frames of one game.

    Attributes:
        start: seconds of the flight at the first frame; negative while the ball waits outside the picture.
        exposure: share of the time between two frames that the shutter is open, 0..1.
    """

    size_hw: tuple[int, int]
    fps: int
    length: int
    start: float
    exposure: float
    ball_colour: Float[np.ndarray, " 3"]
    flight: Flight
    camera: Camera
    scene: Scene
    players: tuple[Player, ...]
    wanderers: tuple[Wanderer, ...]
    light: Light
    displays: tuple[Display, ...]
    flashes: Flashes

    def frame(self, index: int, *, ball: bool = True) -> tuple[UInt8[np.ndarray, "lines w"], Sight]:
        """Draws one frame (yuv420p); `ball=False` leaves the ball out of it and changes nothing else."""
        time = self.start + index / self.fps
        shake_xy = self.light.shake_xy(time)
        camera = self.camera.shifted(shake_xy)
        image = self.scene.background.crop(MARGIN, shake_xy)
        for display in self.displays:
            display.paint(image, index)
        self.flashes.paint(image, index)
        for wanderer in self.wanderers:
            self._paint_wanderer(image, wanderer, camera, time)
        sight = self._paint_actors(image, camera, time, ball=ball)
        return self.light.expose(image, index, time), sight

    def _paint_actors(self, image: Planes, camera: Camera, time: float, *, ball: bool) -> Sight:
        """Players and the ball, the farthest first."""
        centre = self.flight.states(np.array([time]))[0, :3]
        poses = [(player, player.joints(time)) for player in self.players]
        poses.sort(key=lambda pose: -camera.depth(pose[1]["hip"]))
        hiding = [pose for pose in poses if camera.depth(pose[1]["hip"]) < camera.depth(centre)]
        for player, joints in poses[: len(poses) - len(hiding)]:
            _paint_player(image, player, camera, joints)
        box, cover, whole = self._swept_ball(camera, time)
        cover = cover * self._unhidden(camera, centre, box)
        before = Planes(image.luma[box].copy(), image.chroma[:, *half(box)].copy())
        if ball:
            image.paint(box, cover * self.ball_colour[:, None, None], cover)
        for player, joints in hiding:
            cover = cover * (1 - _paint_player(image, player, camera, joints, ball=box))
        x, y = camera.project(centre[None])[0][0]
        return Sight((float(x), float(y)), float(cover.sum()) / whole, _contrast(cover, self.ball_colour, before))

    def _swept_ball(self, camera: Camera, time: float) -> tuple[Box, Field, float]:
        reach = self.exposure / self.fps
        ends_xy, _ = camera.project(self.flight.states(time + reach * np.array([-0.5, 0.5]))[:, :3])
        count = int(np.clip(np.hypot(*(ends_xy[1] - ends_xy[0])), 4, MOST_SAMPLES))
        steps = (np.arange(count) + 0.5) / count - 0.5
        centres_xy, scale = camera.project(self.flight.states(time + reach * steps)[:, :3])
        return sweep(centres_xy, RADIUS * scale, self.size_hw)

    def _unhidden(self, camera: Camera, centre: Float[np.ndarray, " 3"], box: Box) -> Field | float:
        """Share of the ball's light that passes table and net, seen by a camera above the table and before it."""
        if centre[2] < TABLE_HEIGHT and centre[1] > -HALF_WIDTH:
            return self._beyond_table(camera, box)
        if centre[0] * camera.position[0] < 0:
            return 1 - crop(self.scene.net, box, MARGIN, camera.centre_xy - self.camera.centre_xy)
        return 1.0

    def _beyond_table(self, camera: Camera, box: Box) -> Field:
        """Share of the light from behind the table and the net that passes them."""
        return 1 - crop(self.scene.table_and_net, box, MARGIN, camera.centre_xy - self.camera.centre_xy)

    def _paint_wanderer(self, image: Planes, wanderer: Wanderer, camera: Camera, time: float) -> None:
        xy, scale = camera.project(wanderer.position(time)[None])
        box, cover, _ = sweep(xy, wanderer.radius * scale, self.size_hw)
        cover = cover * self._beyond_table(camera, box)
        image.paint(box, cover * wanderer.colour[:, None, None], cover)


def sweep(
    centres_xy: Float[np.ndarray, "n 2"], radii: Float[np.ndarray, " n"], size_hw: tuple[int, int]
) -> tuple[Box, Field, float]:
    """Mean coverage of discs.

    Returns:
        Box within the picture (empty when none of it is touched), coverage there (0..1), and the sum of the coverage
        over an endless picture.
    """
    margin = radii.max() + 1.5
    whole = even_box(centres_xy.min(axis=0) - margin, centres_xy.max(axis=0) + margin)
    y, x = np.mgrid[whole].astype(np.float32)
    distance = np.hypot(x - centres_xy[:, 0, None, None], y - centres_xy[:, 1, None, None])
    cover = np.clip(radii[:, None, None] - distance + 0.5, 0, 1).mean(axis=0, dtype=np.float32)
    box = inside(whole, size_hw)
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, whole, strict=True))
    return box, cover[rows, columns], float(cover.sum())


def _paint_player(
    image: Planes, player: Player, camera: Camera, joints: Joints, *, ball: Box | None = None
) -> Patch | float:
    """Draws one player; returns how much of the box `ball` the player covers."""
    box = rows, columns = _player_box(joints, camera, image.luma.shape)
    size_hw = rows.stop - rows.start, columns.stop - columns.start
    if 0 in size_hw:
        return 0.0
    canvas = Canvas((columns.start, rows.start), size_hw)
    player.draw_legs(canvas, camera, joints)
    if player.behind_table(camera):
        for outline in table_outlines(camera):
            canvas.erase(outline)
    player.draw_body(canvas, camera, joints)
    colours, alpha = canvas.result()
    image.paint(box, colours, alpha)
    return _window(alpha, box, ball) if ball else 0.0


def _window(field: Field, at: Box, wanted: Box) -> Patch:
    """The part `wanted` of a picture that is `field` in the box `at` and 0 elsewhere."""
    picture = np.zeros([max(a.stop, b.stop) for a, b in zip(at, wanted, strict=True)], dtype=np.float32)
    picture[at] = field
    return picture[wanted]


def _contrast(cover: Field, colour: Float[np.ndarray, " 3"], before: Planes) -> float:
    """Levels by which the ball changes what was there, where it covers most; a level of colour counts half."""
    if not cover.any():
        return 0.0
    ball = from_rgb(cover * colour[:, None, None])
    luma = ball.luma - cover * before.luma
    chroma = np.abs(ball.chroma - halve(cover) * before.chroma).max(axis=0).repeat(2, axis=0).repeat(2, axis=1)
    return float(np.hypot(luma, chroma / 2)[cover >= cover.max() / 2].mean())


def _player_box(joints: Joints, camera: Camera, size_hw: tuple[int, ...]) -> Box:
    points_xy, scale = camera.project(np.stack(list(joints.values())))
    margin = 0.25 * scale.max()  # metres around the joints that hold limbs, shoes, hair and the racket
    return inside(even_box(points_xy.min(axis=0) - margin, points_xy.max(axis=0) + margin), size_hw)
