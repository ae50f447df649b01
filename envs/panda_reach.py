"""Reaching: a Panda must bring its hand to a hidden point.

The goal lies in a box in front of the arm and is not observed; only the reward tells where it is. The action moves the
hand: three numbers in ±1, the displacement aimed at in one control period in units of 3 cm, turned into joint targets
by damped least squares (`robots.panda`). The motors cover about 60 % of it within the period, so that 0.3 m take some
16 steps at full action. The reward of a step is −(d / 0.25 m)², d being the distance between hand and goal after it:
a regulator's quadratic cost, −1 a step at 25 cm. An episode has 50 steps of 1/30 s and never ends early; it starts at
rest in the home pose, each joint off by up to 0.02 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import ClassVar

import numpy as np

from metamotor.envs.core import Array, Interval, Parameter, Signal, Task, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.panda import Panda

MAX_DISPLACEMENT = 0.03
"""Displacement of the hand along one axis that an action of 1 aims at in one control period [m]."""
DISTANCE_UNIT = 0.25
"""Distance between hand and goal at which a step costs 1 [m]."""
START_NOISE = 0.02
"""Largest offset of a joint from the home pose at the start [rad]."""
POSITION_UNIT = 0.3
"""Unit of the observed hand position [m], about the size of the goal box."""
VELOCITY_UNIT = 0.5
"""Unit of the observed hand velocity [m/s], about the speed at full action."""
MARKER_RADIUS = 0.02
"""Of the ball that shows the goal in frames [m]."""
MARKER_COLOR = (0.9, 0.1, 0.1, 1.0)
"""Red, green, blue and opacity."""

_AXES = ("x", "y", "z")
_HOME_X, _HOME_Y, _HOME_Z = Panda.hand_position_and_jacobian(Panda.HOME)[0]
_JOINT_SCALES = tuple(
    ((low + high) / 2, 2 / (high - low)) for low, high in zip(Panda.LOWER, Panda.UPPER, strict=True)
)
"""Middle of each joint's range [rad], and the inverse of half of it [1/rad]."""


@dataclass(frozen=True)
class PandaReachTask(Task):
    """Where the hand must go, in the frame of the arm's base [m]."""

    goal_x: float
    goal_y: float
    goal_z: float


class PandaReachEnv(SimulatedEnv[Panda]):
    """One arm; a red ball shows the goal where frames are drawn."""

    def __init__(self, family: PandaReach, render_mode: str | None = None) -> None:
        self._goal = (0.0, 0.0, 0.0)
        super().__init__(family, Panda, render_mode)

    def _build(self) -> None:
        super()._build()
        self._marker: int | None = None
        if self.render_mode is not None:
            self._marker = self.robot.simulator.add_marker(MARKER_RADIUS, MARKER_COLOR)

    def _begin(self) -> Array:
        self._goal = (self.task.goal_x, self.task.goal_y, self.task.goal_z)
        if self._marker is not None:
            self.robot.simulator.move_marker(self._marker, self._goal)
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(Panda.HOME))
        self.robot.reset((noise + Panda.HOME).tolist())
        return self._observe()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        robot = self.robot
        x, y, z = action
        robot.move_hand((MAX_DISPLACEMENT * x, MAX_DISPLACEMENT * y, MAX_DISPLACEMENT * z))
        robot.advance()
        robot.sense()
        reward = -((dist(robot.hand_position, self._goal) / DISTANCE_UNIT) ** 2)
        return self._observe(), reward, False

    def _observe(self) -> Array:
        # Scaled one by one: on so few numbers each numpy call costs more than all the arithmetic.
        robot = self.robot
        x, y, z = robot.hand_position
        vx, vy, vz = robot.hand_velocity
        numbers = [
            (x - _HOME_X) / POSITION_UNIT,
            (y - _HOME_Y) / POSITION_UNIT,
            (z - _HOME_Z) / POSITION_UNIT,
            vx / VELOCITY_UNIT,
            vy / VELOCITY_UNIT,
            vz / VELOCITY_UNIT,
        ]
        for position, (middle, scale) in zip(robot.joint_positions, _JOINT_SCALES, strict=True):
            numbers.append((position - middle) * scale)
        return np.array(numbers, dtype=np.float32)


class PandaReach(TaskFamily):
    """Bring the hand to a hidden point; see the module's docstring for the protocol."""

    name = "PandaReach-v0"
    task_type = PandaReachTask
    dt = Panda.TIME_STEP * Panda.SUBSTEPS
    default_horizon = 50
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "goal_x": Interval(
            unit="m", train=(0.3, 0.65), test=(0.32, 0.63), out_of_range=((0.25, 0.3), (0.65, 0.7))
        ),
        "goal_y": Interval(
            unit="m",
            train=(-0.3, 0.3),
            test=(-0.28, 0.28),
            out_of_range=((-0.36, -0.3), (0.3, 0.36)),
        ),
        "goal_z": Interval(
            unit="m", train=(0.15, 0.65), test=(0.17, 0.63), out_of_range=((0.1, 0.15), (0.65, 0.7))
        ),
    }
    observation_signals = (
        *(Signal(f"hand_position.{axis}", f"{POSITION_UNIT} m", -10.0, 10.0) for axis in _AXES),
        *(Signal(f"hand_velocity.{axis}", f"{VELOCITY_UNIT} m/s", -50.0, 50.0) for axis in _AXES),
        *(Signal(f"{joint}.position", "half range", -2.0, 2.0) for joint in Panda.JOINTS),
    )
    action_signals = tuple(
        Signal(f"hand_displacement.{axis}", f"{MAX_DISPLACEMENT} m/period", -1.0, 1.0)
        for axis in _AXES
    )

    def make_env(self, *, render_mode: str | None = None) -> PandaReachEnv:
        """Return one arm."""
        return PandaReachEnv(self, render_mode)
