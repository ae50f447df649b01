"""Keeping to a lane: a Husky on ground, on wheels and with steering that it does not know.

Hidden are which way the steering works (the cables of the two sides may be swapped) and where its middle is, the
friction under the wheels of each side, which wheel is weak and what is left of its torque, and how steeply the ground
rises, and to where. The robot sees the lane: how far beside it it is and where it faces. Feedback copes with whatever
makes it veer, except with steering of the wrong sign, which drives it away.

The action is a speed and a turn in ±1, shares of 1 m/s, and of 1 m/s between the middle and each side; the turn that
reaches the wheels is sign × (turn + offset). The reward of a step is v exp(−(y / 0.5 m)²), v being the velocity along
the lane over the control period [m/s] and y the distance from its middle; standing still earns nothing but for creeping
on a slope, and turning by the offset. An episode has 100 steps of 0.04 s and never ends early. It starts at rest, up to
0.3 m beside the middle and turned by up to 0.8 rad. The protocol and its ranges are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, exp, pi, sin
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
from metamotor.robots.husky import Husky
from metamotor.robots.husky_model import WHEEL_RADIUS

LANE_UNIT = 0.5
"""Distance from the middle at which 1/e of the reward is left, and unit of the observed one [m]."""
START_DISTANCE = 0.3
"""Largest distance from the middle at the start [m]."""
START_YAW = 0.8
"""Largest angle between robot and lane at the start [rad]."""
WHEEL_UNIT = Husky.MAX_SPEED / WHEEL_RADIUS
"""Unit of the observed wheel speeds [rad/s]."""

_LEFT = (1.0, 0.0, 1.0, 0.0)
"""Which of `Husky.WHEELS` are on the left."""


@dataclass(frozen=True)
class HuskyTractionTask(Task):
    """How it is steered, and what its wheels stand on."""

    steering_sign: float
    steering_offset: float
    left_friction: float
    right_friction: float
    weak_wheel: float
    """Its place in `Husky.WHEELS`."""
    weak_strength: float
    slope: float
    slope_heading: float


class HuskyTractionEnv(SimulatedEnv[Husky]):
    """One Husky; the lane is the x axis."""

    def __init__(self, family: HuskyTraction, render_mode: str | None = None) -> None:
        super().__init__(family, Husky, render_mode)
        self._x = self._y = 0.0

    def _task_properties(self) -> Mapping[str, float]:
        task, properties = self.task, dict(super()._task_properties())
        for number, (wheel, left) in enumerate(zip(Husky.WHEELS, _LEFT, strict=True)):
            friction = task.left_friction if left else task.right_friction
            properties[f"{wheel}.friction"] = friction / Husky.FRICTION
            weak = number == task.weak_wheel
            properties[f"{wheel}.strength"] = task.weak_strength if weak else 1.0
        return properties

    def _begin(self) -> Array:
        beside, turned = self.np_random.uniform(-1.0, 1.0, size=2).tolist()
        self.robot.reset(y=START_DISTANCE * beside, yaw=START_YAW * turned)
        return self._observe()

    def _advance(self, action: Sequence[float]) -> tuple[Array, float, bool]:
        x, task = self._x, self.task
        speed, turn = action
        self.robot.drive(speed, task.steering_sign * (turn + task.steering_offset))
        self.robot.advance()
        observation = self._observe()
        beside = self._y / LANE_UNIT
        return observation, (self._x - x) / self.family.dt * exp(-beside * beside), False

    def _observe(self) -> Array:
        self._x, self._y, yaw, forwards, sideways, yaw_rate = self.robot.planar()
        numbers = [self._y / LANE_UNIT, sin(yaw), cos(yaw), forwards, sideways, yaw_rate]
        numbers += [state[1] / WHEEL_UNIT for state in self.robot.wheels.read()]
        return np.array(numbers, dtype=FLOAT32)


class HuskyTraction(TaskFamily):
    """Drive along a lane; see the module's docstring for the protocol."""

    name = "HuskyTraction-v0"
    task_type = HuskyTractionTask
    dt = Husky.TIME_STEP * Husky.SUBSTEPS
    default_horizon = 100
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "steering_sign": Choice(unit="1", values=(-1.0, 1.0)),
        "steering_offset": Interval(
            unit=f"{Husky.MAX_TURN:g} m/s",
            train=(-0.3, 0.3),
            test=(-0.25, 0.25),
            out_of_range=((-0.45, -0.3), (0.3, 0.45)),
        ),
        **{
            f"{side}_friction": Interval(
                unit="1",
                train=(0.3, 0.9),
                test=(0.35, 0.85),
                out_of_range=((0.2, 0.3), (0.9, 1.1)),
            )
            for side in ("left", "right")
        },
        "weak_wheel": Choice(unit="1", values=(0.0, 1.0, 2.0, 3.0)),
        # With a dead wheel the others cannot turn it on rough ground.
        "weak_strength": Interval(
            unit="1", train=(0.2, 0.8), test=(0.25, 0.75), out_of_range=((0.05, 0.2),)
        ),
        "slope": Interval(
            unit="rad", train=(0.0, 0.15), test=(0.0, 0.13), out_of_range=((0.15, 0.2),)
        ),
        # Headings fill the circle: none is out of range.
        "slope_heading": Interval(unit="rad", train=(-pi, pi), test=(-pi, pi)),
    }
    observation_signals = (
        Signal("lane.distance", f"{LANE_UNIT} m", -100.0, 100.0),
        Signal("lane.sin", "1", -1.0, 1.0),
        Signal("lane.cos", "1", -1.0, 1.0),
        Signal("velocity.x", "m/s", -100.0, 100.0),
        Signal("velocity.y", "m/s", -100.0, 100.0),
        Signal("yaw_rate", "rad/s", -100.0, 100.0),
        *(
            Signal(f"{wheel}.speed", f"{WHEEL_UNIT:.3g} rad/s", -100.0, 100.0)
            for wheel in Husky.WHEELS
        ),
    )
    action_signals = (
        Signal("speed", f"{Husky.MAX_SPEED:g} m/s", -1.0, 1.0),
        Signal("turn", f"{Husky.MAX_TURN:g} m/s", -1.0, 1.0),
    )
    reward_terms = (RewardTerm("progress", f"v exp(−(y / {LANE_UNIT} m)²)", "m/s"),)

    def make_env(self, *, render_mode: str | None = None) -> HuskyTractionEnv:
        """Return one Husky."""
        return HuskyTractionEnv(self, render_mode)
