"""The words for axes, as types that signatures use.

`batch` samples, `time` frames of a window, `height` and `width` pixels of the network's input, `rows` and `columns`
cells of its output. The shapes are checked under pytest and free in production.
"""

from jaxtyping import Float
from torch import Tensor

Windows = Float[Tensor, "batch time 3 height width"]
"""Windows of RGB frames on the device, 0..255."""

Heatmaps = Float[Tensor, "batch 1 rows columns"]
"""One logit or probability per cell."""

Offsets = Float[Tensor, "batch 2 rows columns"]
"""Sub-cell displacement (x, y) from the centre of each cell, in cells."""

Points = Float[Tensor, "batch 2"]
"""One point (x, y) per sample."""
