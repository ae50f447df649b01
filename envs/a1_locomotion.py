"""Walking: an A1 must walk in a direction that it is not told, with a load on its back that it is not told either.

The robot trots by itself (`robots.trot`); the action is five numbers in ±1 that say how: velocity forwards and to the
left, yaw rate, how high the feet are lifted, and how much weight the legs in stance are taken to carry (0 is the
robot's own). All zeros trot on the spot. The reward of a step is v − 0.5 u², v being the trunk's velocity along the
heading over the control period, and u the one across it [m/s]; standing still earns nothing and costs nothing. The
heading counts from where the robot faces at the start. An episode has 80 steps of 0.04 s. It ends, at a cost of 10,
when the robot falls: when the trunk leans by more than 53°, or its middle is lower than 0.15 m. It starts standing,
each joint off by up to 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.envs.core import Array, Interval, Parameter, Signal, Task, TaskFamily
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.a1 import A1
from metamotor.robots.physics import MUJOCO, PYBULLET
from metamotor.robots.simulator import GRAVITY

MAX_SPEED = 0.5
"""Velocity forwards or sideways that an action of 1 asks for [m/s]."""
MAX_TURN = 1.0
"""Yaw rate that an action of 1 asks for [rad/s]."""
CLEARANCE = 0.06
"""How high the feet are lifted [m]."""
CLEARANCE_CHANGE = 0.03
"""How much higher at an action of 1 [m]."""
SUPPORT = A1.MASS * GRAVITY / 2
"""Half of the robot's weight: in a trot, two feet stand [N]."""
SUPPORT_CHANGE = 30.0
"""How much more at an action of 1 [N]; a foot's share of 6.1 kg."""
CROSS_COST = 0.5
"""Cost of a step for the squared velocity across the heading [s²/m²]."""
FALL_COST = 10.0
"""What a fall costs; 20 steps at full speed."""
LOWEST = 0.15
"""Height of the trunk's centre of mass below which it has fallen [m]; 0.27 when it stands."""
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
"""Unit of the observed joint positions, from standing [rad]."""


@dataclass(frozen=True)
class A1LocomotionTask(Task):
    """Where to walk, from where it faces at the start and to the left [rad], and with what load [kg]."""

    heading: float
    payload: float


class A1LocomotionEnv(SimulatedEnv[A1]):
    """One A1."""

    def __init__(self, family: A1Locomotion, render_mode: str | None = None) -> None:
        super().__init__(family, A1, render_mode)
        self._x = self._y = 0.0
        self._along = (1.0, 0.0)

    def _begin(self) -> Array:
        robot, heading = self.robot, self.task.heading
        self._along = (cos(heading), sin(heading))
        noise = self.np_random.uniform(-START_NOISE, START_NOISE, size=len(A1.STANCE))
        robot.reset((noise + A1.STANCE).tolist(), START_LIFT)
        return self._observe()[0]

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, y = self._x, self._y
        forwards, sideways, turn, clearance, support = action
        self.robot.walk(
            forwards=MAX_SPEED * forwards,
            sideways=MAX_SPEED * sideways,
            turn=MAX_TURN * turn,
            clearance=CLEARANCE + CLEARANCE_CHANGE * clearance,
            support=SUPPORT + SUPPORT_CHANGE * support,
        )
        observation, fallen = self._observe()
        vx, vy = (self._x - x) / self.family.dt, (self._y - y) / self.family.dt
        cosine, sine = self._along
        across = cosine * vy - sine * vx
        reward = cosine * vx + sine * vy - CROSS_COST * across * across
        return observation, reward - FALL_COST if fallen else reward, fallen

    def _observe(self) -> tuple[Array, bool]:
        robot = self.robot
        trunk = robot.trunk()
        self._x, self._y, height = trunk.position
        phase = 2 * pi * robot.trot.phase
        numbers = [trunk.roll / TILT_UNIT, trunk.pitch / TILT_UNIT, trunk.yaw]
        numbers += [rate / RATE_UNIT for rate in trunk.angular_velocity]
        numbers += [speed / MAX_SPEED for speed in trunk.velocity]
        numbers += [sin(phase), cos(phase)]
        for state, standing in zip(robot.joints.read(), A1.STANCE, strict=True):
            numbers.append((state[0] - standing) / JOINT_UNIT)
        fallen = height < LOWEST or trunk.uprightness < LEAST_UPRIGHT
        return np.array(numbers, dtype=np.float32), fallen


class A1Locomotion(TaskFamily):
    """Walk in an unknown direction with an unknown load; see the module's docstring for the protocol."""

    name = "A1Locomotion-v0"
    engines = (PYBULLET, MUJOCO)
    task_type = A1LocomotionTask
    dt = A1.TIME_STEP * A1.SUBSTEPS
    default_horizon = 80
    parameters: ClassVar[Mapping[str, Parameter]] = {
        # Headings fill the circle: none is out of range.
        "heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
        "payload": Interval(
            unit="kg", train=(0.0, 5.0), test=(0.5, 4.5), out_of_range=((5.0, 7.0),)
        ),
    }
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
        *(Signal(f"{joint}.position", f"{JOINT_UNIT} rad", -100.0, 100.0) for joint in A1.JOINTS),
    )
    action_signals = (
        Signal("velocity.x", f"{MAX_SPEED} m/s", -1.0, 1.0),
        Signal("velocity.y", f"{MAX_SPEED} m/s", -1.0, 1.0),
        Signal("yaw_rate", f"{MAX_TURN:g} rad/s", -1.0, 1.0),
        Signal("clearance", f"{CLEARANCE_CHANGE} m", -1.0, 1.0),
        Signal("support", f"{SUPPORT_CHANGE:g} N", -1.0, 1.0),
    )

    def make_env(self, *, render_mode: str | None = None) -> A1LocomotionEnv:
        """Return one A1."""
        return A1LocomotionEnv(self, render_mode)
