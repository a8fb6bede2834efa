"""What every band of Sentinel-2 sees of ground, air and cloud."""

import numpy as np
from jaxtyping import Float

from projects.clouds.bands import WAVELENGTHS, Spectrum

COARSE = ("B1", "B9", "B10")  # delivered in pixels of 60 m

# Reflectance of the ground. Rounded from the shapes of the USGS Spectral Library (Kokaly et al. 2017) and, for snow,
# Warren (1982): red edge of leaves at B5, water dark beyond B4, minerals that rise to B11, snow black in B11 and B12.
_LIBRARY = {
    "water": "40 35 28 13 8 5 5 4 3 2 0 0 0",
    "turbid": "60 75 100 80 62 32 30 22 18 8 1 1 1",
    "conifer": "20 23 38 25 55 140 170 190 200 200 130 90 42",
    "broadleaf": "22 26 58 32 90 270 345 370 385 370 270 175 75",
    "meadow": "32 40 75 52 115 280 350 370 385 370 300 225 115",
    "crop": "26 34 68 36 100 340 450 480 495 480 340 210 88",
    "maize": "26 32 62 40 95 250 320 345 355 345 260 195 90",
    "straw": "62 85 130 178 215 255 285 310 330 335 360 385 265",
    "soil": "45 56 80 108 124 136 150 163 174 182 225 265 222",
    "chalk": "135 170 225 285 310 325 342 360 375 385 430 460 410",
    "rock": "88 104 132 156 166 175 184 192 198 204 228 250 238",
    "sand": "135 185 280 380 410 428 446 465 478 486 545 580 545",
    "dune": "190 240 330 410 435 450 465 480 490 497 545 575 545",
    "beach": "215 260 330 385 405 418 430 442 450 455 480 500 460",
    "salt": "420 470 530 568 578 584 588 590 588 575 500 420 250",
    "asphalt": "76 86 102 115 124 132 140 148 153 158 175 190 178",
    "tiles": "58 68 90 165 195 212 230 248 260 270 310 338 325",
    "roof": "500 560 605 625 630 632 628 622 615 600 540 500 430",
    "plastic": "350 395 435 450 460 495 508 515 515 500 440 395 320",
    "snow": "900 900 890 875 860 840 820 795 770 700 350 100 70",
    "firn": "640 645 635 605 575 545 515 485 455 390 150 50 38",
}
COVERS = tuple(_LIBRARY)
LIBRARY: Float[np.ndarray, "covers 13"] = np.array(
    [[int(value) / 1000 for value in row.split()] for row in _LIBRARY.values()], dtype=np.float32
)

# Scattered light that cloud keeps in the short-wave infrared: droplets and, more, ice absorb there (Hansen and Pollack
# 1970; Nakajima and King 1990). Cloud stays bright in B11 where snow, of far coarser grains, is black.
WATER_CLOUD: Spectrum = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0.99, 0.95, 0.90, 0.72])
ICE_CLOUD: Spectrum = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 0.98, 0.85, 0.60, 0.42])

# Vertical optical depth of the water vapour above the sea, for 2 cm: B9 lies in the band at 0.94, B10 in that at 1.38
# micrometres, where the ground cannot be seen and high cirrus can (Gao, Goetz and Wiscombe 1993).
VAPOUR: Spectrum = np.array([0, 0, 0, 0.002, 0.012, 0.012, 0.006, 0.02, 0.003, 0.5, 6.0, 0.01, 0.02])
VAPOUR_SCALE_M, AIR_SCALE_M, AEROSOL_SCALE_M = 2000.0, 8000.0, 1500.0

# Optical depth of the air: Rayleigh scattering (Hansen and Travis 1974, formula 2.30)
RAYLEIGH: Spectrum = 0.008569 * WAVELENGTHS**-4 * (1 + 0.0113 * WAVELENGTHS**-2 + 0.00013 * WAVELENGTHS**-4)
