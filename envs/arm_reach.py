"""Reaching: an arm must bring its hand to a hidden point.

The goal lies in a box in front of the arm and is not observed; only the reward tells where it is. The action moves the
hand: three numbers in ±1, the displacement aimed at in one control period in units of 3 cm, turned into joint targets
by damped least squares (`robots.arm`). The motors cover about 60 % of it within the period, so that 0.3 m take some
16 steps at full action (and up to 27 where an iiwa's elbow is at its greatest speed). The reward of a step is
−(d / 0.25 m)², d being the distance between hand and goal after it: a regulator's quadratic cost, −1 a step at 25 cm.
An episode has 50 steps of 1/30 s and never ends early; it starts at rest in the home pose, each joint off by up to
0.02 rad.

The box is the same for a Panda and an iiwa: both reach all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import ClassVar

import numpy as np

from metamotor.envs.arms import HAND_ACTIONS, MAX_DISPLACEMENT, ArmEnv, sensed_signals
from metamotor.envs.core import FLOAT32, Array, Interval, Parameter, RewardTerm, Task, TaskFamily
from metamotor.robots.kuka import Kuka
from metamotor.robots.panda import Panda
from metamotor.robots.physics import MUJOCO, PYBULLET
from metamotor.robots.servo_arm import ServoArm

DISTANCE_UNIT = 0.25
"""Distance between hand and goal at which a step costs 1 [m]."""


@dataclass(frozen=True)
class ReachTask(Task):
    """Where the hand must go, in the frame of the arm's base [m]."""

    goal_x: float
    goal_y: float
    goal_z: float


class ArmReachEnv(ArmEnv[ServoArm]):
    """One arm."""

    def __init__(self, family: ArmReach, render_mode: str | None = None) -> None:
        self._goal = (0.0, 0.0, 0.0)
        super().__init__(family, family.robot_type, render_mode)

    def _begin(self) -> Array:
        self._goal = (self.task.goal_x, self.task.goal_y, self.task.goal_z)
        self.show_goal(self._goal)
        self.start()
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
        return np.array(self.sensed(), dtype=FLOAT32)


class ArmReach(TaskFamily):
    """Bring the hand to a hidden point; see the module's docstring for the protocol."""

    robot_type: ClassVar[type[ServoArm]]
    engines = (PYBULLET, MUJOCO)
    task_type = ReachTask
    dt = ServoArm.TIME_STEP * ServoArm.SUBSTEPS
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
    action_signals = HAND_ACTIONS
    reward_terms = (RewardTerm("distance", f"(d / {DISTANCE_UNIT} m)²", "1", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> ArmReachEnv:
        """Return one arm."""
        return ArmReachEnv(self, render_mode)


class PandaReach(ArmReach):
    """A Franka Panda brings its hand to a hidden point."""

    name = "PandaReach-v0"
    robot_type = Panda
    observation_signals = sensed_signals(Panda)


class KukaReach(ArmReach):
    """A KUKA iiwa brings its flange to a hidden point."""

    name = "KukaReach-v0"
    robot_type = Kuka
    observation_signals = sensed_signals(Kuka)
