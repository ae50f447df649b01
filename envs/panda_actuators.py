"""Reaching with faults: a Panda must bring its hand to a point that it sees, with commands that go astray.

Somebody has mounted the camera, or the base, otherwise than the controller believes: commands for the hand are turned
about the vertical by a hidden angle, and in half of the tasks mirrored besides, left for right. And one of the joints
that move the hand most (1, 2, 4 or 6) takes only a hidden share of every step that it is sent; at zero it is locked.
Directions that may be any are what no feedback makes up for: a single policy moves the hand up and down, and knows
nothing of the plane. Faulty actuators are what the adaptation of Nagabandi et al. 2019 (arXiv:1803.11347) was shown on.

The goal is drawn for every episode, in the box of `arm_reach`, and observed, as the way from the hand to it. The action
moves the hand, as there: three numbers in ±1, in units of 3 cm. A command (x, y, z) moves it by (x', y', z) with
(x', y') the vector (x, m y) turned by the yaw, m = −1 if mirrored. The reward of a step is −(d / 0.25 m)², d being the
distance between hand and goal after it; not moving costs about 50 an episode. An episode has 50 steps of 1/30 s and
never ends early; it starts at rest in the home pose, each joint off by up to 0.02 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, dist, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.arm_reach import DISTANCE_UNIT
from metamotor.envs.arms import (
    AXES,
    HAND_ACTIONS,
    MAX_DISPLACEMENT,
    POSITION_UNIT,
    ArmEnv,
    sensed_signals,
)
from metamotor.envs.core import (
    FLOAT32,
    Array,
    Choice,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    Task,
    TaskFamily,
)
from metamotor.robots.panda import Panda

GOALS = ((0.3, 0.65), (-0.3, 0.3), (0.15, 0.65))
"""Where goals are drawn, along x, y and z [m]."""
FAULTY = (1, 2, 4, 6)
"""Numbers of the joints of which one has the fault."""


@dataclass(frozen=True)
class PandaActuatorsTask(Task):
    """What is wrong."""

    yaw: float
    """How far commands are turned about the vertical [rad]."""
    mirror: float
    """-1 if left and right are exchanged, else 1."""
    faulty_joint: float
    """Number of the joint that has the fault."""
    response: float
    """What share of a step it takes."""


class PandaActuatorsEnv(ArmEnv[Panda]):
    """One arm; a red ball shows the goal where frames are drawn."""

    def __init__(self, family: PandaActuators, render_mode: str | None = None) -> None:
        self._goal = (0.0, 0.0, 0.0)
        self._along = self._across = (0.0, 0.0)
        super().__init__(family, Panda, render_mode)

    def _task_properties(self) -> Mapping[str, float]:
        faulty = Panda.JOINTS[round(self.task.faulty_joint) - 1]
        return {
            f"{joint}.response": self.task.response if joint == faulty else 1.0
            for joint in Panda.JOINTS[:-1]
        }

    def _begin(self) -> Array:
        task = self.task
        cosine, sine = MAX_DISPLACEMENT * cos(task.yaw), MAX_DISPLACEMENT * sin(task.yaw)
        self._along = (cosine, sine)
        self._across = (-sine * task.mirror, cosine * task.mirror)
        self.start()
        x, y, z = (float(self.np_random.uniform(low, high)) for low, high in GOALS)
        self._goal = (x, y, z)
        self.show_goal(self._goal)
        return self._observe()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        robot = self.robot
        x, y, z = action
        (along_x, along_y), (across_x, across_y) = self._along, self._across
        robot.move_hand(
            (along_x * x + across_x * y, along_y * x + across_y * y, MAX_DISPLACEMENT * z)
        )
        robot.advance()
        robot.sense()
        reward = -((dist(robot.hand_position, self._goal) / DISTANCE_UNIT) ** 2)
        return self._observe(), reward, False

    def _observe(self) -> Array:
        numbers = self.sensed()
        for hand, goal in zip(self.robot.hand_position, self._goal, strict=True):
            numbers.append((goal - hand) / POSITION_UNIT)
        return np.array(numbers, dtype=FLOAT32)


class PandaActuators(TaskFamily):
    """Reach a known point with unknown faults; see the module's docstring for the protocol."""

    name = "PandaActuators-v0"
    task_type = PandaActuatorsTask
    dt = Panda.TIME_STEP * Panda.SUBSTEPS
    default_horizon = 50
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Angles fill the circle: none is out of range.
        "yaw": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "mirror": Choice(unit="1", values=(-1.0, 1.0)),
        "faulty_joint": Choice(unit="1", values=tuple(map(float, FAULTY))),
        "response": Interval(
            unit="1", train=(0.1, 0.8), test=(0.15, 0.75), out_of_range=((0.0, 0.1),)
        ),
    }
    observation_signals = (
        *sensed_signals(Panda),
        *(Signal(f"way_to_goal.{axis}", f"{POSITION_UNIT} m", -20.0, 20.0) for axis in AXES),
    )
    action_signals = HAND_ACTIONS
    reward_terms = (RewardTerm("distance", f"(d / {DISTANCE_UNIT} m)²", "1", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> PandaActuatorsEnv:
        """Return one arm."""
        return PandaActuatorsEnv(self, render_mode)
