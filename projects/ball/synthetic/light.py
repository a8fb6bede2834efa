"""What changes over a rally besides the players: light, noise, the camera's shake, lights that wander or flicker."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from projects.ball.synthetic.canvas import random_colour
from projects.ball.synthetic.planes import Box, Field, Planes, even_box, half, halve, inside
from projects.ball.synthetic.scene import MARGIN

NOISE_MARGIN = 64  # the same noise field serves every frame, each time cut elsewhere
LAMP_HERTZ = 100.0  # lamps on 50 Hz mains; a camera at 120 fps sees a beat of 20 Hz


@dataclass(frozen=True)
class Light:
    """Turns the drawn picture into what the sensor delivers, and shakes the camera.

    Attributes:
        gain: brightness over the picture, around 1.
        noise: levels of 255, NOISE_MARGIN larger than the picture.
        cuts: top left corner of each frame's noise.
        flicker: amplitude of the lamps' beat, relative.
        drift: change of brightness per second, relative.
        shake: amplitude of the camera's shake in pixels, at most MARGIN - 2.
        phases: of flicker and shake, radians.
    """

    gain: Field
    noise: Float[np.ndarray, "h+64 w+64"]
    cuts: Int[np.ndarray, "frames 2"]
    flicker: float
    drift: float
    shake: float
    phases: Float[np.ndarray, " 3"]

    def shake_xy(self, time: float) -> Float[np.ndarray, " 2"]:
        """Displacement of the picture in pixels."""
        angles = 2 * np.pi * np.array([2.3, 3.1]) * time + self.phases[1:]
        return np.asarray(self.shake * np.sin(angles))

    def expose(self, image: Planes, index: int, time: float) -> UInt8[np.ndarray, "lines w"]:
        """What the sensor delivers, yuv420p; uses `image` up."""
        height, width = image.luma.shape
        top, left = self.cuts[index]
        beat = self.flicker * np.sin(2 * np.pi * LAMP_HERTZ * time + self.phases[0])
        gain = np.float32(1 + beat + self.drift * time) * self.gain
        np.multiply(image.luma, gain, out=image.luma)
        np.multiply(image.chroma, gain[::2, ::2], out=image.chroma)
        np.add(image.luma, self.noise[top : top + height, left : left + width], out=image.luma)
        return image.rounded()


@dataclass(frozen=True)
class Wanderer:
    """A bright disc before the back wall that moves far slower than any ball: a hand, a lamp, a shoe."""

    origin: Float[np.ndarray, " 3"]
    velocity: Float[np.ndarray, " 3"]
    radius: float
    colour: Float[np.ndarray, " 3"]

    def position(self, time: float) -> Float[np.ndarray, " 3"]:
        """Metres."""
        return self.origin + self.velocity * time


@dataclass(frozen=True)
class Display:
    """A lit scoreboard above the hall, whose pulsed lamps a fast camera sees at another brightness in every frame.

    What changes most from frame to frame is therefore not always the ball.

    Attributes:
        box: place in the picture.
        pattern: luma of the lit board at full brightness.
        levels: brightness in each frame, 0..1.
    """

    box: Box
    pattern: Field
    levels: Float[np.ndarray, " frames"]

    def paint(self, image: Planes, index: int) -> None:
        """Lays the board over the hall."""
        image.luma[self.box] = self.pattern * self.levels[index]
        image.chroma[(slice(None), *half(self.box))] *= np.float32(0.4)


@dataclass(frozen=True)
class Flashes:
    """Photographers' flashes in the stand: each lights one frame, brighter than any ball.

    Attributes:
        centres_xy: pixels, one place per frame.
        radii: standard deviation of the glow in pixels; 0 where no flash goes off.
    """

    centres_xy: Float[np.ndarray, "frames 2"]
    radii: Float[np.ndarray, " frames"]

    def paint(self, image: Planes, index: int) -> None:
        """Lays the frame's flash, if any, over the hall."""
        radius, (x, y) = self.radii[index], self.centres_xy[index]
        if not radius:
            return
        reach = 4 * radius
        box = inside(even_box(np.array([x - reach, y - reach]), np.array([x + reach, y + reach])), image.luma.shape)
        rows, columns = np.mgrid[box].astype(np.float32)
        glow = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2)).astype(np.float32)
        image.luma[box] += glow * (np.float32(219) - image.luma[box])
        image.chroma[(slice(None), *half(box))] *= 1 - halve(glow)


def random_light(rng: np.random.Generator, size_hw: tuple[int, int], length: int) -> Light:
    """Bright or dim, even or falling off to one side; a third of the cameras shake."""
    height, width = size_hw
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    slope_x, slope_y, falloff = rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12), rng.uniform(0, 0.12)
    gain = rng.uniform(0.95, 1.25) * (1 + slope_x * x + slope_y * y - falloff * (x**2 + y**2))
    noise = rng.standard_normal((height + NOISE_MARGIN, width + NOISE_MARGIN), dtype=np.float32)
    return Light(
        gain.astype(np.float32),
        np.float32(rng.uniform(0.5, 3.5)) * noise,
        rng.integers(0, NOISE_MARGIN, (length, 2)),
        float(rng.uniform(0, 0.05)),
        float(rng.uniform(-0.12, 0.12)),
        float(rng.uniform(0.3, MARGIN - 3)) if rng.uniform() < 0.35 else 0.0,
        rng.uniform(0, 2 * np.pi, 3),
    )


def random_wanderers(rng: np.random.Generator) -> tuple[Wanderer, ...]:
    """None to three of them."""

    def wanderer() -> Wanderer:
        origin = np.array([rng.uniform(-2.5, 2.5), 2.1, rng.choice([0.1, rng.uniform(1.2, 2.4)])])
        velocity = np.array([rng.choice([-1, 1]) * rng.uniform(0.05, 0.35), 0.0, rng.uniform(-0.04, 0.04)])
        colour = np.array(random_colour(rng, 150, 245, tint=0.2), dtype=np.float32)
        return Wanderer(origin, velocity, float(rng.uniform(0.015, 0.05)), colour)

    return tuple(wanderer() for _ in range(rng.integers(0, 4)))


def random_displays(rng: np.random.Generator, size_hw: tuple[int, int], length: int) -> tuple[Display, ...]:
    """None to two of them, in the upper part of the picture where a ball hardly comes."""
    return tuple(_random_display(rng, size_hw, length) for _ in range(rng.choice([0, 1, 2], p=[0.1, 0.5, 0.4])))


def _random_display(rng: np.random.Generator, size_hw: tuple[int, int], length: int) -> Display:
    size_wh = np.array(size_hw[::-1])
    side_wh = size_wh * rng.uniform((0.10, 0.07), (0.2, 0.12))
    corner = size_wh * rng.uniform((0, 0.01), (0.8, 0.06))
    box = inside(even_box(corner, corner + side_wh), size_hw)
    height, width = (part.stop - part.start for part in box)
    lit = rng.uniform() < 0.5  # dark figures on a lit board, or the reverse
    ground, ink = (int(rng.integers(150, 219)), 20) if lit else (20, int(rng.integers(170, 219)))
    board = Image.new("L", (width, height), ground)
    score = f"{rng.integers(0, 12):02d}:{rng.integers(0, 12):02d}"
    font = ImageFont.load_default(max(8, int(0.8 * height)))
    ImageDraw.Draw(board).text((width / 2, height / 2), score, ink, font, anchor="mm")
    return Display(box, np.asarray(board, dtype=np.float32), rng.uniform(0.05, 1, length).astype(np.float32))


def random_flashes(rng: np.random.Generator, size_hw: tuple[int, int], length: int) -> Flashes:
    """In three halls of four, a flash in up to half of the frames, above the table."""
    share = rng.uniform(0.2, 0.5) if rng.uniform() < 0.75 else 0.0
    size_wh = np.array(size_hw[::-1])
    centres = size_wh * rng.uniform((0, 0), (1, 0.35), (length, 2))
    radii = size_wh[0] / 640 * rng.uniform(5, 14, length) * (rng.uniform(size=length) < share)
    return Flashes(centres, radii)
