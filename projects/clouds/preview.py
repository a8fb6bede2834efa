"""A scene for the eyes: red, green and blue, stretched, and no larger than a screen."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from common.data.scenes import Scene
from common.data.tiles import Box
from projects.clouds.scenes import strips

_RED_GREEN_BLUE = ("B4", "B3", "B2")
_LIMITS_PX = 512  # of the reduced scene that the limits are found on
_SHARES = (1.0, 99.0)  # percentiles that become black and white
_GAMMA = 0.8


class Preview:
    """Draws parts of one scene, all with the same limits.

    Args:
        scene: any; without bands called B4, B3 and B2, its first three are taken, or its first one as grey.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.channels = _channels(scene.bands)
        reduced = self._reduced(Box(0, scene.size_hw[0], 0, scene.size_hw[1]), _LIMITS_PX)
        seen = reduced[np.isfinite(reduced).all(axis=2)]
        low, high = np.percentile(seen, _SHARES).tolist() if len(seen) else (0.0, 1.0)
        self.low, self.high = float(low), float(high)

    def draw(self, box: Box, *, most_px: int = 2048) -> UInt8[np.ndarray, "height width 3"]:
        """A part as RGB, at most `most_px` on its longer side; missing pixels are black.

        It is reduced by leaving rows and columns out, so that a large scene costs no more memory than a strip of it.
        """
        values = (self._reduced(box, most_px) - self.low) / max(self.high - self.low, 1e-12)
        return np.asarray(np.rint(255 * np.nan_to_num(values).clip(0, 1) ** _GAMMA).astype(np.uint8))

    def _reduced(self, box: Box, most_px: int) -> Float[np.ndarray, "height width 3"]:
        return sample(self.scene, box, most_px)[list(self.channels)].transpose(1, 2, 0)


def sample(scene: Scene, box: Box, most_px: int) -> Float[np.ndarray, "bands height width"]:
    """Every n-th row and column of a part, none of its sides longer than `most_px`; NaN where missing."""
    step = reduction(box, most_px)
    parts = strips(box, max(512 // step, 1) * step)
    return np.concatenate([scene.read_float(part)[:, ::step, ::step] for part in parts], axis=1)


def reduction(box: Box, most_px: int) -> int:
    """Every how-manieth row and column is shown so that none of the sides is longer than `most_px`."""
    return -(-max(box.bottom - box.top, box.right - box.left) // most_px)


def _channels(bands: Sequence[str]) -> tuple[int, int, int]:
    if set(_RED_GREEN_BLUE) <= set(bands):
        red, green, blue = (list(bands).index(name) for name in _RED_GREEN_BLUE)
        return red, green, blue
    return (0, 1, 2) if len(bands) >= 3 else (0, 0, 0)
