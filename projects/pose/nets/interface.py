"""What every pose network returns, whatever its stages."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class PoseOutput(NamedTuple):
    """Maps of every stage at the network's stride, as they leave a convolution: squared error asks for no logits.

    Attributes:
        pafs: part affinity fields (batch, 2 x limbs, rows, columns), stage by stage; x and y of each limb in turn.
        heats: heatmaps (batch, joints + 1, rows, columns), stage by stage; the last channel is the background.
    """

    pafs: tuple[Float[Tensor, "batch fields rows columns"], ...]
    heats: tuple[Float[Tensor, "batch maps rows columns"], ...]

    @property
    def stages(self) -> dict[str, Tensor]:
        """Maps by the name of their stage: paf/1, paf/2, ..., heat/1, ..."""
        pafs = {f"paf/{number}": maps for number, maps in enumerate(self.pafs, start=1)}
        return pafs | {f"heat/{number}": maps for number, maps in enumerate(self.heats, start=1)}


def stage_names(pafs: int, heats: int) -> tuple[str, ...]:
    """Names of the stages of a network with so many."""
    return (*(f"paf/{n}" for n in range(1, pafs + 1)), *(f"heat/{n}" for n in range(1, heats + 1)))
