"""What walking is for a quadruped that trots by itself: in a direction that it is not told.

The action is five numbers in ±1 that say how it trots (`robots.trot`): velocity forwards and to the left, yaw rate, how
high the feet are lifted, and how much weight the legs in stance are taken to carry (0 is the robot's own). All zeros
trot on the spot. With `action="residual"` it is twelve, offsets of the joint targets of a trot on the spot, and with
`action="joints"` joint targets, from standing: all zeros stand, and how to walk has to be found. What is observed and
rewarded is the same, the trot's phase among it, which is a clock for joint targets. The reward of a step is v − 0.5 u²,
v being the trunk's velocity along the heading over the control period, and u the one across it [m/s]; standing still
earns nothing and costs nothing. The heading counts from where the robot faces at the start. It ends, at a cost of 10,
when the robot falls: when the trunk leans by more than 53°, or its middle is too low. It starts standing, each joint
off by up to 0.05 rad. Where the ground is rough, each episode is on a ground of its own, unless something else is said
of `terrain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from metamotor.envs.core import FLOAT32, Array, RewardTerm, Signal, Task, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.quadruped import Quadruped
from metamotor.robots.simulator import GRAVITY

Action = Literal["trot", "residual", "joints"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What an action may be."""
MAX_SPEED = 0.5
"""Velocity forwards or sideways that an action of 1 asks for [m/s]."""
MAX_TURN = 1.0
"""Yaw rate that an action of 1 asks for [rad/s]."""
CLEARANCE = 0.06
"""How high the feet are lifted [m]."""
CLEARANCE_CHANGE = 0.03
"""How much higher at an action of 1 [m]."""
CROSS_COST = 0.5
"""Cost of a step for the squared velocity across the heading [s²/m²]."""
FALL_COST = 10.0
"""What a fall costs; 20 steps at full speed."""
LEAST_UPRIGHT = 0.6
"""Cosine of the trunk's lean beyond which it has fallen."""
START_NOISE = 0.05
"""Largest offset of a joint from standing at the start [rad]."""
START_LIFT = 0.005
"""Height from which it drops at the start, for no foot to start in the ground [m]."""
TILT_UNIT = 0.2
"""Unit of the observed roll and pitch [rad]."""
RATE_UNIT = 2.0
"""Unit of the observed angular velocities [rad/s]."""
JOINT_UNIT = 0.5
"""Unit of the observed joint positions, and of those that are asked for, from standing [rad]."""
RESIDUAL_UNIT = 0.25
"""Unit of what is added to the trot's joint targets [rad]; the action scale of Margolis et al. 2022 (arXiv:2205.02824)
about standing."""


@dataclass(frozen=True)
class QuadrupedTask(Task):
    """Where to walk, from where it faces at the start and to the left [rad]."""

    heading: float


class QuadrupedLocomotionEnv(SimulatedEnv[Quadruped]):
    """One quadruped."""

    def __init__(self, family: QuadrupedLocomotion, render_mode: str | None = None) -> None:
        super().__init__(family, family.robot_type, render_mode)
        self._x = self._y = 0.0
        self._along = (1.0, 0.0)
        # Half of the robot's weight: in a trot, two feet stand.
        self._support = family.robot_type.MASS * GRAVITY / 2
        self._support_change = family.support_change
        self._lowest = family.lowest
        self._move = {"trot": self._trot, "residual": self._trot_about, "joints": self._drive}[
            family.action
        ]
        self._draws_terrain = "terrain" not in family.randomization

    def _begin(self) -> Array:
        robot, heading = self.robot, self.task.heading
        self._along = (cos(heading), sin(heading))
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(robot.STANCE))
        if robot.properties["roughness"] and self._draws_terrain:
            robot.configure(terrain=float(self.np_random.integers(2**31)))
        robot.reset((noise + robot.STANCE).tolist(), START_LIFT)
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, y = self._x, self._y
        self._move(action)
        observation, fallen = self._observe()
        vx, vy = (self._x - x) / self.family.dt, (self._y - y) / self.family.dt
        cosine, sine = self._along
        across = cosine * vy - sine * vx
        reward = self._sum(
            cosine * vx + sine * vy,
            -CROSS_COST * across * across,
            -FALL_COST if fallen else 0.0,
        )
        return observation, reward, fallen

    def _trot(self, action: Sequence[float]) -> None:
        forwards, sideways, turn, clearance, support = action
        self.robot.walk(
            forwards=MAX_SPEED * forwards,
            sideways=MAX_SPEED * sideways,
            turn=MAX_TURN * turn,
            clearance=CLEARANCE + CLEARANCE_CHANGE * clearance,
            support=self._support + self._support_change * support,
        )

    def _trot_about(self, action: Sequence[float]) -> None:
        self.robot.walk(
            forwards=0.0,
            sideways=0.0,
            turn=0.0,
            clearance=CLEARANCE,
            support=self._support,
            offsets=[RESIDUAL_UNIT * number for number in action],
        )

    def _drive(self, action: Sequence[float]) -> None:
        standing = zip(self.robot.STANCE, action, strict=True)
        self.robot.drive([angle + JOINT_UNIT * number for angle, number in standing])

    def _observe(self) -> tuple[Array, bool]:
        robot = self.robot
        trunk = robot.trunk()
        self._x, self._y, height = trunk.position
        phase = 2 * pi * robot.trot.phase
        numbers = [trunk.roll / TILT_UNIT, trunk.pitch / TILT_UNIT, trunk.yaw]
        numbers += [rate / RATE_UNIT for rate in trunk.angular_velocity]
        numbers += [speed / MAX_SPEED for speed in trunk.velocity]
        numbers += [sin(phase), cos(phase)]
        for state, standing in zip(robot.joints.read(), robot.STANCE, strict=True):
            numbers.append((state[0] - standing) / JOINT_UNIT)
        fallen = height < self._lowest or trunk.uprightness < LEAST_UPRIGHT
        return np.array(numbers, dtype=FLOAT32), fallen


class QuadrupedLocomotion(TaskFamily):
    """Walk in an unknown direction; see the module's docstring for the protocol.

    Args:
        horizon: as for every family; see `TaskFamily`.
        reveal_task: the same.
        randomization: the same.
        physics: the same.
        action: "trot", what to tell the trot; "residual", what to add to the joint targets of a trot on the spot; or
            "joints", joint targets.

    Raises:
        ValueError: if the action is none of these, or something else is wrong with the rest.
    """

    robot_type: ClassVar[type[Quadruped]]
    support_change: ClassVar[float]
    """How much more weight at an action of 1 [N]."""
    lowest: ClassVar[float]
    """Height of the trunk's centre of mass below which it has fallen [m]."""
    dt = Quadruped.TIME_STEP * Quadruped.SUBSTEPS
    default_horizon = 80
    observation_signals = (
        Signal("trunk.roll", f"{TILT_UNIT} rad", -20.0, 20.0),
        Signal("trunk.pitch", f"{TILT_UNIT} rad", -20.0, 20.0),
        Signal("trunk.yaw", "rad", -4.0, 4.0),
        *(
            Signal(f"trunk.{axis}_rate", f"{RATE_UNIT} rad/s", -100.0, 100.0)
            for axis in ("roll", "pitch", "yaw")
        ),
        *(
            Signal(f"trunk.velocity.{axis}", f"{MAX_SPEED} m/s", -250.0, 250.0)
            for axis in ("x", "y", "z")
        ),
        Signal("gait.sin", "1", -1.0, 1.0),
        Signal("gait.cos", "1", -1.0, 1.0),
        *(
            Signal(f"{joint}.position", f"{JOINT_UNIT} rad", -100.0, 100.0)
            for joint in Quadruped.JOINTS
        ),
    )
    reward_terms = (
        RewardTerm("velocity", "v", "m/s"),
        RewardTerm("drift", "u²", "m²/s²", -CROSS_COST),
        RewardTerm("fall", "1 if it has fallen, else 0", "1", -FALL_COST),
    )

    def __init__(
        self,
        *,
        horizon: int | None = None,
        reveal_task: bool = False,
        randomization: Mapping[str, Any] | str | None = None,
        physics: str | None = None,
        action: Action = "trot",
    ) -> None:
        if action not in ACTIONS:
            known = ", ".join(ACTIONS)
            raise ValueError(f"action of {self.name} must be one of {known}, got {action!r}")
        self.action = action
        if action != "trot":
            unit = RESIDUAL_UNIT if action == "residual" else JOINT_UNIT
            what = "offset" if action == "residual" else "target"
            self.action_signals = tuple(
                Signal(f"{joint}.{what}", f"{unit} rad", -1.0, 1.0)
                for joint in self.robot_type.JOINTS
            )
        super().__init__(
            horizon=horizon,
            reveal_task=reveal_task,
            randomization=randomization,
            physics=physics,
        )

    @property
    def config(self) -> dict[str, Any]:
        """The keyword arguments that make this family again, as JSON has them."""
        usual = self.action == "trot"
        return super().config if usual else {**super().config, "action": self.action}

    @staticmethod
    def trot_signals(support_change: float) -> tuple[Signal, ...]:
        """Return the action's signals, which differ in how much weight they change [N]."""
        return (
            Signal("velocity.x", f"{MAX_SPEED} m/s", -1.0, 1.0),
            Signal("velocity.y", f"{MAX_SPEED} m/s", -1.0, 1.0),
            Signal("yaw_rate", f"{MAX_TURN:g} rad/s", -1.0, 1.0),
            Signal("clearance", f"{CLEARANCE_CHANGE} m", -1.0, 1.0),
            Signal("support", f"{support_change:g} N", -1.0, 1.0),
        )

    def make_env(self, *, render_mode: str | None = None) -> QuadrupedLocomotionEnv:
        """Return one quadruped."""
        return QuadrupedLocomotionEnv(self, render_mode)
