"""Flight of a table-tennis ball: gravity, drag, bounces, the net and the strokes of two players.

World axes in metres: x along the table (the net stands at x = 0), y across it, away from the camera, z up from the
floor. Table, net and ball have the sizes of the ITTF Laws (2.1, 2.2, 2.3). Spin is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import OdeSolution, solve_ivp

TABLE_LENGTH, TABLE_WIDTH, TABLE_HEIGHT = 2.74, 1.525, 0.76
NET_HEIGHT, NET_OVERHANG = 0.1525, 0.1525
HALF_LENGTH, HALF_WIDTH = TABLE_LENGTH / 2, TABLE_WIDTH / 2
RADIUS, MASS = 0.02, 0.0027
GRAVITY = 9.81
DRAG = 0.5 * 1.2 * 0.45 * np.pi * RADIUS**2 / MASS  # air density 1.2 kg/m3, drag coefficient of a sphere 0.45
TABLE_RESTITUTION, FLOOR_RESTITUTION = 0.9, 0.75
REST_SPEED = 0.2  # m/s upwards after a contact below which the ball counts as rolling

State = Float[np.ndarray, " 6"]  # position and velocity


@dataclass(frozen=True)
class Stroke:
    """A racket meets the ball: seconds, the end of the table (-1 left, 1 right), the ball's position."""

    time: float
    side: int
    point: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Flight:
    """The ball's whole path from the first stroke at 0 s to `end`.

    Attributes:
        starts: begin of each smooth arc in seconds, ascending.
        arcs: state (position and velocity) as a function of time, exact within its arc.
        contacts: (seconds, "bounce" | "net").
    """

    starts: tuple[float, ...]
    arcs: tuple[OdeSolution, ...]
    end: float
    contacts: tuple[tuple[float, str], ...]
    strokes: tuple[Stroke, ...]

    def states(self, times: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 6"]:
        """Position and velocity at `times`; before the first stroke the ball is held where it will be struck."""
        times = np.clip(times, 0.0, self.end)
        which = np.searchsorted(self.starts, times, side="right") - 1
        states = np.empty((len(times), 6))
        for arc in np.unique(which):
            states[which == arc] = self.arcs[arc](times[which == arc]).T
        return states


def _derivative(_: float, state: State) -> State:
    velocity = state[3:]
    acceleration = -DRAG * np.sqrt(velocity @ velocity) * velocity
    acceleration[2] -= GRAVITY
    return np.concatenate([velocity, acceleration])


def _terminal(height: Callable[[State], float]) -> Callable[[float, State], float]:
    def crossing(_: float, state: State) -> float:
        return float(height(state))

    crossing.terminal = True  # type: ignore[attr-defined]  # solve_ivp reads these attributes
    crossing.direction = -1  # type: ignore[attr-defined]
    return crossing


_SURFACES = (
    _terminal(lambda state: state[2] - TABLE_HEIGHT - RADIUS),
    _terminal(lambda state: abs(state[0]) - RADIUS),
    _terminal(lambda state: state[2] - RADIUS),
)


def _meet_table(state: State) -> tuple[State, str | None]:
    if abs(state[0]) > HALF_LENGTH or abs(state[1]) > HALF_WIDTH:
        state[2] -= 1e-6  # beside the table: goes on below its height
        return state, None
    state[2] += 1e-9
    state[3:] *= (0.95, 0.95, -TABLE_RESTITUTION)
    return state, "bounce"


def _meet_net(state: State) -> tuple[State, str | None]:
    half_width = HALF_WIDTH + NET_OVERHANG
    if abs(state[1]) < half_width and TABLE_HEIGHT < state[2] < TABLE_HEIGHT + NET_HEIGHT:
        state[3:] *= (-0.15, 0.3, 0.4)
        return state, "net"
    state[0] -= np.copysign(1e-6, state[0])
    return state, None


def _meet_floor(state: State) -> tuple[State, str | None]:
    state[2] += 1e-9
    state[3:] *= (0.8, 0.8, -FLOOR_RESTITUTION)
    return state, None


_MEETINGS = (_meet_table, _meet_net, _meet_floor)


def fly(state: State, start: float, stop: float) -> Flight:
    """Lets the ball go from `state` at `start` until `stop` seconds or until it rolls."""
    starts, arcs, contacts = [], [], []
    while start < stop:
        arc = solve_ivp(
            _derivative, (start, stop), state, events=_SURFACES, dense_output=True, max_step=0.1, rtol=1e-6, atol=1e-8
        )
        starts.append(start)
        arcs.append(arc.sol)
        start = float(arc.t[-1])
        if arc.status != 1:
            break
        surface = next(i for i, times in enumerate(arc.t_events) if len(times))
        state, contact = _MEETINGS[surface](arc.y[:, -1].copy())
        if contact:
            contacts.append((start, contact))
        if 0 <= state[5] < REST_SPEED and surface != 1:
            break
    return Flight(tuple(starts), tuple(arcs), start, tuple(contacts), ())


def play(rng: np.random.Generator, duration: float) -> Flight:
    """A rally of at most `duration` seconds: strokes from either end until a fault or a miss ends it."""
    side = int(rng.choice([-1, 1]))
    point = np.array([side * (HALF_LENGTH + rng.uniform(0.1, 1.2)), rng.uniform(-0.6, 0.6), rng.uniform(0.9, 1.2)])
    time, shots, strokes = 0.0, list[Flight](), list[Stroke]()
    while True:
        strokes.append(Stroke(time, side, point))
        shot = _strike(rng, strokes[-1], duration)
        shots.append(shot)
        answer = _answer_time(rng, shot, side) if rng.uniform() < 0.9 else None
        if answer is None or answer > duration - 0.1:
            return _join(shots, strokes)
        time, side, point = answer, -side, shot.states(np.array([answer]))[0, :3]


def _strike(rng: np.random.Generator, stroke: Stroke, stop: float) -> Flight:
    """A shot with a drawn outcome; after 30 tries the last one stands, whatever becomes of it."""
    outcome = str(rng.choice(["bounce", "net", "long"], p=[0.68, 0.25, 0.07]))
    for _ in range(30):
        state = np.concatenate([stroke.point, _aim(rng, stroke, outcome)])
        if outcome == _outcome(fly(state, stroke.time, stroke.time + 0.55), stroke.side):
            break
    return fly(state, stroke.time, stop)


def _outcome(shot: Flight, side: int) -> str:
    if not shot.contacts:
        return "long"
    time, contact = shot.contacts[0]
    own_half = shot.states(np.array([time]))[0, 0] * side > 0
    return "fault" if contact == "bounce" and own_half else contact


def _aim(rng: np.random.Generator, stroke: Stroke, outcome: str) -> Float[np.ndarray, " 3"]:
    """Velocity that, drag included, brings the ball near a drawn place within a drawn time."""
    reach = {"bounce": (0.35, 1.25), "net": (0.2, 1.0), "long": (1.6, 2.3)}[outcome]
    flight_time = rng.uniform(0.18, 0.32) if outcome == "net" else rng.uniform(0.3, 0.55)
    goal = np.array([-stroke.side * rng.uniform(*reach), rng.uniform(-0.65, 0.65), TABLE_HEIGHT + RADIUS])
    velocity = (goal - stroke.point) / flight_time + [0.0, 0.0, GRAVITY * flight_time / 2]
    end = solve_ivp(_derivative, (0.0, flight_time), np.concatenate([stroke.point, velocity]), rtol=1e-3).y[:3, -1]
    return np.asarray(velocity + 1.1 * (goal - end) / flight_time)  # the correction slows down too


def _answer_time(rng: np.random.Generator, shot: Flight, side: int) -> float | None:
    """When the opponent may strike: after one good bounce, beyond the table's end, not too low and not too late."""
    if _outcome(shot, side) != "bounce":
        return None
    bounce = shot.contacts[0][0]
    last = min(shot.end, bounce + 0.3, *(time for time, _ in shot.contacts[1:2]))
    times = np.linspace(bounce + 0.06, last, 40)
    position = shot.states(times)[:, :3]
    fits = (position[:, 0] * -side > HALF_LENGTH - 0.1) & (position[:, 2] > 0.84) & (times < last)
    return float(rng.choice(times[fits])) if fits.any() else None


def _join(shots: Sequence[Flight], strokes: Sequence[Stroke]) -> Flight:
    """One flight; each shot ends where the next one begins."""
    starts, arcs, contacts = list[float](), list[OdeSolution](), list[tuple[float, str]]()
    ends = [*(stroke.time for stroke in strokes[1:]), shots[-1].end]
    for shot, end in zip(shots, ends, strict=True):
        kept = [(start, arc) for start, arc in zip(shot.starts, shot.arcs, strict=True) if start < end]
        starts += [start for start, _ in kept]
        arcs += [arc for _, arc in kept]
        contacts += [contact for contact in shot.contacts if contact[0] <= end]
    return Flight(tuple(starts), tuple(arcs), ends[-1], tuple(contacts), tuple(strokes))
