"""Picking and placing: a Panda must take a brick from the table and hold it at a hidden point.

The protocol is that of Meta-World's ML1 pick-place (Yu et al. 2019, arXiv:1910.10897), where the goal is hidden and all
else observed, with the scene of panda-gym's PandaPickAndPlace (Gallouédec et al. 2021, arXiv:2106.13687): a Panda whose
fingers hold by friction alone. Hidden are where the brick shall go, how heavy it is, how it slides, and how wide it is
between the fingers: it lies one way or the other. Only the reward tells where it shall go; a heavy and smooth brick
slips out of fingers that move fast.

The action moves the hand, three numbers in ±1 in units of 3 cm as in `arm_reach`, and the fingers: 1 closes them, −1
opens them to 8 cm, and numbers between aim at what lies between. The reward of a step is −(d / 0.1 m)² − (h / 0.1 m)²,
d being the distance between brick and goal after it and h that between brick and hand: −1 a step at 10 cm each. An
episode has 100 steps of 1/30 s and never ends early. It starts at rest, the open hand 4 cm over the brick and up to
1.5 cm aside of it, each joint off by up to 0.01 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import dist
from typing import ClassVar

import numpy as np

from metamotor.envs.arms import AXES, HAND_ACTIONS, MAX_DISPLACEMENT, ArmEnv, sensed_signals
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
from metamotor.robots.panda_gripper import PandaGripper
from metamotor.robots.simulator import Vector

DISTANCE_UNIT = 0.1
"""Distance between brick and goal, and between brick and hand, at which a step costs 1 [m]."""
START_NOISE = 0.01
"""Largest offset of a joint from the pose above the brick at the start [rad]."""
START_SHIFT = 0.015
"""Farthest that the brick is from under the hand at the start, along each axis [m]."""
BRICK_UNIT = 0.1
"""Unit of where the brick is, from the start's middle and from the hand [m]."""
BRICK_SPEED_UNIT = 0.5
"""Unit of the brick's velocity [m/s]."""
OPENING_UNIT = PandaGripper.OPENING / 2
"""Unit of the observed opening of the fingers, from half open [m]."""

_MIDDLE = (0.45, 0.0, PandaGripper.BRICK_HEIGHT / 2)
"""About where the brick starts [m]."""


@dataclass(frozen=True)
class PandaPickAndPlaceTask(Task):
    """Where the brick shall go [m], how heavy it is [kg], its friction coefficient, and its width in the hand [m]."""

    goal_x: float
    goal_y: float
    goal_z: float
    brick_mass: float
    brick_friction: float
    brick_width: float


class PandaPickAndPlaceEnv(ArmEnv[PandaGripper]):
    """One arm and a brick; a red ball shows the goal where frames are drawn."""

    def __init__(self, family: PandaPickAndPlace, render_mode: str | None = None) -> None:
        self._goal = (0.0, 0.0, 0.0)
        super().__init__(family, PandaGripper, render_mode)

    def _begin(self) -> Array:
        task = self.task
        self._goal = (task.goal_x, task.goal_y, task.goal_z)
        self.show_goal(self._goal)
        above = PandaGripper.ABOVE
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(above))
        shift_x, shift_y = self.np_random.uniform(-START_SHIFT, START_SHIFT, size=2).tolist()
        pose = (noise + above).tolist()
        (x, y, _), _ = self.robot.hand_position_and_jacobian(pose)
        self.robot.reset(pose, (x + shift_x, y + shift_y))
        return self._observe(*self.robot.brick())

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        robot = self.robot
        *way, grip = action
        robot.grip(OPENING_UNIT * (1.0 - grip))
        robot.move_hand([MAX_DISPLACEMENT * along for along in way])
        robot.advance()
        robot.sense()
        brick, velocity = robot.brick()
        reward = self._sum(
            -((dist(brick, self._goal) / DISTANCE_UNIT) ** 2),
            -((dist(brick, robot.hand_position) / DISTANCE_UNIT) ** 2),
        )
        return self._observe(brick, velocity), reward, False

    def _observe(self, brick: Vector, velocity: Vector) -> Array:
        robot = self.robot
        numbers = self.sensed()
        numbers.append(robot.opening() / OPENING_UNIT - 1.0)
        numbers += [(at - middle) / BRICK_UNIT for at, middle in zip(brick, _MIDDLE, strict=True)]
        hand = robot.hand_position
        numbers += [(at - own) / BRICK_UNIT for at, own in zip(brick, hand, strict=True)]
        numbers += [speed / BRICK_SPEED_UNIT for speed in velocity]
        return np.array(numbers, dtype=FLOAT32)


class PandaPickAndPlace(TaskFamily):
    """Take a brick to a hidden point; see the module's docstring for the protocol."""

    name = "PandaPickAndPlace-v0"
    task_type = PandaPickAndPlaceTask
    dt = PandaGripper.TIME_STEP * PandaGripper.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "goal_x": Interval(
            unit="m",
            train=(0.38, 0.62),
            test=(0.4, 0.6),
            out_of_range=((0.35, 0.38), (0.62, 0.65)),
        ),
        "goal_y": Interval(
            unit="m",
            train=(-0.2, 0.2),
            test=(-0.18, 0.18),
            out_of_range=((-0.25, -0.2), (0.2, 0.25)),
        ),
        "goal_z": Interval(
            unit="m", train=(0.1, 0.35), test=(0.12, 0.33), out_of_range=((0.35, 0.4),)
        ),
        "brick_mass": Interval(
            unit="kg", train=(0.1, 0.6), test=(0.12, 0.55), out_of_range=((0.6, 0.8),)
        ),
        "brick_friction": Interval(
            unit="1", train=(0.4, 1.0), test=(0.45, 0.95), out_of_range=((0.3, 0.4), (1.0, 1.2))
        ),
        "brick_width": Choice(unit="m", values=PandaGripper.BRICK_WIDTHS),
    }
    observation_signals = (
        *sensed_signals(PandaGripper),
        Signal("fingers.opening", f"{OPENING_UNIT} m", -10.0, 10.0),
        *(Signal(f"brick.{axis}", f"{BRICK_UNIT} m", -1000.0, 1000.0) for axis in AXES),
        *(Signal(f"brick.from_hand.{axis}", f"{BRICK_UNIT} m", -1000.0, 1000.0) for axis in AXES),
        *(
            Signal(f"brick.velocity.{axis}", f"{BRICK_SPEED_UNIT} m/s", -1000.0, 1000.0)
            for axis in AXES
        ),
    )
    action_signals = (*HAND_ACTIONS, Signal("fingers.grip", "half opening", -1.0, 1.0))
    reward_terms = (
        RewardTerm("goal", f"(d / {DISTANCE_UNIT} m)²", "1", -1.0),
        RewardTerm("hand", f"(h / {DISTANCE_UNIT} m)²", "1", -1.0),
    )

    def make_env(self, *, render_mode: str | None = None) -> PandaPickAndPlaceEnv:
        """Return one arm and a brick."""
        return PandaPickAndPlaceEnv(self, render_mode)
