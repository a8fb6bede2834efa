"""Maps to people as the well-known ports of OpenPose do it in NumPy: joint by joint, pair by pair, row by row.

A table of people with a row for each, a column for each joint and two for sum of scores and count; lines between all
pairs of peaks, each rounded to the cells that it meets. They enlarge the maps to the picture's size before that; here,
kinder to them, the peaks are looked for in the maps as they are.
"""

import numpy as np

Peak = tuple[int, int, float, int]
"""x, y, value and number."""


def loop_peaks(heat: np.ndarray, threshold: float) -> list[list[Peak]]:
    """Local maxima of each joint among four neighbours."""
    every, count = list[list[Peak]](), 0
    for one in heat:
        left, right, up, down = (np.zeros_like(one) for _ in range(4))
        left[:, 1:], right[:, :-1] = one[:, :-1], one[:, 1:]
        up[1:], down[:-1] = one[:-1], one[1:]
        is_peak = np.logical_and.reduce((one >= left, one >= right, one >= up, one >= down, one > threshold))
        places = list(zip(*np.nonzero(is_peak)[::-1], strict=True))
        every.append([(int(x), int(y), float(one[y, x]), count + k) for k, (x, y) in enumerate(places)])
        count += len(places)
    return every


def loop_limbs(paf: np.ndarray, peaks: list[list[Peak]], limbs: np.ndarray) -> list[list[tuple[int, int, float]]]:
    """Numbers of the peaks at both ends and the score, of each limb."""
    every = []
    for number, (start, end) in enumerate(limbs.tolist()):
        field = paf[2 * number : 2 * number + 2].transpose(1, 2, 0)
        candidates = [
            (i, j, score, score + a[2] + b[2])
            for i, a in enumerate(peaks[start])
            for j, b in enumerate(peaks[end])
            if (score := loop_line(field, a, b)) is not None
        ]
        chosen, used_a, used_b = [], set[int](), set[int]()
        for i, j, score, _ in sorted(candidates, key=lambda one: one[2], reverse=True):
            if i not in used_a and j not in used_b:
                chosen.append((peaks[start][i][3], peaks[end][j][3], score))
                used_a.add(i)
                used_b.add(j)
        every.append(chosen)
    return every


def loop_line(field: np.ndarray, a: Peak, b: Peak, *, samples: int = 10, threshold: float = 0.05) -> float | None:
    """Mean of the field along a line, less what it is too long; None where it does not agree."""
    vector = np.subtract(b[:2], a[:2]).astype(float)
    length = max(float(np.sqrt(vector[0] ** 2 + vector[1] ** 2)), 1e-3)
    vector /= length
    places = list(zip(np.linspace(a[0], b[0], num=samples), np.linspace(a[1], b[1], num=samples), strict=True))
    x = np.array([field[round(float(y)), round(float(x)), 0] for x, y in places])
    y = np.array([field[round(float(y)), round(float(x)), 1] for x, y in places])
    along = x * vector[0] + y * vector[1]
    score = float(along.mean()) + min(0.5 * field.shape[0] / length - 1, 0)
    return score if np.count_nonzero(along > threshold) >= 0.8 * samples and score > 0 else None


def loop_people(peaks: list[list[Peak]], limbs: list[list[tuple[int, int, float]]], ends: np.ndarray) -> np.ndarray:
    """A row per person: number of the peak of each joint or -1, sum of scores, count of joints."""
    values = [peak[2] for one in peaks for peak in one]
    joints, table = len(peaks), -np.ones((0, len(peaks) + 2))
    for number, chosen in enumerate(limbs):
        start, end = ends[number].tolist()
        for a, b, score in chosen:
            rows = [row for row in range(len(table)) if table[row][start] == a or table[row][end] == b]
            if len(rows) == 2 and not ((table[rows[0]] >= 0) & (table[rows[1]] >= 0))[:-2].any():
                table[rows[0]][:-2] += table[rows[1]][:-2] + 1
                table[rows[0]][-2:] += table[rows[1]][-2:]
                table[rows[0]][-2] += score
                table = np.delete(table, rows[1], 0)
            elif rows and table[rows[0]][end] != b:
                table[rows[0]][end] = b
                table[rows[0]][-1] += 1
                table[rows[0]][-2] += values[b] + score
            elif not rows:
                row = -np.ones(joints + 2)
                row[start], row[end], row[-1], row[-2] = a, b, 2, values[a] + values[b] + score
                table = np.vstack([table, row])
    return table[(table[:, -1] >= 4) & (table[:, -2] / np.maximum(table[:, -1], 1) >= 0.4)]


def loop_decode(heat: np.ndarray, paf: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(joints, h, w) and (2 limbs, h, w) -> x, y and value of each joint of each person, 0 where not found."""
    peaks = loop_peaks(heat, 0.1)
    table = loop_people(peaks, loop_limbs(paf, peaks, limbs), limbs)
    every = [peak for one in peaks for peak in one]
    people = np.zeros((len(table), len(heat), 3))
    for row, person in enumerate(table):
        for joint, number in enumerate(person[:-2].astype(int)):
            if number >= 0:
                people[row, joint] = every[number][:3]
    return people
