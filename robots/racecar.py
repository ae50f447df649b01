"""A racecar of 5.9 kg, a tenth of a real one's size: the front wheels steer, the rear ones drive.

`racecar_model` says what it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import atan2, cos, sin
from typing import ClassVar

import numpy as np

from metamotor.robots.properties import Property
from metamotor.robots.racecar_model import (
    CHASSIS_Z,
    HINGE_Y,
    WHEEL_RADIUS,
    WHEELBASE,
    urdf,
)
from metamotor.robots.simulator import Camera
from metamotor.robots.wheeled import WheeledRobot


class Racecar(WheeledRobot):
    """A racecar on a plane."""

    WHEELS = tuple(
        f"{side}_{end}_wheel_joint" for end in ("front", "rear") for side in ("left", "right")
    )
    DRIVEN = WHEELS[2:]
    HINGES: ClassVar[tuple[str, ...]] = (
        "left_steering_hinge_joint",
        "right_steering_hinge_joint",
    )
    """Joints of the steering."""
    HEIGHT = WHEEL_RADIUS + CHASSIS_Z
    MASS: ClassVar[float] = 5.8922
    """[kg]."""
    MAX_SPEED: ClassVar[float] = 5.0
    """Of the driven wheels over the ground, at full command [m/s]."""
    MAX_STEER: ClassVar[float] = 0.4
    """Steering angle at full command [rad]."""
    SERVO_GAIN: ClassVar[float] = 0.2
    """Share of its error that the steering removes in a physics step."""
    SERVO_TORQUE: ClassVar[float] = 1.5
    """Greatest torque at a hinge [N·m], of a usual servo."""
    MAX_TORQUE = 1.0
    """1.4 times what makes a wheel slip on dry ground."""
    SPEED_GAIN = 0.05
    FRICTION = 0.8

    PROPERTIES: ClassVar[Mapping[str, Property]] = WheeledRobot.wheel_properties(
        WHEELS, DRIVEN, FRICTION
    )
    """How steeply the ground rises, and to where; friction of the wheels, and what share of it each one has; what share
    of its torque every motor, and each by itself, gives."""

    TIME_STEP = 1 / 200
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.05), distance=1.6, yaw=40.0, pitch=-30.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(urdf(), gui=gui)
        self._hinges = self.simulator.joints(self.body, self.HINGES)
        self._hinges.use_position_motors(
            gains=[self.SERVO_GAIN] * 2, max_forces=[self.SERVO_TORQUE] * 2
        )
        self._configured(self.properties)
        self.reset()

    def reset(self, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> None:
        """Put it at rest on the ground, its wheels straight and braked; see `WheeledRobot.reset`."""
        super().reset(x, y, yaw)
        self._hinges.command((0.0, 0.0))

    def drive(self, speed: float, steer: float) -> None:
        """Let the motors turn the rear wheels, and the servo the front ones.

        The front wheels are turned so that all axes meet in one point (Ackermann).

        Args:
            speed: forwards, as a share of `MAX_SPEED`.
            steer: to the left, as a share of `MAX_STEER`.
        """
        angle = self.MAX_STEER * steer
        ahead, aside = WHEELBASE * sin(angle), WHEELBASE * cos(angle)
        inner = HINGE_Y * sin(angle)
        self._hinges.command((atan2(ahead, aside - inner), atan2(ahead, aside + inner)))
        rate = self.MAX_SPEED * speed / WHEEL_RADIUS
        self.spin((rate, rate))

    def excite(self, generator: np.random.Generator) -> None:
        """Drive at a random speed, steering at another angle."""
        self.drive(*generator.uniform(-1.0, 1.0, size=2).tolist())
