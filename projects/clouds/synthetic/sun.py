"""Where the sun stands, and what that does to slopes and shadows."""

from dataclasses import dataclass
from math import asin, atan2, cos, pi, radians, sin, tan

import numpy as np

from projects.clouds.synthetic.noise import Field

PIXEL_M = 20.0  # size of a pixel in the Sentinel-2 Cloud Mask Catalogue
HOUR_ANGLE = radians(-22.5)  # Sentinel-2 crosses the equator at 10:30 mean local solar time


@dataclass(frozen=True)
class Sun:
    """Direction of the sun; north is up in a scene, east is right.

    Attributes:
        zenith: angle from straight above, radians.
        azimuth: clockwise from north, radians.
    """

    zenith: float
    azimuth: float

    @classmethod
    def at(cls, latitude: float, day: int) -> "Sun":
        """The sun as Sentinel-2 finds it at `latitude` (degrees north) on a day of the year.

        Declination by Cooper (1969), elevation and azimuth by spherical trigonometry (Iqbal 1983, chapter 1).
        """
        tilt = radians(23.45) * sin(2 * pi * (284 + day) / 365)
        place = radians(latitude)
        elevation = asin(sin(place) * sin(tilt) + cos(place) * cos(tilt) * cos(HOUR_ANGLE))
        east = -cos(tilt) * sin(HOUR_ANGLE)
        north = sin(tilt) * cos(place) - cos(tilt) * cos(HOUR_ANGLE) * sin(place)
        return cls(pi / 2 - elevation, atan2(east, north) % (2 * pi))

    @property
    def cosine(self) -> float:
        """Cosine of the zenith angle."""
        return cos(self.zenith)

    def shadow(self, height_m: float) -> tuple[int, int]:
        """Rows down and columns right from what stands at `height_m` to its shadow, in pixels.

        A cloud's shadow lies height x tan(zenith) away from the sun (Simpson, Jin and Stitt 2000).
        """
        reach = height_m * tan(self.zenith) / PIXEL_M
        return round(reach * cos(self.azimuth)), round(-reach * sin(self.azimuth))

    def slopes(self, height_m: Field) -> Field:
        """Direct light on a surface of heights in metres (periodic), relative to level ground: cos i / cos zenith."""
        down = (np.roll(height_m, -1, 0) - np.roll(height_m, 1, 0)) / (2 * PIXEL_M)
        right = (np.roll(height_m, -1, 1) - np.roll(height_m, 1, 1)) / (2 * PIXEL_M)
        towards = right * sin(self.azimuth) - down * cos(self.azimuth)
        light = (1 - towards * tan(self.zenith)) / np.sqrt(1 + down**2 + right**2)
        return np.asarray(np.maximum(light, 0))
