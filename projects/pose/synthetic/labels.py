"""What an annotator would write about a picture, in COCO's terms."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from jaxtyping import Bool, Float, UInt8

from projects.pose.skeleton import COCO
from projects.pose.synthetic.body import FACE
from projects.pose.synthetic.canvas import PARTS, Canvas
from projects.pose.synthetic.figure import Figure, part_number
from projects.pose.synthetic.scene import Scene

UNLABELLED, HIDDEN, VISIBLE = 0, 1, 2
Mask = Bool[np.ndarray, "h w"]

# parts on which a joint is seen
_CARRIERS = {
    "shoulder": ("upper_arm", "trunk"), "elbow": ("upper_arm", "forearm"), "wrist": ("forearm", "hand"),
    "hip": ("thigh", "trunk", "skirt"), "knee": ("thigh", "shank", "skirt"), "ankle": ("shank", "foot"),
}  # fmt: skip
_SHARED = ("trunk", "skirt")
Point = Float[np.ndarray, " 2"]
Labels = tuple[Float[np.ndarray, "17 2"], UInt8[np.ndarray, " 17"]]
FAR_FACE = 0.5  # a part of the face turned away by more than this (a sine) is not guessed
FAR_SIDE = 0.75  # a shoulder or hip is behind the trunk where its side is turned away by more than this (a sine)
LEAST_PIXELS = 20  # of somebody; who shows less is not in the annotations
LEAST_SEEN = 0.1  # share of a body's drawn pixels; who shows less has no keypoints
LEAST_LIMB = 0.25  # share of a joint's limbs; where less is seen and somebody else hides it, nobody can say where it is
LEAST_JOINTS = 2  # visible ones; who shows fewer has no keypoints
LEAST_VERTICES, MOST_VERTICES = 9, 150  # of an outline: those with fewer are specks; of those with more, some are kept


def annotate(scene: Scene) -> list[dict[str, Any]]:
    """Annotations of all people and of the crowd, without ids."""
    whose = scene.canvas.owner // PARTS
    sight = Sight(scene.canvas)
    named = [_person(whose == one.person + 1, sight, one, labelled=True) for one in scene.people]
    named += [_person(whose == one.person + 1, sight, one, labelled=False) for one in scene.distant]
    crowd = np.isin(whose, [one.person + 1 for one in scene.crowd]) if scene.crowd else None
    if crowd is not None and (pixels := int(np.count_nonzero(crowd))) >= LEAST_PIXELS:
        places = np.argwhere(crowd)[:, ::-1].astype(float)
        corners = places.min(axis=0), places.max(axis=0) + 1
        named.append(_annotation(run_lengths(crowd), pixels, corners, crowd=1))
    return [one for one in named if one is not None]


def _person(mask: Mask, sight: "Sight", one: Figure, *, labelled: bool) -> dict[str, Any] | None:
    pixels = int(np.count_nonzero(mask))
    rings = outlines(mask)
    if pixels < LEAST_PIXELS or not rings:
        return None
    labels = sight.keypoints(one) if labelled and pixels > LEAST_SEEN * sight.drawn(one) else None
    if labels is not None and np.count_nonzero(labels[1] == VISIBLE) < LEAST_JOINTS:
        labels = None
    corners = np.concatenate(rings)
    return _annotation(polygons(rings), pixels, (corners.min(axis=0), corners.max(axis=0)), labels=labels)


def _annotation(
    segmentation: Any, pixels: int, corners: tuple[Point, Point], *, labels: Labels | None = None, crowd: int = 0
) -> dict[str, Any]:
    numbers, labelled = [0] * (3 * len(COCO.keypoints)), 0
    if labels is not None:
        points, visibility = labels
        rounded = np.round(points, 1).tolist()
        triples = [[x, y, v] if v else [0, 0, 0] for (x, y), v in zip(rounded, visibility.tolist(), strict=True)]
        numbers, labelled = [number for triple in triples for number in triple], int(np.count_nonzero(visibility))
    return {
        "segmentation": segmentation,
        "num_keypoints": labelled,
        "area": float(pixels),
        "iscrowd": crowd,
        "keypoints": numbers,
        "bbox": [*corners[0].tolist(), *(corners[1] - corners[0]).tolist()],
        "category_id": 1,
    }


class Sight:
    """What is seen in a finished drawing.

    Args:
        canvas: the drawing.
    """

    def __init__(self, canvas: Canvas) -> None:
        self._owner, self._painted = canvas.owner, canvas.painted
        self._seen: list[int] = np.bincount(canvas.owner.ravel(), minlength=max(canvas.painted, default=0) + 1).tolist()

    def drawn(self, one: Figure) -> int:
        """Pixels of somebody's parts in the picture, each part for itself."""
        return sum(count for part, count in self._painted.items() if part // PARTS == one.person + 1)

    def keypoints(self, one: Figure) -> Labels:
        """Pixels (17, 2) and visibility (17,) of somebody's keypoints, in COCO's order."""
        points = one.project(np.stack([one.body.joints[name] for name in COCO.keypoints]))
        named = zip(COCO.keypoints, points.tolist(), strict=True)
        return points, np.array([self._visibility(one, name, x, y) for name, (x, y) in named], np.uint8)

    def _visibility(self, one: Figure, name: str, x: float, y: float) -> int:
        height, width = self._owner.shape
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            return UNLABELLED
        away = _away(one, name)
        if name in FACE and away > FAR_FACE:
            return UNLABELLED
        own = {part_number(one.person, part) for part in _carriers(name)}
        around = self._owner[max(round(y) - 1, 0) : round(y) + 2, max(round(x) - 1, 0) : round(x) + 2].ravel().tolist()
        if sum(part in own for part in around) > 0.3 * len(around):
            return VISIBLE if away <= 0 else HIDDEN
        hidden_by_itself = any(part // PARTS == one.person + 1 for part in around)
        return HIDDEN if hidden_by_itself or self._share_seen(own) >= LEAST_LIMB else UNLABELLED

    def _share_seen(self, parts: set[int]) -> float:
        """Share (0..1) of some parts' drawn pixels that nothing hides."""
        drawn = sum(self._painted.get(part, 0) for part in parts)
        return sum(self._seen[part] for part in parts if part < len(self._seen)) / max(drawn, 1)


@cache
def _carriers(name: str) -> tuple[str, ...]:
    """Parts on which a joint is seen."""
    if name in FACE:
        return ("head", name) if name.endswith("ear") else ("head", "nose", "brim")
    side, _, joint = name.partition("_")
    return tuple(part if part in _SHARED else f"{side}_{part}" for part in _CARRIERS[joint])


def _away(one: Figure, name: str) -> float:
    """Above 0 where a joint is on the side of the body that is turned away: a sine, less what is seen all the same."""
    if name in FACE:
        nx, ny, nz = (place / radius for place, radius in zip(FACE[name], one.body.build.head, strict=True))
        deep = one.body.head[2].tolist()
        slack = 0.3 if name == "nose" or name.endswith("ear") else 0.0  # what sticks out is seen from behind a little
        return float(nx * deep[0] + ny * deep[1] + nz * deep[2]) / float(np.hypot(np.hypot(nx, ny), nz)) - slack
    if name.endswith(("shoulder", "hip")):
        outwards = float(one.body.trunk[2, 0]) * (1 if name.startswith("left") else -1)
        return outwards - FAR_SIDE
    return 0.0


def outlines(mask: Mask) -> list[Float[np.ndarray, "n 2"]]:
    """Rings around the parts of a mask, holes filled, specks left out; a pixel reaches from its number to the next."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    patch = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.float64)
    filled = contour_generator(z=patch, fill_type=FillType.OuterOffset).filled(0.5, 2)
    rings = [points[offsets[0] : offsets[1] - 1] for points, offsets in zip(*filled, strict=True)]
    corner = np.array([left - 0.5, top - 0.5])
    return [ring + corner for ring in rings if len(ring) >= LEAST_VERTICES]


def polygons(rings: Sequence[Float[np.ndarray, "_ 2"]]) -> list[list[float]]:
    """Rings as COCO writes them, x, y, x, y, ..., with fewer vertices."""
    return [np.round(ring[:: 1 + len(ring) // MOST_VERTICES], 1).ravel().tolist() for ring in rings]


def run_lengths(mask: Mask) -> dict[str, Any]:
    """COCO's uncompressed RLE: lengths of runs of 0 and 1 in turn, down the columns, 0 first."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8), [1 - int(mask[-1, -1])]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends]))
    return {"counts": counts.tolist(), "size": list(mask.shape)}
