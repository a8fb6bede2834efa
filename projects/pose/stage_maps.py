"""What every stage of a network says of one picture, beside what it should say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8

from common.figures import fit_hw, overlay_heat, panel, resize
from projects.pose.data import PoseData
from projects.pose.losses import Kind, kind_of
from projects.pose.module import PoseModule
from projects.pose.panels import overlay_field
from projects.pose.review import some_pictures
from projects.pose.skeleton import Skeleton

ALL = {"heat": "All joints\nhighest of all heatmaps", "paf": "All limbs\nlongest of all fields"}


class StageMaps(NamedTuple):
    """The maps of one kind.

    Attributes:
        frame: RGB.
        captions: of each of the maps: the target first, then each stage with its loss on this picture.
        maps: heatmaps without the background, or part affinity fields, x and y of each limb.
    """

    frame: UInt8[np.ndarray, "height width 3"]
    captions: list[str]
    maps: list[Float[np.ndarray, "channels rows columns"]]


def stage_maps(module: PoseModule, data: PoseData, split: str, index: int) -> dict[Kind, StageMaps]:
    """Shows the network a picture.

    Args:
        module: is put in inference mode.
        data: after `setup`.
        split: "train", "val" or "test".
        index: of the picture in its split.
    """
    module.eval()
    batch = some_pictures(module, data, split, [index])
    with torch.inference_mode():
        output, targets = module(batch["image"]), module.targets(batch)
        losses = module.losses(output, targets)
    frame = batch["image"][0].permute(1, 2, 0).clamp(0, 255).round().byte().cpu().numpy()
    found: dict[Kind, StageMaps] = {
        "paf": StageMaps(frame, ["target"], [_array(targets.paf)]),
        "heat": StageMaps(frame, ["target"], [_array(targets.heat[:, :-1])]),
    }
    for stage, maps in output.stages.items():
        kind = kind_of(stage)
        found[kind].captions.append(f"{stage}   loss {losses[f'loss/{stage}']:.3g}")
        found[kind].maps.append(_array(maps if kind == "paf" else maps[:, :-1]))
    return found


def shown_limbs(data: PoseData, split: str, index: int, *, count: int = 3) -> list[int]:
    """Some limbs that are labelled in a picture, spread evenly; of all limbs where none is."""
    samples: Any = data.datasets[split]
    ends = samples.visibility[index][:, data.skeleton.limb_joints] > 0
    labelled = np.flatnonzero(ends.all(axis=2).any(axis=0))
    limbs: Int64[np.ndarray, " limbs"] = labelled if len(labelled) else np.arange(len(data.skeleton.limbs))
    return limbs[np.unique(np.linspace(0, len(limbs) - 1, count).astype(int))].tolist()


def draw_stages(
    path: Path,
    stages: StageMaps,
    kind: Kind,
    *,
    skeleton: Skeleton,
    limbs: Sequence[int],
    cell_hw: tuple[int, int] = (240, 320),
) -> None:
    """Writes a row per stage as PNG: all joints or limbs together, then some by themselves.

    Args:
        path: file to write.
        stages: of this kind.
        kind: "heat" for heatmaps, "paf" for part affinity fields.
        skeleton: of the maps.
        limbs: numbers of the limbs that are shown; of heatmaps, their outer joints.
        cell_hw: greatest (height, width) of a map.
    """
    ends = [skeleton.limbs[limb] for limb in limbs]
    titles = [_words(joint) + f"\nfrom {_words(root).lower()}" * (kind == "paf") for root, joint in ends]
    frame = resize(stages.frame, fit_hw(stages.frame.shape[:2], cell_hw))
    lay = _lay_fields if kind == "paf" else _lay_heatmaps
    chosen = limbs if kind == "paf" else [skeleton.joints.index(joint) for _, joint in ends]
    panel(
        [lay(frame, maps, chosen) for maps in stages.maps],
        column_titles=[ALL[kind], *titles],
        row_captions=stages.captions,
        path=path,
        cell_hw=cell_hw,
    )


def _lay_heatmaps(frame: np.ndarray, maps: np.ndarray, joints: Sequence[int]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    return [overlay_heat(frame, heat) for heat in (maps.max(axis=0), *maps[list(joints)])]


def _lay_fields(frame: np.ndarray, maps: np.ndarray, limbs: Sequence[int]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    fields = maps.reshape(-1, 2, *maps.shape[1:])
    longest = np.hypot(fields[:, 0], fields[:, 1]).argmax(axis=0)[None, None]
    every = np.take_along_axis(fields, longest, axis=0)[0]
    return [overlay_field(frame, field) for field in (every, *fields[list(limbs)])]


def _array(maps: torch.Tensor) -> Float[np.ndarray, "channels rows columns"]:
    return maps[0].float().cpu().numpy()


def _words(joint: str) -> str:
    return joint.replace("_", " ").capitalize()
