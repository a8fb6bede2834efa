"""Overlay: the picture of a scene with its clouds outlined."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

_TINT, _MISSING, _HATCH = np.array((255, 50, 50)), (165, 165, 170), (95, 95, 100)
_STRENGTH = 0.2  # of the tint: what lies below it stays to be seen


def overlay_image(
    rgb: UInt8[np.ndarray, "height width 3"],
    cloud: Bool[np.ndarray, "height width"],
    missing: Bool[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of the picture with clouds tinted and outlined in red, and grey hatching where there is no data.

    Lines are 1 px wide in pictures of up to 1500 px, 2 px in larger ones.
    """
    image = rgb.copy()
    width = max(round(max(cloud.shape) / 1000), 1)
    inner = ndimage.binary_erosion(cloud, iterations=width, border_value=1)  # no line along the picture's border
    image[cloud] = np.rint(image[cloud] * (1 - _STRENGTH) + _TINT * _STRENGTH)
    image[cloud & ~inner] = _TINT
    y, x = np.ogrid[: cloud.shape[0], : cloud.shape[1]]
    hatched = (x + y) // (2 * width) % 4 == 0
    image[missing], image[missing & hatched] = _MISSING, _HATCH
    return image
