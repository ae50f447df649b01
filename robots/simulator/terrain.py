"""Rough ground: a field of heights that lies on the plane, and is changed without loading anything again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.simulator.engine import pybullet

TERRAIN_COUNT = 41
"""Points along each edge of the field."""
TERRAIN_SPACING = 0.2
"""From a point to the next one [m]; the field is 8 m long and wide, about the origin."""
HIGHEST_TERRAIN = 0.2
"""Above the plane, of any point [m]."""
_AWAY = -1000.0
"""Where the field is while there is none [m]."""


class Terrain:
    """The field of one client; while it is away, the engine gives the bits that it gives without.

    Args:
        client: the physics client's number.
    """

    def __init__(self, client: int) -> None:
        self._client = client
        # The engine keeps the bounds of the first heights for good.
        first = np.zeros((TERRAIN_COUNT, TERRAIN_COUNT))
        first[0, 0] = HIGHEST_TERRAIN
        self._shape = self._field(first)
        self._body: int = pybullet.createMultiBody(0.0, self._shape, physicsClientId=client)
        pybullet.changeDynamics(self._body, -1, lateralFriction=1.0, physicsClientId=client)
        self.take_away()

    def lay(self, heights: NDArray[np.float64]) -> None:
        """Put the field on the plane, each point this high above it [m], along y and then x. Shape: (N, N)."""
        self._field(heights, replaceHeightfieldIndex=self._shape)
        # The engine has the field's middle in the middle between its bounds.
        self._move(HIGHEST_TERRAIN / 2)

    def take_away(self) -> None:
        """Leave the plane alone."""
        self._move(_AWAY)

    def _field(self, heights: NDArray[np.float64], **options: int) -> int:
        shape: int = pybullet.createCollisionShape(
            pybullet.GEOM_HEIGHTFIELD,
            meshScale=(TERRAIN_SPACING, TERRAIN_SPACING, 1.0),
            heightfieldData=heights.ravel().tolist(),
            numHeightfieldRows=TERRAIN_COUNT,
            numHeightfieldColumns=TERRAIN_COUNT,
            physicsClientId=self._client,
            **options,
        )
        return shape

    def _move(self, height: float) -> None:
        pybullet.resetBasePositionAndOrientation(
            self._body, (0.0, 0.0, height), (0.0, 0.0, 0.0, 1.0), self._client
        )
