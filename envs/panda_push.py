"""Pushing: a Panda must push a puck to a hidden point of the table.

Hidden are where the puck shall go, how heavy it is and how it slides. Only the reward tells where; friction decides how
far the puck slides on when the hand stops, from 2 to 9 cm at full speed; the mass hardly matters to so strong an arm.
The action moves the hand over the table: two numbers in ±1, in units of 3 cm, as in `arm_reach`; its height is kept. A
fork in the hand takes the puck along within some 40° of straight ahead (`robots.panda_table`). The reward of a step is
−(d / 0.1 m)², d being the distance between puck and goal after it: −1 a step at 10 cm; not moving costs about 400 an
episode. It has 75 steps of 1/30 s and never ends early; it starts at rest with the puck up to 1 cm before the fork and
up to 5 mm off its middle, each joint off by up to 0.01 rad. Goals lie ahead, so that the hand never has to walk around
the puck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import ClassVar

import numpy as np

from metamotor.envs.arms import MAX_DISPLACEMENT, ArmEnv, sensed_signals
from metamotor.envs.core import (
    FLOAT32,
    Array,
    Interval,
    Parameter,
    RewardTerm,
    Signal,
    Task,
    TaskFamily,
)
from metamotor.robots.panda_table import PandaTable

DISTANCE_UNIT = 0.1
"""Distance between puck and goal at which a step costs 1 [m]."""
START_NOISE = 0.01
"""Largest offset of a joint from the pushing pose at the start [rad]."""
START_GAP = 0.01
"""Largest gap between fork and puck at the start [m]."""
START_SHIFT = 0.005
"""Farthest that the puck is sideways from the fork's middle at the start [m]."""
PUCK_UNIT = 0.1
"""Unit of where the puck is, from the start's middle and from the hand [m]."""
PUCK_SPEED_UNIT = 0.5
"""Unit of the puck's velocity [m/s]."""

_MIDDLE = (0.43, 0.0)
"""About where the puck starts [m]."""


@dataclass(frozen=True)
class PandaPushTask(Task):
    """Where the puck shall go [m], how heavy it is [kg], and its friction coefficient on the table."""

    goal_x: float
    goal_y: float
    puck_mass: float
    puck_friction: float


class PandaPushEnv(ArmEnv[PandaTable]):
    """One arm and a puck; a red ball shows the goal where frames are drawn."""

    def __init__(self, family: PandaPush, render_mode: str | None = None) -> None:
        self._goal = (0.0, 0.0)
        super().__init__(family, PandaTable, render_mode)

    def _begin(self) -> Array:
        self._goal = (self.task.goal_x, self.task.goal_y)
        self.show_goal((*self._goal, 0.0))
        home = PandaTable.PUSHING
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(home))
        gap = float(self.np_random.uniform(0.0, START_GAP))
        shift = float(self.np_random.uniform(-START_SHIFT, START_SHIFT))
        pose = (noise + home).tolist()
        (x, y, _), _ = self.robot.hand_position_and_jacobian(pose)
        self.robot.reset(pose, (x + PandaTable.SEAT + gap, y + shift))
        return self._observe(*self.robot.puck())

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        robot = self.robot
        x, y = action
        robot.push(MAX_DISPLACEMENT * x, MAX_DISPLACEMENT * y)
        robot.advance()
        robot.sense()
        puck, velocity = robot.puck()
        reward = -((dist(puck, self._goal) / DISTANCE_UNIT) ** 2)
        return self._observe(puck, velocity), reward, False

    def _observe(self, puck: tuple[float, float], velocity: tuple[float, float]) -> Array:
        numbers = self.sensed()
        numbers += [(at - middle) / PUCK_UNIT for at, middle in zip(puck, _MIDDLE, strict=True)]
        hand = self.robot.hand_position
        numbers += [(at - own) / PUCK_UNIT for at, own in zip(puck, hand, strict=False)]
        numbers += [speed / PUCK_SPEED_UNIT for speed in velocity]
        return np.array(numbers, dtype=FLOAT32)


class PandaPush(TaskFamily):
    """Push a puck to a hidden point; see the module's docstring for the protocol."""

    name = "PandaPush-v0"
    task_type = PandaPushTask
    dt = PandaTable.TIME_STEP * PandaTable.SUBSTEPS
    default_horizon = 75
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "goal_x": Interval(
            unit="m", train=(0.57, 0.73), test=(0.58, 0.72), out_of_range=((0.73, 0.75),)
        ),
        "goal_y": Interval(
            unit="m",
            train=(-0.1, 0.1),
            test=(-0.09, 0.09),
            out_of_range=((-0.12, -0.1), (0.1, 0.12)),
        ),
        "puck_mass": Interval(
            unit="kg", train=(0.1, 0.6), test=(0.12, 0.55), out_of_range=((0.6, 1.0),)
        ),
        "puck_friction": Interval(
            unit="1", train=(0.15, 0.6), test=(0.18, 0.55), out_of_range=((0.1, 0.15), (0.6, 0.8))
        ),
    }
    observation_signals = (
        *sensed_signals(PandaTable),
        *(Signal(f"puck.{axis}", f"{PUCK_UNIT} m", -1000.0, 1000.0) for axis in "xy"),
        *(Signal(f"puck.from_hand.{axis}", f"{PUCK_UNIT} m", -1000.0, 1000.0) for axis in "xy"),
        *(
            Signal(f"puck.velocity.{axis}", f"{PUCK_SPEED_UNIT} m/s", -1000.0, 1000.0)
            for axis in "xy"
        ),
    )
    action_signals = tuple(
        Signal(f"hand_displacement.{axis}", f"{MAX_DISPLACEMENT} m/period", -1.0, 1.0)
        for axis in "xy"
    )
    reward_terms = (RewardTerm("distance", f"(d / {DISTANCE_UNIT} m)²", "1", -1.0),)

    def make_env(self, *, render_mode: str | None = None) -> PandaPushEnv:
        """Return one arm and a puck."""
        return PandaPushEnv(self, render_mode)
