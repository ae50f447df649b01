"""What a robot stands on: a plane that may slope, and rough ground on it.

A slope is gravity in another direction: nothing is moved, and everything on the plane is told in the plane's own frame.
Rough ground is a grid of random heights, as in `random_uniform_terrain` of legged_gym (Rudin et al. 2021,
arXiv:2109.11978), which is 0.1 m from its lowest to its highest point at 0.2 m from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.properties import Property
from metamotor.robots.simulator import GRAVITY, HIGHEST_TERRAIN, TERRAIN_COUNT, Vector

SLOPE: Mapping[str, Property] = {
    "slope": Property("rad", 0.0, 0.0, 0.5),
    "slope_heading": Property("rad", 0.0, -7.0, 7.0),
}
"""How steep the plane is, and where it rises, from +x to the left."""
ROUGHNESS: Mapping[str, Property] = {
    "roughness": Property("m", 0.0, 0.0, HIGHEST_TERRAIN),
    "terrain": Property("1", 0.0, 0.0, 2.0**31),
}
"""From the lowest to the highest point of the ground, and which ground it is: each whole number has one of its own."""


def sloping(slope: float, heading: float) -> Vector:
    """Return gravity on a plane of this slope [rad] that rises towards a heading [rad], in the plane's frame [m/s²]."""
    level, steep = GRAVITY * cos(slope), GRAVITY * sin(slope)
    return -steep * cos(heading), -steep * sin(heading), -level


def heights(roughness: float, terrain: float) -> NDArray[np.float64]:
    """Return the heights of a rough ground above the plane, uniform in [0, roughness] [m]. Shape: (N, N)."""
    generator = np.random.default_rng(int(terrain))
    drawn: NDArray[np.float64] = generator.uniform(0.0, 1.0, (TERRAIN_COUNT, TERRAIN_COUNT))
    return roughness * drawn
