"""Cornering at speed: a racecar on a circle, on tyres and with steering that it does not know.

Hidden are which way the steering servo turns, by how much, and where its middle is; the friction under the front and
under the rear wheels, which limits how fast the circle can be driven and whether the car slips with its nose or with
its tail; and the strength of the motors. The car sees the circle: how far outside it it is and where it faces.
Feedback copes with much of that, except with a servo of the wrong sign, which drives it off the circle.

The action is a speed and a steering angle in ±1, shares of 5 m/s and of 0.4 rad; the angle that reaches the wheels is
sign × gain × (action + offset). The reward of a step is v exp(−(d / 0.4 m)²), v being the velocity along the circle
over the control period [m/s], to the left, and d the distance from it; standing still earns nothing. The circle has a
radius of 1.5 m. An episode has 100 steps of 0.04 s and never ends early. It starts at rest, up to 0.2 m beside the
circle and turned by up to 0.5 rad. The protocol and its ranges are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan2, cos, exp, hypot, pi, sin
from typing import ClassVar

import numpy as np

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
from metamotor.envs.simulated import SimulatedEnv
from metamotor.robots.racecar import Racecar
from metamotor.robots.racecar_model import WHEEL_RADIUS

RADIUS = 1.5
"""Of the circle [m]; at 0.21 rad of steering the wheels roll along it."""
DISTANCE_UNIT = 0.4
"""Distance from the circle at which 1/e of the reward is left, and unit of the observed one [m]."""
START_DISTANCE = 0.2
"""Largest distance from the circle at the start [m]."""
START_YAW = 0.5
"""Largest angle between car and circle at the start [rad]."""
SPEED_UNIT = 2.0
"""Unit of the observed velocities [m/s]."""
RATE_UNIT = 2.0
"""Unit of the observed yaw rate [rad/s]."""
WHEEL_UNIT = SPEED_UNIT / WHEEL_RADIUS
"""Unit of the observed wheel speeds [rad/s]."""


@dataclass(frozen=True)
class RacecarDriftTask(Task):
    """How it is steered, and how its tyres grip."""

    steering_sign: float
    steering_gain: float
    steering_offset: float
    front_friction: float
    rear_friction: float
    motor_strength: float


class RacecarDriftEnv(SimulatedEnv[Racecar]):
    """One racecar; the circle's middle is the origin."""

    def __init__(self, family: RacecarDrift, render_mode: str | None = None) -> None:
        super().__init__(family, Racecar, render_mode)
        self._x, self._y, self._distance = RADIUS, 0.0, 0.0

    def _task_properties(self) -> Mapping[str, float]:
        friction = 2 * (self.task.front_friction,) + 2 * (self.task.rear_friction,)
        of_wheels = {
            f"{wheel}.friction": own / Racecar.FRICTION
            for wheel, own in zip(Racecar.WHEELS, friction, strict=True)
        }
        return {**super()._task_properties(), **of_wheels}

    def _begin(self) -> Array:
        beside, turned = self.np_random.uniform(-1.0, 1.0, size=2).tolist()
        self.robot.reset(RADIUS + START_DISTANCE * beside, 0.0, pi / 2 + START_YAW * turned)
        return self._observe()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, y, task = self._x, self._y, self.task
        speed, steer = action
        angle = task.steering_sign * task.steering_gain * (steer + task.steering_offset)
        self.robot.drive(speed, angle)
        self.robot.advance()
        observation = self._observe()
        # The part of the way that is perpendicular to the radius at its start.
        along = (x * self._y - y * self._x) / (hypot(x, y) + 1e-9) / self.family.dt
        beside = self._distance / DISTANCE_UNIT
        return observation, along * exp(-beside * beside), False

    def _observe(self) -> Array:
        self._x, self._y, yaw, forwards, sideways, yaw_rate = self.robot.planar()
        self._distance = hypot(self._x, self._y) - RADIUS
        facing = yaw - atan2(self._y, self._x)
        numbers = [
            self._distance / DISTANCE_UNIT,
            # The circle's own direction is a quarter turn ahead.
            -cos(facing),
            sin(facing),
            forwards / SPEED_UNIT,
            sideways / SPEED_UNIT,
            yaw_rate / RATE_UNIT,
        ]
        numbers += [state[1] / WHEEL_UNIT for state in self.robot.wheels.read()]
        return np.array(numbers, dtype=FLOAT32)


class RacecarDrift(TaskFamily):
    """Drive fast along a circle; see the module's docstring for the protocol."""

    name = "RacecarDrift-v0"
    task_type = RacecarDriftTask
    dt = Racecar.TIME_STEP * Racecar.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "steering_sign": Choice(unit="1", values=(-1.0, 1.0)),
        "steering_gain": Interval(
            unit="1", train=(0.7, 1.3), test=(0.75, 1.25), out_of_range=((0.6, 0.7), (1.3, 1.5))
        ),
        "steering_offset": Interval(
            unit=f"{Racecar.MAX_STEER} rad",
            train=(-0.3, 0.3),
            test=(-0.25, 0.25),
            out_of_range=((-0.45, -0.3), (0.3, 0.45)),
        ),
        **{
            f"{end}_friction": Interval(
                unit="1",
                train=(0.3, 0.9),
                test=(0.35, 0.85),
                out_of_range=((0.2, 0.3), (0.9, 1.1)),
            )
            for end in ("front", "rear")
        },
        "motor_strength": Interval(
            unit="1", train=(0.5, 1.0), test=(0.55, 0.95), out_of_range=((0.35, 0.5), (1.0, 1.2))
        ),
    }
    observation_signals = (
        Signal("circle.distance", f"{DISTANCE_UNIT} m", -100.0, 100.0),
        Signal("circle.sin", "1", -1.0, 1.0),
        Signal("circle.cos", "1", -1.0, 1.0),
        Signal("velocity.x", f"{SPEED_UNIT:g} m/s", -100.0, 100.0),
        Signal("velocity.y", f"{SPEED_UNIT:g} m/s", -100.0, 100.0),
        Signal("yaw_rate", f"{RATE_UNIT:g} rad/s", -100.0, 100.0),
        *(
            Signal(f"{wheel}.speed", f"{WHEEL_UNIT:g} rad/s", -100.0, 100.0)
            for wheel in Racecar.WHEELS
        ),
    )
    action_signals = (
        Signal("speed", f"{Racecar.MAX_SPEED:g} m/s", -1.0, 1.0),
        Signal("steer", f"{Racecar.MAX_STEER} rad", -1.0, 1.0),
    )
    reward_terms = (RewardTerm("progress", f"v exp(−(d / {DISTANCE_UNIT} m)²)", "m/s"),)

    def make_env(self, *, render_mode: str | None = None) -> RacecarDriftEnv:
        """Return one racecar."""
        return RacecarDriftEnv(self, render_mode)
