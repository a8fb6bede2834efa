"""A whole rally drawn from one seed, and its labels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view

from projects.ball.synthetic.camera import Camera, random_camera
from projects.ball.synthetic.flight import Flight, play
from projects.ball.synthetic.light import random_displays, random_flashes, random_light, random_wanderers
from projects.ball.synthetic.players import random_players
from projects.ball.synthetic.render import Rally, Sight
from projects.ball.synthetic.scene import random_scene

FPS = 120
LONGEST = 2.0  # seconds of flight from which a game's frames are chosen
BEFORE, AFTER = 4, 12  # labelled frames around an event, as in OpenTTGames
LABELLED = 0.72  # share of frames inside such windows, from which empty events are added until it is reached
ABSENT = 0.13  # share of frames without the ball that a game aims at
MIN_SHARE, MIN_CONTRAST = 0.6, 40.0  # what a ball must show to be labelled visible
SLOW, MAX_SLOW_SHARE = 3.0, 0.1  # px per frame: slower, a window shows one more white dot; share of a game's frames
MAX_HIDDEN_SHARE = 0.04  # what it may still show to be labelled absent

Label = dict[str, float | int]
Ball = dict[str, Label]
Events = dict[str, str]


def random_rally(seed: Sequence[int], size_hw: tuple[int, int]) -> Rally:
    """A rally of 42 to 60 frames in a hall of its own; the same seed (whole numbers >= 0) gives the same pixels."""
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(42, 61))
    camera = random_camera(rng, size_hw)
    flight, start = _flight_in_view(rng, camera, frames)
    orange = rng.uniform() < 0.2
    colour = rng.uniform((235, 140, 25), (255, 170, 60)) if orange else rng.uniform(232, 255) - np.array([0, 0, 12])
    scene = random_scene(rng, camera, size_hw)
    return Rally(
        size_hw=size_hw,
        fps=FPS,
        length=frames,
        start=start,
        exposure=float(rng.uniform(0.2, 0.6)),
        ball_colour=colour.astype(np.float32),
        flight=flight,
        camera=camera,
        scene=scene,
        players=random_players(rng, flight),
        wanderers=random_wanderers(rng),
        light=random_light(rng, size_hw, frames),
        displays=random_displays(rng, size_hw, frames),
        flashes=random_flashes(rng, size_hw, frames),
    )


def _flight_in_view(rng: np.random.Generator, camera: Camera, frames: int) -> tuple[Flight, float]:
    """A flight and the second it is shown from: at least one contact, and about ABSENT of the frames without ball."""
    tries = [_best_start(rng, camera, play(rng, LONGEST), frames) for _ in range(3)]
    miss, start, flight = min(tries, key=lambda found: found[0])
    return (flight, start) if np.isfinite(miss) else _flight_in_view(rng, camera, frames)


def _best_start(rng: np.random.Generator, camera: Camera, flight: Flight, frames: int) -> tuple[float, float, Flight]:
    """How poor the flight's best part is, and the second at which that begins.

    Good is a share of frames without the ball near ABSENT, and several contacts. Without any contact, or with a ball
    that trickles along after a net hit, it is infinitely poor.

    Before the first stroke the ball is in a hand, so that this time is shown only if the hand is outside the picture.
    """
    first = 0 if _in_picture(camera, flight, np.zeros(1))[0] else -20
    times = np.arange(first, int(flight.end * FPS)) / FPS
    if len(times) < frames:
        return np.inf, 0.0, flight
    absent = 1 - sliding_window_view(_in_picture(camera, flight, times), frames).mean(axis=1)
    contacts, _ = np.histogram([time for time, _ in flight.contacts], bins=np.append(times, times[-1] + 1 / FPS))
    count = sliding_window_view(contacts, frames).sum(axis=1)
    misses = np.abs(absent - ABSENT) - 0.03 * np.minimum(count, 3) + rng.uniform(0, 0.02, len(count))
    slow = sliding_window_view(_pixels_per_frame(camera, flight, times) < SLOW, frames).mean(axis=1)
    misses[(count == 0) | (slow > MAX_SLOW_SHARE)] = np.inf
    best = int(misses.argmin())
    return float(misses[best]), float(times[best]), flight


def _pixels_per_frame(camera: Camera, flight: Flight, times: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Motion of the ball in pixels of a 640-wide picture."""
    xy, _ = camera.project(flight.states(times)[:, :3])
    steps = np.linalg.norm(np.gradient(xy, axis=0), axis=1)
    return np.asarray(steps * 320 / camera.centre_xy[0])


def _in_picture(camera: Camera, flight: Flight, times: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    xy, _ = camera.project(flight.states(times)[:, :3])
    inside: Bool[np.ndarray, " n"] = (np.abs(xy - camera.centre_xy) < camera.centre_xy + 2).all(axis=1)
    return inside


def contact_frames(rally: Rally) -> dict[int, str]:
    """Contacts by the frame whose exposure is nearest to them."""
    frames = ((round((time - rally.start) * rally.fps), contact) for time, contact in rally.flight.contacts)
    return {frame: contact for frame, contact in frames if 0 <= frame < rally.length}


def annotate(rally: Rally, sights: Sequence[Sight], rng: np.random.Generator) -> tuple[Ball, Events]:
    """The labels of a game in OpenTTGames form: both JSON objects.

    Frames from 4 before to 12 after each event are labelled. A ball that shows is labelled with its place, a ball that
    is out of the picture or hidden with x = y = -1; a frame in which people would disagree is left out.
    """
    events = contact_frames(rally)
    covered = np.zeros(rally.length, dtype=bool)
    for frame in events:
        covered[max(0, frame - BEFORE) : frame + AFTER + 1] = True
    while covered.mean() < LABELLED:
        gains = [(~covered[max(0, frame - BEFORE) : frame + AFTER + 1]).sum() for frame in range(rally.length)]
        frame = int(np.where(covered, -1, gains + rng.uniform(0, 1, rally.length)).argmax())
        events[frame] = "empty_event"
        covered[max(0, frame - BEFORE) : frame + AFTER + 1] = True
    ball = {}
    for frame in np.flatnonzero(covered).tolist():
        label = _label(sights[frame], rally.size_hw)
        if label:
            ball[str(frame)] = label
    return ball, {str(frame): events[frame] for frame in sorted(events)}


def _label(sight: Sight, size_hw: tuple[int, int]) -> Label | None:
    x, y = (round(value, 1) for value in sight.point_xy)
    inside = 0 <= x <= size_hw[1] - 1 and 0 <= y <= size_hw[0] - 1
    if inside and sight.share >= MIN_SHARE and sight.contrast >= MIN_CONTRAST:
        return {"x": x, "y": y}
    return {"x": -1, "y": -1} if sight.share <= MAX_HIDDEN_SHARE else None
