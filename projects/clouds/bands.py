"""The bands of Sentinel-2's imager."""

import numpy as np
from jaxtyping import Float

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
Spectrum = Float[np.ndarray, " 13"]

WAVELENGTHS: Spectrum = np.array(
    [0.443, 0.490, 0.560, 0.665, 0.705, 0.740, 0.783, 0.842, 0.865, 0.945, 1.375, 1.610, 2.190]
)
"""Centres of the bands in micrometres (Sentinel-2 User Handbook, ESA 2015)."""
