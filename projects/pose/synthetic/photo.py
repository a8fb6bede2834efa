"""What a camera makes of a drawing."""

from io import BytesIO

import numpy as np
from jaxtyping import Float
from PIL import Image

from projects.pose.synthetic.canvas import Planes
from projects.pose.synthetic.noise import random_noise


def take(rng: np.random.Generator, planes: Planes) -> bytes:
    """A picture of RGB planes, 0..255, as a JPEG file; the planes are used up."""
    if rng.random() < 0.6:
        _blur(planes, float(rng.uniform(0, 0.28)))
    _expose(rng, planes)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in planes.astype(np.uint8)])
    file = BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()


def _expose(rng: np.random.Generator, planes: Planes) -> None:
    """Light, contrast, colour cast and noise."""
    gain: Float[np.ndarray, " 3"] = float(rng.uniform(0.8, 1.3)) * rng.normal(1, 0.04, 3)
    contrast, grain = float(rng.uniform(0.75, 1.15)), float(rng.uniform(0, 7) * rng.random())
    noise = grain * random_noise(rng, (planes.shape[1], planes.shape[2]), [0.0])
    planes *= (contrast * gain).astype(np.float32)[:, None, None]
    planes += (110 * (1 - contrast) * gain).astype(np.float32)[:, None, None] + noise
    np.clip(planes, 0, 255, out=planes)


def _blur(planes: Planes, share: float) -> None:
    """Gives a share of each pixel to either neighbour, along the rows and down the columns."""
    for plane in planes:
        for view in (plane, plane.T):
            change = np.diff(view, axis=0)
            change *= share
            view[:-1] += change
            view[1:] -= change
