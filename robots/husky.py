"""The Clearpath Husky: 44 kg on four driven wheels that cannot be steered, so that it skids when it turns.

`husky_model` says what it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from metamotor.robots.boxes import box_inertia
from metamotor.robots.husky_model import (
    CHASSIS_CENTRE,
    PAYLOAD,
    PAYLOAD_SIZE,
    WHEEL_PLACES,
    WHEEL_RADIUS,
    urdf,
)
from metamotor.robots.properties import Property
from metamotor.robots.simulator import Camera
from metamotor.robots.wheeled import WheeledRobot


class Husky(WheeledRobot):
    """A Husky on a plane, a box on its back."""

    WHEELS = tuple(WHEEL_PLACES)
    DRIVEN = WHEELS
    HEIGHT = WHEEL_RADIUS + CHASSIS_CENTRE[2] - WHEEL_PLACES["front_left_wheel"][2]
    MASS: ClassVar[float] = 44.003
    """Without payload [kg]."""
    MAX_SPEED: ClassVar[float] = 1.0
    """Of the wheels over the ground, from Clearpath's data sheet [m/s]."""
    MAX_TURN: ClassVar[float] = 1.0
    """Speed that turning adds on one side and takes on the other, at full command [m/s]."""
    MAX_TORQUE = 40.0
    """2.6 times what makes a wheel slip on dry ground (friction × a quarter of the weight × radius)."""
    SPEED_GAIN = 12.0
    FRICTION = 0.8

    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "payload": Property("kg", 0.0, 0.0, 75.0),
        **WheeledRobot.wheel_properties(WHEELS, DRIVEN, FRICTION),
    }
    """Payload on its back, up to what the data sheet allows; how steeply the ground rises, and to where; friction of
    the wheels, and what share of it each one has; what share of its torque every motor, and each by itself, gives."""

    TIME_STEP = 1 / 200
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.2), distance=3.0, yaw=40.0, pitch=-25.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(urdf(), gui=gui)
        self._payload = self.simulator.link(self.body, PAYLOAD)
        self.simulator.set_dynamics(self.body, self._payload, linearDamping=0.0, angularDamping=0.0)
        self._configured(self.properties)
        self.reset()

    def _configured(self, changed: Mapping[str, float]) -> None:
        super()._configured(changed)
        if "payload" in changed:
            mass = changed["payload"]
            self.simulator.set_dynamics(
                self.body,
                self._payload,
                mass=mass,
                localInertiaDiagonal=box_inertia(mass, PAYLOAD_SIZE),
            )

    def drive(self, speed: float, turn: float) -> None:
        """Let the motors drive both sides.

        Args:
            speed: forwards, as a share of `MAX_SPEED`.
            turn: to the left, as a share of `MAX_TURN`.
        """
        along, across = self.MAX_SPEED * speed, self.MAX_TURN * turn
        left, right = (along - across) / WHEEL_RADIUS, (along + across) / WHEEL_RADIUS
        self.spin((left, right, left, right))

    def excite(self, generator: np.random.Generator) -> None:
        """Drive at a random speed, turning at another."""
        self.drive(*generator.uniform(-1.0, 1.0, size=2).tolist())
