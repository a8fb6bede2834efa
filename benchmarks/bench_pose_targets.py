"""Pose targets: heatmaps and part affinity fields of a batch, rendered on one core, beside a loop.

    taskset -c 3 python benchmarks/bench_pose_targets.py

16 samples of 5 people with all 18 joints, anywhere on 46 x 46 cells. The loop (`pose_loops.py`) is what OpenPose's
followers have in their data loaders: NumPy, one person and one joint or limb at a time. Both give the same values. It
takes the first sample; the last rows are of a batch in which the 5 people lie among 15 rows of padding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pose_loops import loop_fields, loop_heatmaps
from table import Results, arguments, race, results_folder

from projects.pose.skeleton import COCO
from projects.pose.targets import TargetOptions, joint_heatmaps, limb_fields

SIZE_HW, SAMPLES, PEOPLE, PADDED = (46, 46), 16, 5, 20
LIMBS = torch.from_numpy(COCO.limb_joints)
DRAWN = [TargetOptions(), TargetOptions(shape="hard"), TargetOptions(ends=1.0), TargetOptions(shape="hard", ends=1.0)]

Scene = tuple[torch.Tensor, torch.Tensor]


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    torch.set_num_threads(1)
    results = Results("pose_targets")
    rounds = 2 if options.quick else 20
    scene, padded = random_scene(), random_scene(PADDED)
    measure_heatmaps(results, scene, padded, rounds)
    for drawn in DRAWN:
        measure_fields(results, scene, padded, drawn, rounds)
    results.finish(results_folder(options))


def random_scene(rows: int = PEOPLE) -> Scene:
    """Joints and whether they are labelled; rows beyond the people are padding."""
    random = torch.Generator().manual_seed(0)
    points = torch.zeros(SAMPLES, rows, len(COCO.joints), 2)
    points[:, :PEOPLE] = torch.rand(SAMPLES, PEOPLE, len(COCO.joints), 2, generator=random) * (SIZE_HW[0] - 1)
    return points, (torch.arange(rows) < PEOPLE)[None, :, None].expand(points.shape[:3])


def measure_heatmaps(results: Results, scene: Scene, padded: Scene, rounds: int) -> None:
    def render(some: Scene) -> torch.Tensor:
        return joint_heatmaps(*some, size_hw=SIZE_HW, sigma=1.0)

    def loop() -> np.ndarray:
        return loop_heatmaps(*first(scene), size_hw=SIZE_HW, sigma=1.0)

    seconds = race(rounds, ours=lambda: render(scene), padded=lambda: render(padded), loop=loop)
    add(results, "heatmaps", seconds, float(np.abs(render(scene)[0].numpy() - loop()).max()))


def measure_fields(results: Results, scene: Scene, padded: Scene, drawn: TargetOptions, rounds: int) -> None:
    def render(some: Scene) -> torch.Tensor:
        return limb_fields(*some, limbs=LIMBS, size_hw=SIZE_HW, options=drawn)

    def loop() -> np.ndarray:
        looks = {"width": drawn.width, "shape": drawn.shape, "ends": drawn.ends}
        return loop_fields(*first(scene), limbs=COCO.limb_joints, size_hw=SIZE_HW, **looks)

    seconds = race(rounds, ours=lambda: render(scene), padded=lambda: render(padded), loop=loop)
    name = f"fields, {drawn.shape}" + (", Gaussian ends" if drawn.ends else "")
    add(results, name, seconds, float(np.abs(render(scene)[0].numpy() - loop()).max()))


def first(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return scene[0][0].numpy(), scene[1][0].numpy()


def add(results: Results, name: str, seconds: dict[str, float], apart: float) -> None:
    ours, padded = (1e6 * seconds[case] / SAMPLES for case in ("ours", "padded"))
    loop = 1e6 * seconds["loop"]
    results.add(name, ours, "us/sample", numpy_loop=loop)
    results.add(f"{name}: numpy loop / ours", loop / ours, "x", bar=8, least=True)
    results.add(f"{name}: largest difference", apart, "", bar=1e-5)
    results.add(f"{name}, {PADDED - PEOPLE} rows of padding", padded, "us/sample", without=ours)


if __name__ == "__main__":
    main()
