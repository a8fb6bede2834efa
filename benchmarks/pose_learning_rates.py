"""Which learning rates a full OpenPose network stands: loss, gradient norm and activity of its stages, step by step.

    python benchmarks/pose_learning_rates.py [--steps 60] [--rates 1e-4 3e-4 1e-3 2e-3 3e-3] [--start he paper]

The network is that of the paper (VGG-19 front, branches of six stages, no batch norm) on synthetic people at a size
that a CPU bears. `--start paper` draws its weights as the paper does, normally with a standard deviation of .01.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from projects.pose import synthetic
from projects.pose.data import PoseData
from projects.pose.losses import kind_of
from projects.pose.module import PoseModule
from projects.pose.nets.pose_net import PoseNet
from projects.pose.nets.stages import TwoBranch
from projects.pose.nets.vgg import Vgg19Front
from projects.pose.scores.stage_scores import StageScores

SIZE_HW, BATCH, PICTURES = (64, 96), 4, 64

Trained = tuple[list[float], list[float], dict[str, float]]


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    data = _data(options.store)
    print(f"{'start':6} {'rate':>7} {'loss':>9} {'steps':>8} {'gradient norm: first, median, last':>36}   activity")
    for start in options.start:
        for rate in options.rates:
            print(f"{start:6} {rate:7.0e} {_said(*_trained(data, start, rate, options.steps))}", flush=True)


def _data(store: Path) -> PoseData:
    root = store / "people"
    synthetic.write_dataset(root, images={"train": PICTURES, "val": 1, "test": 1}, progress=False)
    data = PoseData(root=str(root), size_hw=SIZE_HW, batch_size=BATCH, cache=0)
    data.setup("fit")
    return data


def _trained(data: PoseData, start: str, rate: float, steps: int) -> Trained:
    """Losses and gradient norms up to the first that is not finite, and each stage's activity at the end."""
    torch.manual_seed(0)
    module = PoseModule(net=_net, optimizer=torch.optim.Adam, size_hw=SIZE_HW)
    if start == "paper":
        module.net.apply(_drawn_as_in_the_paper)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    samples, losses, norms = data.datasets["train"], list[float](), list[float]()
    batches = [_batch(samples.batch(0, list(range(first, first + BATCH)))) for first in range(0, PICTURES, BATCH)]
    for frames in data.some_frames(4):
        module.standardizer.partial_fit(frames, channel_dim=-1)
    for step in range(steps):
        batch = batches[step % len(batches)]
        loss = module.losses(module(batch["image"]), module.targets(batch))["loss"]
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), math.inf)
        losses.append(float(loss.detach()))
        norms.append(float(norm))
        if not math.isfinite(losses[-1]) or not math.isfinite(norms[-1]):
            break
        optimizer.step()
    return losses, norms, _activity(module, batches[0])


def _net(paf_channels: int, heat_channels: int) -> PoseNet:
    return PoseNet(paf_channels, heat_channels, front=Vgg19Front, stages=TwoBranch)


def _drawn_as_in_the_paper(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)


def _batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    planes = batch["frame"].permute(0, 3, 1, 2).contiguous().float()
    return batch | {"image": planes[:, :3], "ignored": planes[:, 3:]}


@torch.no_grad()
def _activity(module: PoseModule, batch: dict[str, Tensor]) -> dict[str, float]:
    output, targets = module(batch["image"]), module.targets(batch)
    found = {}
    for stage, maps in output.stages.items():
        scores = StageScores(kind_of(stage))
        scores.update(maps, targets.paf if kind_of(stage) == "paf" else targets.heat, targets.counted)
        found[stage] = float(scores.compute()["activity"])
    return found


def _said(losses: list[float], norms: list[float], activity: dict[str, float]) -> str:
    middle = sorted(norms)[len(norms) // 2]
    told = " ".join(f"{stage} {value:.2g}" for stage, value in activity.items())
    return f"{losses[-1]:9.3g} {len(losses):8} {norms[0]:12.3g} {middle:11.3g} {norms[-1]:11.3g}   {told}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3, 2e-3, 3e-3])
    parser.add_argument("--start", choices=["he", "paper"], nargs="+", default=["he"])
    parser.add_argument("--store", type=Path, default=Path("data") / "pose_learning_rates")
    return parser.parse_args()


if __name__ == "__main__":
    main()
