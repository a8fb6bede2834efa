"""Maps to people on one core, beside the loops of well-known ports, and peaks beside torch's max-pooling.

    taskset -c 2 python benchmarks/bench_pose_decode.py

Perfect maps of five people in 46 x 46 cells (19 heatmaps, 38 fields), as many as a picture of 368 x 368 pixels has at
stride 8. The loops look for peaks in the same small maps; ports enlarge these first, which takes longer than all else.
Maps of noise stand for a network early in training: the most peaks and lines that there can be.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pose_decode_loops import loop_decode, loop_limbs, loop_peaks, loop_people
from table import Results, arguments, race, results_folder
from torch.nn import functional

from projects.pose.decode.assembly import Bodies, join_limbs
from projects.pose.decode.bridges import join_across
from projects.pose.decode.decoder import Decoder
from projects.pose.decode.limbs import LimbRules, Limbs, find_limbs
from projects.pose.decode.peaks import Peaks, find_peaks, highest_around
from projects.pose.skeleton import COCO
from projects.pose.targets import TargetOptions, joint_heatmaps, limb_fields

LIMBS = COCO.limb_joints
JOINTS = len(COCO.joints)
SIDE = 46

BODY = {
    "nose": (0, -9), "neck": (0, -6), "eye": (0.7, -9.8), "ear": (1.5, -9.2), "shoulder": (3, -6), "elbow": (4.5, -2.5),
    "wrist": (5, 1), "hip": (2, 1), "knee": (2.3, 6), "ankle": (2.5, 11),
}  # fmt: skip
"""Cells from the middle of a standing person; on the left, the other side mirrored."""


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    torch.set_num_threads(1)
    results = Results("pose_decode")
    heat, paf = perfect_maps()
    rounds = 3 if options.quick else 100
    measure_whole(results, heat, paf, rounds)
    measure_parts(results, heat, paf, rounds)
    measure_noise(results, rounds=2 if options.quick else 10)
    results.finish(results_folder(options))


def perfect_maps() -> tuple[np.ndarray, np.ndarray]:
    """Five people: two beside each other, one behind them and two small ones."""
    body = np.array([_place(joint) for joint in COCO.joints])
    rng = np.random.default_rng(0)
    places = ((9, 13, 1.0), (20, 14, 1.0), (34, 16, 1.2), (12, 36, 0.7), (30, 38, 0.5))
    people = np.stack([size * (body + rng.uniform(-0.5, 0.5, body.shape)) + (x, y) for x, y, size in places])
    points, labelled = torch.from_numpy(people).float()[None], torch.ones(1, 5, JOINTS, dtype=torch.bool)
    paf = limb_fields(
        points, labelled, limbs=torch.from_numpy(LIMBS), size_hw=(SIDE, SIDE), options=TargetOptions(ends=0.5)
    )
    return joint_heatmaps(points, labelled, size_hw=(SIDE, SIDE), sigma=1.0)[0].numpy(), paf[0].numpy()


def _place(joint: str) -> tuple[float, float]:
    x, y = BODY[joint.removeprefix("right_").removeprefix("left_")]
    return (-x if joint.startswith("right_") else x), y


def measure_whole(results: Results, heat: np.ndarray, paf: np.ndarray, rounds: int) -> None:
    decoder = Decoder()
    seconds = race(
        rounds,
        ours=lambda: decoder(heat, paf, COCO),
        loops=lambda: loop_decode(heat[:JOINTS], paf, LIMBS),
    )
    counts = len(decoder(heat, paf, COCO).score), len(loop_decode(heat[:JOINTS], paf, LIMBS))
    results.add("decode", 1e3 * seconds["ours"], "ms/image", bar=5.0, loops=1e3 * seconds["loops"])
    results.add("people found, of five", counts[0], "", loops=counts[1])


def measure_parts(results: Results, heat: np.ndarray, paf: np.ndarray, rounds: int) -> None:
    maps, decoder = np.ascontiguousarray(heat[:JOINTS]), Decoder()
    rules = LimbRules(decoder.samples, decoder.paf_threshold, decoder.agreeing, decoder.longest)
    peaks = find_peaks(maps, threshold=decoder.threshold, most=decoder.most_peaks)
    limbs = find_limbs(paf, peaks, LIMBS, rules)
    looped = loop_peaks(maps, decoder.threshold)
    chosen = loop_limbs(paf, looped, LIMBS)
    tensor = torch.from_numpy(maps)[None]
    seconds = race(
        rounds,
        peaks=lambda: find_peaks(maps, threshold=decoder.threshold, most=decoder.most_peaks),
        loop_peaks=lambda: loop_peaks(maps, decoder.threshold),
        maxima=lambda: highest_around(maps),
        pooled=lambda: functional.max_pool2d(tensor, 3, stride=1, padding=1),
        limbs=lambda: find_limbs(paf, peaks, LIMBS, rules),
        loop_limbs=lambda: loop_limbs(paf, looped, LIMBS),
        assembly=lambda: _assembled(peaks, limbs),
        loop_people=lambda: loop_people(looped, chosen, LIMBS),
    )
    us = {name: 1e6 * value for name, value in seconds.items()}
    results.add("peaks, refined", us["peaks"], "us", loops=us["loop_peaks"])
    results.add("maxima of 3 x 3 cells", us["maxima"], "us", max_pool2d=us["pooled"])
    results.add("maxima of 3 x 3 cells / max_pool2d", us["maxima"] / us["pooled"], "x", bar=0.1)
    results.add("line integrals", us["limbs"], "us", loops=us["loop_limbs"])
    results.add("assembly", us["assembly"], "us", loops=us["loop_people"])


def _assembled(peaks: Peaks, limbs: Limbs) -> Bodies:
    bodies = Bodies(peaks.joints, LIMBS)
    join_limbs(bodies, limbs)
    join_across(bodies, peaks, limbs, LIMBS)
    return bodies


def measure_noise(results: Results, *, rounds: int) -> None:
    rng, decoder = np.random.default_rng(0), Decoder()
    for name, side in (("46 x 46", SIDE), ("96 x 96", 96)):
        heat, paf = (rng.random((channels, side, side), np.float32) for channels in (JOINTS, 2 * len(LIMBS)))
        seconds = race(rounds, ours=lambda heat=heat, paf=paf: decoder(heat, paf, COCO))
        results.add(f"decode of noise, {name}", 1e3 * seconds["ours"], "ms/image")


if __name__ == "__main__":
    main()
