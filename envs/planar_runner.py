"""What the families of planar runners have in common: how one starts, what is sensed, and what moves it.

The action is a joint target for each hinge, in ±1 around the neutral stance (`robots.planar_runner`). An episode starts
at rest in the neutral stance, each joint off by up to 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metamotor.envs.core import Array, Choice, Interval, Parameter, Signal, TaskFamily
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
FALLEN_HEIGHT = 0.4
"""How far the torso may sink below where it stands before a legged runner counts as fallen [m]."""
FALLEN_PITCH = 1.0
"""How far it may turn from how it stands before a legged runner counts as fallen [rad]."""
ALIVE = 1.0
"""Reward of each step at whose end a legged runner has not fallen."""
FALL_COST = 50.0
"""What a fall costs; half of what standing earns in an episode. Without it a lunge that ends on the ground is worth
more than standing, and is what policies learn."""
WIRED: Mapping[str, str] = {"leg": "knee_gain", "foot": "ankle_gain"}
"""Which parameter of a legged runner's task says how the joints whose names begin so are wired."""

DYNAMICS: Mapping[str, Parameter] = {
    "mass_scale": Interval(
        unit="1", train=(0.5, 2.0), test=(0.6, 1.9), out_of_range=((0.35, 0.5), (2.0, 2.5))
    ),
    "inertia_scale": Interval(
        unit="1", train=(0.3, 3.4), test=(0.4, 3.2), out_of_range=((0.2, 0.3), (3.4, 4.5))
    ),
    "damping_scale": Interval(
        unit="1", train=(0.3, 3.4), test=(0.4, 3.2), out_of_range=((0.0, 0.3), (3.4, 4.5))
    ),
    "friction": Interval(
        unit="1", train=(0.4, 1.4), test=(0.5, 1.3), out_of_range=((0.25, 0.4), (1.4, 2.0))
    ),
    "motor_strength": Interval(
        unit="1", train=(0.5, 1.0), test=(0.55, 0.95), out_of_range=((0.4, 0.5), (1.0, 1.2))
    ),
}
"""What is hidden of a legged runner's body and ground."""
WIRING = Choice(unit="1", values=(-1.0, 1.0))
"""The sense of a joint; −1 is wired the wrong way round."""


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


class LeggedRunnerEnv(PlanarRunnerEnv):
    """One planar runner that is to run forwards, and may fall."""

    def _task_properties(self) -> Mapping[str, float]:
        gains = {
            f"{joint}.gain": getattr(self.task, WIRED[part])
            for joint in self.robot.JOINTS
            if (part := joint.partition("_")[0]) in WIRED
        }
        return {**super()._task_properties(), **gains}

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        observation, distance = self._run(action)
        _, height, pitch = self.robot.REST
        fallen = self._z < height - FALLEN_HEIGHT or abs(self._pitch - pitch) > FALLEN_PITCH
        velocity = distance / self.family.dt
        return observation, velocity + (-FALL_COST if fallen else ALIVE), fallen


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
