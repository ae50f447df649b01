"""What the families of the ant have in common: how it starts, what it senses, and what moves it.

The action is a joint target for each hinge, in ±1 around the neutral stance (`robots.ant`). An episode starts at rest
in the neutral stance, facing +x, each joint off by up to 0.05 rad.
"""

from __future__ import annotations

import numpy as np

from metamotor.envs.core import FLOAT32, Array, Signal, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.ant import Ant

START_NOISE = 0.05
"""Largest offset of a joint from the neutral stance at the start [rad]."""
START_LIFT = 0.01
"""Height from which it drops at the start, for no foot to start in the ground [m]."""
HEIGHT_UNIT = 0.1
"""Unit of the observed torso height, from that in the neutral stance [m]."""
TILT_UNIT = 0.3
"""Unit of the observed roll and pitch [rad]."""
RATE_UNIT = 3.0
"""Unit of the observed angular velocities [rad/s]."""
SPEED_UNIT = 10.0
"""Unit of the observed joint velocities [rad/s]."""


class AntEnv(SimulatedEnv[Ant]):
    """One ant."""

    def __init__(self, family: TaskFamily, render_mode: str | None = None) -> None:
        self._x = self._y = 0.0
        super().__init__(family, Ant, render_mode)

    def _begin(self) -> Array:
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(Ant.NEUTRAL))
        self.robot.reset((noise + Ant.NEUTRAL).tolist(), START_LIFT)
        return self._observe()

    def _observe(self) -> Array:
        return np.array(self._sense(), dtype=FLOAT32)

    def _sense(self) -> list[float]:
        """Return the numbers of `OBSERVATION_SIGNALS`."""
        robot = self.robot
        trunk = robot.trunk()
        self._x, self._y, height = trunk.position
        numbers = [(height - Ant.HEIGHT) / HEIGHT_UNIT]
        numbers += [trunk.roll / TILT_UNIT, trunk.pitch / TILT_UNIT, trunk.yaw]
        numbers += trunk.velocity
        numbers += [rate / RATE_UNIT for rate in trunk.angular_velocity]
        joints = robot.joints.read()
        for state, neutral, reach in zip(joints, Ant.NEUTRAL, Ant.REACH, strict=True):
            numbers.append((state[0] - neutral) / reach)
        numbers += [state[1] / SPEED_UNIT for state in joints]
        return numbers


OBSERVATION_SIGNALS = (
    Signal("torso.height", f"{HEIGHT_UNIT} m", -1000.0, 1000.0),
    Signal("torso.roll", f"{TILT_UNIT} rad", -20.0, 20.0),
    Signal("torso.pitch", f"{TILT_UNIT} rad", -20.0, 20.0),
    Signal("torso.yaw", "rad", -4.0, 4.0),
    *(Signal(f"torso.velocity.{axis}", "m/s", -100.0, 100.0) for axis in ("x", "y", "z")),
    *(
        Signal(f"torso.{axis}_rate", f"{RATE_UNIT} rad/s", -100.0, 100.0)
        for axis in ("roll", "pitch", "yaw")
    ),
    *(Signal(f"{joint}.position", "reach", -100.0, 100.0) for joint in Ant.JOINTS),
    *(Signal(f"{joint}.velocity", f"{SPEED_UNIT} rad/s", -100.0, 100.0) for joint in Ant.JOINTS),
)
"""What an ant senses, velocities in the torso's frame."""
ACTION_SIGNALS = tuple(Signal(f"{joint}.target", "reach", -1.0, 1.0) for joint in Ant.JOINTS)
"""What moves it."""
DT = Ant.TIME_STEP * Ant.SUBSTEPS
"""Control period [s]."""
