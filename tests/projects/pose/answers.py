"""A pose module that knows the answers: what it should say of the pictures of a data set."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from projects.pose.datasets import PoseSamples
from projects.pose.module import PoseModule
from projects.pose.nets.interface import PoseOutput


@dataclass
class Answers:
    """Says of each picture what is rendered from its labels; where that does not count, NaN.

    Attributes:
        module: whose `forward` this becomes.
        samples: that it knows.
        noise: deviation of what is added to the maps, by picture.
        calls: number of batches that were shown.
    """

    module: PoseModule
    samples: PoseSamples
    noise: float = 0.0
    calls: int = 0
    known: dict[bytes, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index in range(len(self.samples)):
            batch = self.samples.batch(0, [index])
            planes = batch["frame"].permute(0, 3, 1, 2).float()
            targets = self.module.targets(batch | {"ignored": planes[:, 3:]})
            draw = torch.Generator().manual_seed(index)
            self.known[_key(planes[0, :3])] = tuple(  # type: ignore[assignment] # two
                (maps + self.noise * torch.randn(maps.shape, generator=draw)).where(targets.counted, torch.nan)[0]
                for maps in (targets.heat, targets.paf)
            )
        self.module.forward = self  # type: ignore[method-assign, assignment]

    def __call__(self, images: Tensor) -> PoseOutput:
        self.calls += 1
        heat, paf = (torch.stack(maps) for maps in zip(*(self.known[_key(each)] for each in images), strict=True))
        stages = self.module.net.stages
        return PoseOutput((paf,) * len(stages.pafs), (heat,) * len(stages.heats))


def _key(image: Tensor) -> bytes:
    return image.byte().numpy().tobytes()
