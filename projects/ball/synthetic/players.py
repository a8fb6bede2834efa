"""Two players who move to the ball and strike it, drawn as limbs of constant colour."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from projects.ball.synthetic.camera import Camera
from projects.ball.synthetic.canvas import Canvas, Colour, random_colour
from projects.ball.synthetic.flight import HALF_LENGTH, Flight, Stroke

Point = Float[np.ndarray, " 3"]
Joints = dict[str, Point]

SKINS: tuple[Colour, ...] = ((224, 178, 150), (198, 142, 112), (150, 100, 74), (96, 64, 48))
ARM_LENGTH, RACKET_RADIUS = 0.6, 0.078
Limb = tuple[
    str, str, float, float, str
]  # from joint to joint, radius there and there in metres, part that is coloured
LEGS: tuple[Limb, ...] = (
    *((f"hip_{s}", f"knee_{s}", 0.1, 0.065, "shorts") for s in "lr"),
    *((f"knee_{s}", f"foot_{s}", 0.065, 0.045, "skin") for s in "lr"),
    *((f"foot_{s}", f"toe_{s}", 0.055, 0.045, "shoes") for s in "lr"),
)
TRUNK: tuple[Limb, ...] = (
    ("hip", "neck", 0.14, 0.13, "shirt"),
    ("hip_l", "hip_r", 0.1, 0.1, "shorts"),
    ("shoulder_l", "shoulder_r", 0.09, 0.09, "shirt"),
    ("head", "head", 0.11, 0.11, "hair"),
    ("face", "face", 0.085, 0.085, "skin"),
)
ARM: tuple[Limb, ...] = (
    ("shoulder", "elbow", 0.07, 0.045, "skin"),
    ("shoulder", "sleeve", 0.08, 0.07, "shirt"),
    ("elbow", "hand", 0.045, 0.035, "skin"),
    ("hand", "hand", 0.05, 0.05, "skin"),
)


@dataclass(frozen=True)
class Player:
    """One player.

    Attributes:
        side: end of the table, -1 or 1.
        hand: 1 when the racket hand points to +y, -1 to -y.
        home_xy: where the player waits, metres.
        strokes: this player's own, in order.
        colours: of skin, shirt, shorts, shoes, racket, handle, hair, print.
        number: text on the shirt.
        phase: of the sway, radians.
    """

    side: int
    hand: int
    home_xy: Float[np.ndarray, " 2"]
    strokes: tuple[Stroke, ...]
    colours: dict[str, Colour]
    number: str
    phase: float

    def joints(self, time: float) -> Joints:
        """Positions of the joints at `time` seconds."""
        root = self.root(time)
        forward, across = np.array([-self.side, 0.0, 0.0]), np.array([0.0, self.hand, 0.0])
        up = np.array([0.0, 0.0, 1.0])
        step = 0.1 * np.sin(5 * time + self.phase)
        neck = root + 0.2 * forward + 1.36 * up
        head = neck + 0.06 * forward + 0.2 * up
        joints = {"neck": neck, "hip": root + 0.9 * up, "head": head, "face": head + 0.04 * forward - 0.03 * up}
        for name, sign in (("r", 1), ("l", -1)):
            hip = root + 0.12 * sign * across + 0.86 * up
            foot = root + (0.24 * across + step * forward) * sign + 0.05 * up
            knee = (hip + foot) / 2 + 0.15 * forward
            shoulder = neck + 0.18 * sign * across - 0.05 * up
            joints |= {f"hip_{name}": hip, f"knee_{name}": knee, f"foot_{name}": foot, f"shoulder_{name}": shoulder}
            joints[f"toe_{name}"] = foot + 0.2 * forward
        joints["racket"] = self._racket(time, root)
        joints["hand_r"] = joints["racket"] - 0.09 * forward - 0.11 * across - 0.02 * up
        joints["hand_l"] = root + (0.34 + step) * forward - 0.28 * across + 1.0 * up
        for name in "rl":
            elbow = _elbow(joints[f"shoulder_{name}"], joints[f"hand_{name}"])
            joints |= {f"elbow_{name}": elbow, f"sleeve_{name}": (joints[f"shoulder_{name}"] + elbow) / 2}
        return joints

    def root(self, time: float) -> Point:
        """The place on the floor below the player, who waits at home and is near each stroke in time for it."""
        near = np.exp(-(((time - np.array([stroke.time for stroke in self.strokes])) / 0.3) ** 2))
        sway = 0.05 * np.array([np.sin(7 * time + self.phase), np.cos(4 * time + self.phase)])
        xy = self.home_xy + sway
        for weight, stroke in zip(near / max(1.0, near.sum()), self.strokes, strict=True):
            stand = stroke.point[:2] + np.array([self.side * 0.42, -self.hand * 0.42])
            xy = xy + weight * (stand - self.home_xy)
        return np.array([xy[0], xy[1], 0.0])

    def _racket(self, time: float, root: Point) -> Point:
        """At rest in front of the body; passes through the ball's place, a ball's radius behind it, at the stroke."""
        rest = root + np.array([-self.side * 0.4, self.hand * 0.3, 1.0 + 0.03 * np.sin(6 * time)])
        place = rest
        for stroke in self.strokes:
            late = time - stroke.time
            contact = stroke.point + np.array([self.side * 0.03, 0.0, 0.0])
            swing = float(np.clip(late, -0.12, 0.12)) * np.array([-self.side * 3.0, -self.hand * 1.0, 1.5])
            place = place + np.exp(-((late / 0.13) ** 2)) * (contact + swing - rest)
        return np.asarray(place)

    def behind_table(self, camera: Camera) -> bool:
        """Whether the table lies between the camera and the player's end of the hall."""
        return bool(self.side * camera.position[0] < HALF_LENGTH)

    def draw_legs(self, canvas: Canvas, camera: Camera, joints: Joints) -> None:
        """Draws what the table may hide."""
        self._draw(canvas, camera, joints, LEGS)

    def draw_body(self, canvas: Canvas, camera: Camera, joints: Joints) -> None:
        """Draws everything above the hips, the far arm first."""
        far, near = (_arm(name) for name in ("rl" if self.hand > 0 else "lr"))
        self._draw(canvas, camera, joints, (*far, *TRUNK))
        (print_xy,), (scale,) = camera.project((joints["hip"] + 2 * joints["neck"])[None] / 3)
        canvas.text(print_xy, self.number, 0.17 * float(scale), self.colours["print"])
        self._draw(canvas, camera, joints, near)
        canvas.polygon(camera.project(self._blade(joints["racket"]))[0], self.colours["racket"])

    def _draw(self, canvas: Canvas, camera: Camera, joints: Joints, limbs: tuple[Limb, ...]) -> None:
        points_xy, scales = camera.project(np.array([joints[name] for limb in limbs for name in limb[:2]]))
        radii = np.array([limb[2:4] for limb in limbs]) * scales.reshape(-1, 2)
        canvas.capsules(points_xy.reshape(-1, 2, 2), radii, [self.colours[limb[4]] for limb in limbs])

    def _blade(self, centre: Point) -> Float[np.ndarray, "n 3"]:
        angles = np.linspace(0, 2 * np.pi, 14)[:, None]
        first, second = np.array([0.25 * self.side, 0.0, 0.97]), np.array([0.45, 0.9 * self.hand, 0.0])
        return np.asarray(centre + RACKET_RADIUS * (np.cos(angles) * first + np.sin(angles) * second))


def random_players(rng: np.random.Generator, flight: Flight) -> tuple[Player, Player]:
    """One player at either end, in the colours of a draw."""

    def player(side: int) -> Player:
        strokes = tuple(stroke for stroke in flight.strokes if stroke.side == side)
        home = np.array([side * (HALF_LENGTH + rng.uniform(0.5, 1.1)), rng.uniform(-0.4, 0.4)])
        colours = {
            "skin": SKINS[rng.integers(len(SKINS))],
            "shirt": random_colour(rng, 60, 190),
            "shorts": random_colour(rng, 15, 110),
            "shoes": random_colour(rng, 30, 235, tint=0.2),
            "racket": ((170, 28, 30), (24, 24, 28), (30, 50, 130))[rng.integers(3)],
            "handle": (120, 84, 50),
            "hair": random_colour(rng, 15, 90, tint=0.15),
            "print": random_colour(rng, *((200, 240) if rng.uniform() < 0.6 else (15, 110)), tint=0.1),
        }
        hand = int(rng.choice([-1, 1], p=[0.6, 0.4]))
        return Player(side, hand, home, strokes, colours, str(rng.integers(1, 99)), float(rng.uniform(0, 6)))

    return player(-1), player(1)


def _elbow(shoulder: Point, hand: Point) -> Point:
    """Halfway, lowered so that both halves of the arm keep their length."""
    reach = float(np.linalg.norm(hand - shoulder))
    drop = np.sqrt(max(0.0, (ARM_LENGTH / 2) ** 2 - (reach / 2) ** 2))
    return np.asarray((shoulder + hand) / 2 - np.array([0.0, 0.0, drop]))


def _arm(name: str) -> tuple[Limb, ...]:
    arm = tuple((f"{start}_{name}", f"{end}_{name}", a, b, part) for start, end, a, b, part in ARM)
    return (*arm, ("hand_r", "racket", 0.015, 0.015, "handle")) if name == "r" else arm
