"""What the families of planar runners have in common: how one starts, what is sensed, and what moves it.

The action is a joint target for each hinge, in ±1 around the neutral stance (`robots.planar_runner`). An episode starts
at rest in the neutral stance, each joint off by up to 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metamotor.envs.core import Array, Signal, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.planar_runner import PlanarRunner

START_NOISE = 0.05
"""Largest offset of a joint from the neutral stance at the start [rad]."""
START_HEIGHT = 0.02
"""Height above the stance from which it drops at the start, for no foot to start in the ground [m]."""
SPEED_UNIT = 10.0
"""Unit of the observed joint velocities [rad/s]."""
HEIGHT_UNIT = 0.1
"""Unit of the observed torso height [m], about its bobbing when running."""


class PlanarRunnerEnv(SimulatedEnv[PlanarRunner]):
    """One planar runner."""

    def __init__(
        self, family: TaskFamily, robot_type: type[PlanarRunner], render_mode: str | None = None
    ) -> None:
        super().__init__(family, robot_type, render_mode)
        joints = len(robot_type.JOINTS)
        self._offset = np.array(
            [robot_type.REST[1], *4 * (0.0,), *robot_type.NEUTRAL, *joints * (0.0,)]
        )
        self._scale = 1.0 / np.array(
            [HEIGHT_UNIT, 0.5, 1.0, 1.0, 5.0, *robot_type.REACH, *joints * (SPEED_UNIT,)]
        )
        self._x = self._z = self._pitch = 0.0

    def _begin(self) -> Array:
        robot = self.robot
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(robot.JOINTS))
        x, z, pitch = robot.REST
        robot.reset([x, z + START_HEIGHT, pitch, *(noise + robot.NEUTRAL).tolist()])
        return self._observe()

    def _run(self, action: Sequence[float]) -> tuple[Array, float]:
        """Let one control period pass; return the observation, and how far forwards it came [m]."""
        start = self._x
        self.robot.pose(action)
        self.robot.advance()
        observation = self._observe()
        return observation, self._x - start

    def _observe(self) -> Array:
        x, z, pitch, *hinges = self.robot.read()
        self._x, self._z, self._pitch = x[0], z[0], pitch[0]
        numbers = [z[0], pitch[0], x[1], z[1], pitch[1]]
        numbers += [state[0] for state in hinges]
        numbers += [state[1] for state in hinges]
        observation: Array = ((np.array(numbers) - self._offset) * self._scale).astype(np.float32)
        return observation


def observation_signals(robot: type[PlanarRunner]) -> tuple[Signal, ...]:
    """Return what is sensed of a runner."""
    return (
        Signal("torso.height", f"{HEIGHT_UNIT} m", -100.0, 100.0),
        Signal("torso.pitch", "0.5 rad", -1000.0, 1000.0),
        Signal("torso.velocity.x", "m/s", -100.0, 100.0),
        Signal("torso.velocity.z", "m/s", -100.0, 100.0),
        Signal("torso.pitch_rate", "5 rad/s", -100.0, 100.0),
        *(Signal(f"{joint}.position", "reach", -100.0, 100.0) for joint in robot.JOINTS),
        *(
            Signal(f"{joint}.velocity", f"{SPEED_UNIT} rad/s", -100.0, 100.0)
            for joint in robot.JOINTS
        ),
    )


def action_signals(robot: type[PlanarRunner]) -> tuple[Signal, ...]:
    """Return what moves a runner."""
    return tuple(Signal(f"{joint}.target", "reach", -1.0, 1.0) for joint in robot.JOINTS)


def period(robot: type[PlanarRunner]) -> float:
    """Return a runner's control period [s]."""
    return robot.TIME_STEP * robot.SUBSTEPS
