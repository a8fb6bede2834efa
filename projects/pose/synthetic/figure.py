"""A body in clothes as a list of things to draw, the farthest first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from projects.pose.synthetic.body import Body, Vector
from projects.pose.synthetic.canvas import PARTS, Ball, Canvas, Colours, Look, Plane, Planes, Tube, plain
from projects.pose.synthetic.head import head_texture
from projects.pose.synthetic.outfit import Cloth, Outfit, covered_limb

Points = Float[np.ndarray, "n 2"]
SIDES = ("left", "right")
NAMES = (
    "trunk", "neck", "head", "nose", "hair", "brim", "bag", "skirt",
    *(f"{side}_{part}" for side in SIDES for part in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot", "ear")),
)  # fmt: skip
# radii at the ends of limbs, as shares of the stature
LIMBS: dict[str, tuple[str, str, float, float]] = {
    "upper_arm": ("shoulder", "elbow", 0.033, 0.024),
    "forearm": ("elbow", "wrist", 0.025, 0.016),
    "hand": ("wrist", "hand", 0.018, 0.015),
    "thigh": ("hip", "knee", 0.054, 0.035),
    "shank": ("knee", "ankle", 0.036, 0.021),
    "foot": ("ankle", "toe", 0.023, 0.016),
}
# half width and half depth of the trunk from hips to shoulders, as shares of the stature
TRUNK_WIDTH = (0.097, 0.092, 0.083, 0.094, 0.104, 0.100)
TRUNK_DEPTH = (0.066, 0.064, 0.058, 0.064, 0.062, 0.045)


def part_number(person: int, name: str) -> int:
    """What `Canvas.owner` holds where a part of a person is seen; persons are numbered from 0."""
    return PARTS * (person + 1) + NAMES.index(name)


@dataclass(frozen=True)
class Figure:
    """Somebody in the picture.

    Attributes:
        person: number in the picture, from 0.
        body: in space.
        outfit: its looks.
        place_xy: pixel of the hips' middle.
        scale: pixels per metre.
    """

    person: int
    body: Body
    outfit: Outfit
    place_xy: tuple[float, float]
    scale: float

    def project(self, points: Float[np.ndarray, "n 3"]) -> Points:
        """Points in space as pixels."""
        return np.asarray(points[:, :2] * self.scale + np.array(self.place_xy))

    def joint_xy(self, name: str) -> Float[np.ndarray, " 2"]:
        """Pixel of a joint."""
        return np.asarray(self.project(self.body.joints[name][None])[0])

    def draw(self, canvas: Canvas) -> None:
        """Draws all parts, the farthest first."""
        for _, stroke in sorted(self._strokes(), key=lambda pair: -pair[0]):
            stroke(canvas)

    def _strokes(self) -> Iterator[tuple[float, Callable[[Canvas], None]]]:
        yield self._trunk()
        yield self._head()
        yield from self._about_head()
        for side in SIDES:
            for part in LIMBS:
                yield self._limb(side, part)
        if self.outfit.bag:
            yield self._bag()
        if self.outfit.skirt:
            yield self._skirt()

    def _tube(
        self, name: str, points: tuple[Vector, Vector], radii: tuple[float, ...], look: Look, **more: float
    ) -> "_Stroke":
        """A tube with radii and caps in metres, as far away as its middle; `nearer` metres nearer."""
        pixels = tuple(max(self.scale * radius, 0.6) for radius in radii)
        caps = (self.scale * more.get("cap", radii[0]), self.scale * more.get("cap", radii[-1]))
        tube = Tube(
            self.project(np.array(points)), pixels, caps, look, part_number(self.person, name),
            covered=more.get("covered", 0.0), lifted="arm" in name or "hand" in name or "thigh" in name,
        )  # fmt: skip
        return float(points[0][2] + points[1][2]) / 2 - more.get("nearer", 0.0), lambda canvas: canvas.tube(tube)

    def _limb(self, side: str, part: str) -> "_Stroke":
        first, last, *shares = LIMBS[part]
        joints, build, wear = self.body.joints, self.body.build, self.outfit
        start, end = joints[f"{side}_{first}"], joints[f"{side}_{last}"]
        radii = tuple(share * build.stature * build.girth**0.7 for share in shares)
        cover, cloth, below = _cover(part, wear)
        length = float(np.linalg.norm(end - start))
        look = covered_limb(cover, cloth, below, length_m=length, radius_m=radii[0])
        nearer = {"upper_arm": 0.03, "forearm": 0.04, "hand": 0.045}.get(part, 0.0)  # arms lie on the trunk
        return self._tube(f"{side}_{part}", (start, end), radii, look, nearer=nearer, covered=max(cover, 0.0))

    def _trunk(self) -> "_Stroke":
        body, build = self.body, self.body.build
        axis = body.trunk[:2, 1]
        across = np.array([-axis[1], axis[0]]) / max(float(np.linalg.norm(axis)), 1e-6)
        wide, deep = (float(across @ body.trunk[:2, column]) for column in (0, 2))
        waist = np.array([1, build.belly**0.5, build.belly, build.belly**0.5, 1, 1]) * build.girth**0.5 * build.stature
        depth = np.array([1, build.belly, build.belly**2, build.belly, 1, 1]) * build.girth * build.stature
        radii = np.hypot(waist * TRUNK_WIDTH * wide, depth * TRUNK_DEPTH * deep)
        cap = max(0.028, 0.06 * abs(float(body.trunk[2, 1]))) * build.stature
        look = self._shirt(float(radii.mean()), float(across @ body.trunk[:2, 2]))
        return self._tube("trunk", (body.joints["hips"], body.joints["chest"]), tuple(radii.tolist()), look, cap=cap)

    def _shirt(self, radius_m: float, front: float) -> Look:
        """The trunk's looks; `front` is where across it (-1..1) the middle of its front is."""
        wear, length = self.outfit, self.body.build.metres("torso")
        seen = self.body.trunk[2, 2] < 0.2

        def look(along: Plane, across: Plane) -> Colours:
            v, w = along * length, across * radius_m
            planes = np.broadcast_to(wear.over.planes(v, w), (3, *along.shape)).copy()
            if seen:
                _decorate(planes, along, across - front, wear)
            below = along < (0.02 if wear.front == "none" else 0.12)
            return np.asarray(np.where(below, wear.trousers.planes(v, w), planes))

        return look

    def _head(self) -> "_Stroke":
        body = self.body
        radii = body.build.head
        ball = Ball(
            self.joint_xy("head"), body.head, (radii[0] * self.scale, radii[1] * self.scale, radii[2] * self.scale)
        )
        number, texture = part_number(self.person, "head"), head_texture(self.outfit)
        return float(body.joints["head"][2]) - 0.02, lambda canvas: canvas.ball(ball, texture, number)

    def _about_head(self) -> Iterator["_Stroke"]:
        """Neck, nose, ears, loose hair, and the brim of a cap."""
        body, wear, joints = self.body, self.outfit, self.body.joints
        half = body.build.metres("head")
        skin = plain(wear.skin.colour)
        neck = 0.5 * half * body.build.girth**0.5
        yield self._tube(
            "neck", (joints["chest"], joints["head"] - 0.2 * half * body.head[:, 1]), (neck, 0.9 * neck), skin
        )
        yield from self._hair(half)
        if half * self.scale < 2:  # nothing of the rest would be seen
            return
        nose = joints["nose"]
        yield self._tube(
            "nose", (nose - 0.12 * half * body.head[:, 2], nose), (0.14 * half, 0.1 * half), skin, nearer=0.02
        )
        for side in SIDES if wear.hair_style != "long" else ():
            ear = joints[f"{side}_ear"]
            up = 0.14 * half * body.head[:, 1]
            yield self._tube(f"{side}_ear", (ear - up, ear + up), (0.13 * half, 0.15 * half), skin, nearer=0.02)
        if wear.hat == "cap":
            rim = joints["head"] + body.head @ np.array([0, 0.42 * half, 0.75 * half])
            reach = rim + body.head @ np.array([0, -0.05 * half, 0.55 * half])
            flat = 0.12 + 0.5 * abs(float(body.head[2, 1]))
            wide = half * (flat + (0.6 - flat) * (1 - float(np.hypot(*body.head[:2, 2]))))
            yield self._tube("brim", (rim, reach), (wide, wide), plain(wear.accent), nearer=0.05)

    def _hair(self, half: float) -> Iterator["_Stroke"]:
        body, wear = self.body, self.outfit
        middle, (_, up, forward) = body.joints["head"], body.head.T
        if wear.hair_style == "long":
            crown, tip = middle - 0.3 * half * forward, middle - 0.45 * half * forward - 1.7 * half * up
            yield self._tube("hair", (crown, tip), (0.86 * half, 0.7 * half), plain(wear.hair), nearer=-0.03)
        if wear.hair_style == "bun" and wear.hat == "none":
            place = middle + half * (0.55 * up - 0.85 * forward)
            yield self._tube("hair", (place, place + 0.05 * half * up), (0.36 * half, 0.36 * half), plain(wear.hair))

    def _bag(self) -> "_Stroke":
        body, size = self.body, self.body.build.metres("torso")
        low, high = (size * (share * body.trunk[:, 1] - 0.42 * body.trunk[:, 2]) for share in (0.25, 0.8))
        wide = 0.36 * abs(float(body.trunk[0, 0])) + 0.22 * abs(float(body.trunk[0, 2]))
        return self._tube(
            "bag", (low, high), (wide * size, 0.9 * wide * size), plain(self.outfit.accent), cap=0.1 * size
        )

    def _skirt(self) -> "_Stroke":
        joints, build = self.body.joints, self.body.build
        knees = (joints["left_knee"] + joints["right_knee"]) / 2
        hem = joints["hips"] + self.outfit.skirt * (knees - joints["hips"])
        spread = float(np.linalg.norm((joints["left_knee"] - joints["right_knee"])[:2])) / 2
        top, bottom = 0.09 * build.stature, 0.08 * build.stature + 0.75 * spread * self.outfit.skirt
        look = covered_limb(1.0, self.outfit.trousers, self.outfit.trousers, length_m=0.3, radius_m=bottom)
        thigh = max(float(joints[f"{side}_knee"][2]) for side in SIDES)
        depth, stroke = self._tube("skirt", (joints["hips"], hem), (top, bottom), look, cap=0.02 * build.stature)
        return min(depth, thigh) - 0.05, stroke


_Stroke = tuple[float, Callable[[Canvas], None]]


def _cover(part: str, wear: Outfit) -> tuple[float, Cloth, Cloth]:
    """How much of a limb is covered, by what, and what is below."""
    shoes = Cloth(wear.shoes, wear.shoes)
    if part == "hand":
        return 0.0, wear.skin, wear.skin
    if part == "foot":
        return 1.0, shoes, shoes
    if part in ("upper_arm", "forearm"):
        return 2 * wear.sleeve - (part == "forearm"), wear.over, wear.skin
    return 2 * wear.leg - (part == "shank"), wear.trousers, wear.skin


def _decorate(planes: Planes, along: Plane, aside: Plane, wear: Outfit) -> None:
    """Paints what is on the front of a shirt; `aside` is 0 in its middle."""
    width = np.abs(aside)
    accent = np.array(wear.accent, np.float32)[:, None, None]
    skin = np.array(wear.skin.colour, np.float32)[:, None, None]
    if wear.jacket is not None:
        np.copyto(planes, np.array(wear.shirt.colour, np.float32)[:, None, None], where=width < 0.28)
    elif wear.front == "print":
        np.copyto(planes, accent, where=(width < 0.4) & (along > 0.5) & (along < 0.75))
    elif wear.front == "buttons":
        np.copyto(planes, accent, where=(width < 0.05))
    if wear.front in ("collar", "buttons"):
        np.copyto(planes, skin, where=width < 1.6 * (along - 0.82))
