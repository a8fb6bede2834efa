"""A small network, and pictures of fish, which have five keypoints of their own: it learns to find them in seconds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from projects.pose.nets.fronts import PatchFront
from projects.pose.nets.pose_net import PoseNet
from projects.pose.nets.stages import Cascade
from tests.projects.pose.scenes import FIVE

FRONT = {"stem": 16, "width": 16, "depth": 1, "activation": "relu"}
STAGES = {"paf_stages": 1, "heat_stages": 2, "blocks": 1, "widths": (16, 16), "hidden": (16, 16), "norm": True,
          "activation": "relu"}  # fmt: skip
SIZE_HW = (70, 100)
KEYPOINTS = ("tail", "left_fin", "mouth", "right_fin", "crest")
SHAPE = ((0, 16), (12, 2), (0, -12), (-12, 2), (0, -24))
"""Of a fish that swims upwards, belly to us: its left fin is to the right."""
COLOURS = ((230, 40, 40), (40, 90, 230), (40, 220, 60), (40, 90, 230), (240, 220, 40))


def small_net(paf_channels: int, heat_channels: int) -> PoseNet:
    """Stages paf/1, heat/1 and heat/2 at stride 8; sides of its input are multiples of 16."""
    return PoseNet(
        paf_channels,
        heat_channels,
        front=lambda channels: PatchFront(channels, **FRONT),  # type: ignore[arg-type]
        stages=lambda *channels: Cascade(*channels, **STAGES),  # type: ignore[arg-type]
    )


def _flag(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {"class_path": f"projects.pose.nets.{path}", "init_args": plain}


NET = (
    "--model.net", "projects.pose.nets.pose_net.PoseNet", "--model.net.init_args",
    json.dumps({"front": _flag("fronts.PatchFront", FRONT), "stages": _flag("stages.Cascade", STAGES)}),
)  # fmt: skip
"""The same network for the command line."""


def write_fish(root: Path, counts: Mapping[str, int]) -> Path:
    """Pictures of one or two fish each by split, in COCO's layout; writes their skeleton too, and returns its path.

    Joints are seldom not labelled, and the fins never are.
    """
    (root / "annotations").mkdir(parents=True)
    for split, count in counts.items():
        (root / f"{split}2024").mkdir()
        random = np.random.default_rng(len(split))
        fish = [_picture(root / f"{split}2024" / f"{number:03}.png", random) for number in range(1, count + 1)]
        (root / "annotations" / f"person_keypoints_{split}2024.json").write_text(json.dumps(_coco(fish)))
    (root / "fish.yaml").write_text(FIVE)
    return root / "fish.yaml"


def _picture(path: Path, random: np.random.Generator) -> list[np.ndarray]:
    """Draws a picture; x, y and visibility of the keypoints of each fish in it."""
    image = Image.fromarray(random.integers(0, 60, (*SIZE_HW, 3), dtype=np.uint8))
    draw, found = ImageDraw.Draw(image), []
    for middle in (25, 75) if random.random() < 0.5 else (50,):
        angle, scale = random.uniform(-0.4, 0.4), random.uniform(0.8, 1.1)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = np.array(SHAPE) @ turn.T + (middle + random.uniform(-6, 6), 38 + random.uniform(-4, 4))
        for (x, y), colour in zip(points, COLOURS, strict=True):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        seen = np.where([random.random() < 0.1, False, False, False, False], 0, 2)
        found.append(np.column_stack([points.round(1) * (seen > 0)[:, None], seen]))
    image.save(path)
    return found


def _coco(fish: list[list[np.ndarray]]) -> dict[str, Any]:
    pairs = [(image, keypoints) for image, found in enumerate(fish, start=1) for keypoints in found]
    return {
        "images": [
            {"id": number, "file_name": f"{number:03}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]}
            for number in range(1, len(fish) + 1)
        ],
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": 3, "iscrowd": 0, "area": 1100.0,
                "bbox": [*keypoints[:, :2].min(axis=0).tolist(), 30, 40],
                "keypoints": keypoints.ravel().tolist(), "num_keypoints": int((keypoints[:, 2] > 0).sum()),
            }
            for number, (image, keypoints) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": 3, "name": "fish", "keypoints": list(KEYPOINTS)}],
    }  # fmt: skip
