"""Random fields with the spectra of clouds and of terrain, made in the frequency domain."""

import numpy as np
import scipy.fft
from jaxtyping import Float

Field = Float[np.ndarray, "h w"]


def fractal(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    *,
    slope: float,
    largest: float,
    stretch: tuple[float, float] = (1.0, 0.0),
) -> Field:
    """Gaussian noise with mean 0, variance 1 and a power density that falls with the wavenumber to the power `slope`.

    It is periodic: what leaves the field on one side enters it on the other.

    Args:
        rng: what is drawn from.
        size_hw: size of the field; sides without large prime factors are made fastest.
        slope: 8/3 for the brightness of clouds (k^-5/3 along a line: Davis et al. 1997), 3 to 4 for terrain, 0 white.
        largest: scale in pixels above which the spectrum is flat.
        stretch: how many times longer structures are along an axis than across it, where `largest` counts; and the
            angle from the rows to that axis in radians.

    Returns:
        float32.
    """
    spectrum = scipy.fft.rfft2(rng.standard_normal(size_hw, dtype=np.float32))
    factor, angle = stretch
    down = np.fft.fftfreq(size_hw[0]).astype(np.float32)[:, None]
    right = np.fft.rfftfreq(size_hw[1]).astype(np.float32)[None]
    along = float(np.cos(angle)) * right + float(np.sin(angle)) * down
    across = float(np.cos(angle)) * down - float(np.sin(angle)) * right
    square = (along * factor) ** 2 + across**2 + 1 / largest**2
    spectrum *= square ** (-slope / 4)
    spectrum[0, 0] = 0
    field = scipy.fft.irfft2(spectrum, s=size_hw, overwrite_x=True)
    field /= max(float(field.std()), 1e-12)
    return np.asarray(field)


def rise(field: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between (the cubic smoothstep)."""
    part = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))


def level(field: Field, share: float) -> float:
    """The value above which `share` (0..1) of the field lies."""
    sample = field[::3, ::3]  # a ninth is exact enough, and fast
    return float(np.quantile(sample, 1 - share))
