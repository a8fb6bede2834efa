"""Arithmetic of a training step around the network: targets and augmentation, both on the device.

    python benchmarks/bench_targets.py

Targets stand beside the loop over samples that many code bases run in their data loaders; both give the same values.
On a CPU that loop, which draws a patch of a few cells, is the faster for small batches. But it knows nothing of
augmentation on the device; so the bar is that rendering there costs next to nothing beside the network.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from ball import default_config, default_module
from jaxtyping import Float32
from table import Results, arguments, race, results_folder
from torch import Tensor

from common.data.augment import WindowAugment
from projects.ball.augment import mask_ball
from projects.ball.data import BallData
from projects.ball.module import BallModule
from projects.ball.targets import REACH, BallTargets, ball_targets

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(args: Sequence[str] | None = None) -> None:
    options = arguments(__doc__).parse_args(args)
    results = Results("targets")
    module = default_module().to(DEVICE)
    rounds = 2 if options.quick else 20
    for batch_size in (8,) if options.quick else (8, 64):
        batch = random_batch(batch_size, module.size_hw, len(module.offsets))
        measure_targets(results, module, batch, rounds)
    settings = default_config()["data"]
    batch = random_batch(settings["batch_size"], module.size_hw, len(module.offsets))
    measure_step(results, module, batch, radius=settings["ball_radius"], rounds=rounds)
    results.finish(results_folder(options))


def random_batch(size: int, size_hw: tuple[int, int], time: int) -> dict[str, Tensor]:
    """Windows with a ball somewhere in nine of ten."""
    random = torch.Generator().manual_seed(0)
    height, width = size_hw
    batch = {
        "frames": 255 * torch.rand(size, time, 3, height, width, generator=random),
        "window_xy": torch.rand(size, time, 2, generator=random) * torch.tensor([width - 1, height - 1]),
        "window_visible": (torch.arange(size) % 10 != 9)[:, None].expand(size, time).clone(),
        "window_labelled": torch.ones(size, time, dtype=torch.bool),
        "anchor": torch.full((size,), time // 2),
        "index": torch.arange(size),
        "seed": torch.arange(size),
    }
    return {name: value.to(DEVICE) for name, value in batch.items()}


def measure_targets(results: Results, module: BallModule, batch: dict[str, Tensor], rounds: int) -> None:
    size, (height, width) = len(batch["index"]), batch["frames"].shape[-2:]
    stride, sigma = module.stride, module.sigma / module.stride
    rows = torch.arange(size), batch["anchor"].cpu()
    points, visible = batch["window_xy"].cpu()[rows].numpy(), batch["window_visible"].cpu()[rows].numpy()
    cells_hw = height // stride, width // stride

    def loop() -> list[tuple[np.ndarray, ...]]:
        return [
            draw_sample(point, seen, size_hw=cells_hw, stride=stride, sigma=sigma)
            for point, seen in zip(points, visible.tolist(), strict=True)
        ]

    def render() -> BallTargets:
        targets = ball_targets(batch, stride=stride, sigma=sigma)
        _wait()
        return targets

    heatmap, offset, mask = (np.stack(part) for part in zip(*loop(), strict=True))
    ours = [part.cpu().numpy() for part in render()[:3]]
    drawn = heatmap > 0
    worst = max(np.abs(ours[0] - heatmap)[drawn].max(), np.abs(ours[1] - offset).max(), float((ours[2] != mask).sum()))
    seconds = race(rounds, ours=lambda: [render() for _ in range(5)], loop=lambda: [loop() for _ in range(5)])
    per_sample = {name: 1e6 * value / 5 / size for name, value in seconds.items()}
    case = f"batch {size} of {width} x {height}"
    results.add(f"targets, {case}", per_sample["ours"], "us/sample", numpy_loop=per_sample["loop"])
    results.add(f"targets / numpy loop, {case}", seconds["ours"] / seconds["loop"], "x")
    results.add(f"largest difference, {case}", float(worst), "", bar=1e-5)
    results.add(f"beyond the loop's cut, {case}", float(ours[0][~drawn].max()), "", bar=math.exp(-4.5))


def draw_sample(
    point_xy: Float32[np.ndarray, " 2"], visible: bool, *, size_hw: tuple[int, int], stride: int, sigma: float
) -> tuple[np.ndarray, ...]:
    """Heatmap, offset and mask of one sample as CenterNet draws them: a Gaussian patch, cut at 3 sigma."""
    heatmap, offset = np.zeros((1, *size_hw), np.float32), np.zeros((2, *size_hw), np.float32)
    mask = np.zeros((1, *size_hw), bool)
    if not visible:
        return heatmap, offset, mask
    cell_xy = (point_xy + np.float32(0.5)) / stride - np.float32(0.5)
    x, y = np.minimum(np.floor(cell_xy + np.float32(0.5)).astype(int), (size_hw[1] - 1, size_hw[0] - 1))
    radius = int(3 * sigma)
    steps = np.arange(-radius, radius + 1)
    bell = np.exp(-(steps**2 + steps[:, None] ** 2) / (2 * sigma**2))
    left, right = min(x, radius), min(size_hw[1] - x, radius + 1)
    top, bottom = min(y, radius), min(size_hw[0] - y, radius + 1)
    patch = heatmap[0, y - top : y + bottom, x - left : x + right]
    np.maximum(patch, bell[radius - top : radius + bottom, radius - left : radius + right], out=patch)
    for row in range(max(y - 2, 0), min(y + 3, size_hw[0])):
        for column in range(max(x - 2, 0), min(x + 3, size_hw[1])):
            if max(abs(cell_xy[0] - column), abs(cell_xy[1] - row)) <= REACH:
                offset[:, row, column] = cell_xy - (column, row)
                mask[0, row, column] = True
    return heatmap, offset, mask


def measure_step(results: Results, module: BallModule, batch: dict[str, Tensor], *, radius: float, rounds: int) -> None:
    """A training step's parts, as data module and module call them, at the default probabilities."""
    probability = BallData().mask_ball
    augment = WindowAugment()
    labels = batch["window_xy"], batch["window_visible"]

    def paint() -> None:
        mask_ball(batch["frames"], *labels, batch["window_labelled"], batch["seed"],
                  probability=probability, radius=radius)  # fmt: skip
        _wait()

    def change() -> None:
        augment(batch["frames"], *labels, batch["seed"])
        _wait()

    def render() -> None:
        module.targets(batch)
        _wait()

    def train() -> None:
        loss = module.losses(module(batch["frames"]), module.targets(batch))["loss"]
        torch.autograd.backward(loss)
        module.zero_grad()
        _wait()

    seconds = race(max(rounds // 2, 2), paint=paint, change=change, render=render, train=train)
    ms = {name: 1000 * value / len(batch["index"]) for name, value in seconds.items()}
    results.add("forward and backward", ms["train"], "ms/sample")
    results.add("augmentation", ms["change"], "ms/sample")
    results.add("mask-ball", ms["paint"], "ms/sample")
    share = (seconds["change"] + seconds["paint"]) / seconds["train"]
    results.add("augmentation and mask-ball / forward and backward", share, "x", bar=0.3)
    results.add("targets / forward and backward", seconds["render"] / seconds["train"], "x", bar=0.02)


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
