"""What robots on wheels have in common: a plane that may slope, a pose in it, and wheels that turn as fast as told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import atan2, cos, sin
from typing import ClassVar, NamedTuple

from metamotor.robots.ground import SLOPE, sloping
from metamotor.robots.motors import PDMotors
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import BaseState, Camera, data_path

MOST_STRENGTH = 1.4
"""Greatest share of its torque that a motor can be given: gains grow with it, and dampers act a physics step late. A
Husky keeps to a lane as well as at 1 up to this one; at 2 it earns 28 of 45."""


class PlanarState(NamedTuple):
    """Where a robot on the ground is, and how it moves."""

    x: float
    """Of its centre of mass [m]."""
    y: float
    """[m]."""
    yaw: float
    """To the left, in (−π, π] [rad]."""
    forwards: float
    """Velocity along where it faces [m/s]."""
    sideways: float
    """Velocity to its left [m/s]."""
    yaw_rate: float
    """To the left [rad/s]."""


class WheeledRobot(Robot):
    """A robot on four wheels, facing +x; subclasses say how it is driven.

    The ground is a plane that may slope (see `ground`); everything on it is told in its own frame.
    """

    WHEELS: ClassVar[tuple[str, ...]]
    """Joints of the wheels: front left, front right, rear left, rear right. They turn forwards about their axes."""
    DRIVEN: ClassVar[tuple[str, ...]]
    """Those of them with a motor."""
    HEIGHT: ClassVar[float]
    """Of the chassis' centre of mass when it stands [m]."""
    MAX_TORQUE: ClassVar[float]
    """Greatest torque of each motor [N·m]."""
    SPEED_GAIN: ClassVar[float]
    """Torque of a motor for the wheel's speed error [N·m·s/rad]."""
    FRICTION: ClassVar[float]
    """Friction coefficient between wheels and ground."""

    @staticmethod
    def wheel_properties(
        wheels: Sequence[str], driven: Sequence[str], friction: float
    ) -> dict[str, Property]:
        """Return the properties that every wheeled robot has, for a subclass's `PROPERTIES`.

        Args:
            wheels: `WHEELS`.
            driven: `DRIVEN`.
            friction: `FRICTION`.
        """
        return {
            **SLOPE,
            "friction": Property("1", friction),
            **{f"{wheel}.friction": Property("1", 1.0) for wheel in wheels},
            "motor_strength": Property("1", 1.0, 0.0, MOST_STRENGTH),
            **{f"{wheel}.strength": Property("1", 1.0, 0.0, MOST_STRENGTH) for wheel in driven},
        }

    def __init__(self, urdf: str, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(urdf, own_inertia=True)
        self._base = simulator.body(self.body)
        self.joints = simulator.joints(self.body)
        for link in (-1, *self.joints.links):
            simulator.set_dynamics(
                self.body,
                link,
                lateralFriction=self.FRICTION,
                linearDamping=0.0,
                angularDamping=0.0,
                jointDamping=0.0,
            )
        self.wheels = simulator.joints(self.body, self.WHEELS)
        self.wheels.use_forces()
        self._driven = simulator.joints(self.body, self.DRIVEN)
        self._driven.use_forces()
        self._motors = PDMotors(
            stiffness=0.0,
            damping=self.SPEED_GAIN,
            max_torque=[self.MAX_TORQUE] * len(self.DRIVEN),
            time_step=self.TIME_STEP,
        )
        self._angles = [0.0] * len(self.DRIVEN)

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, simulator = self.properties, self.simulator
        if changed.keys() & SLOPE.keys():
            simulator.set_gravity(sloping(now["slope"], now["slope_heading"]))
        if "friction" in changed or any(name.endswith(".friction") for name in changed):
            for wheel, link in zip(self.WHEELS, self.wheels.links, strict=True):
                simulator.set_dynamics(
                    self.body, link, lateralFriction=now["friction"] * now[f"{wheel}.friction"]
                )
        self._motors.strengths = [
            now["motor_strength"] * now[f"{wheel}.strength"] for wheel in self.DRIVEN
        ]

    def reset(self, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> None:
        """Put it at rest on the ground, its wheels braked.

        Args:
            x: where its centre of mass is [m].
            y: the same, to the left [m].
            yaw: where it faces [rad].
        """
        self.simulator.forget_contacts()
        turn = (0.0, 0.0, sin(yaw / 2), cos(yaw / 2))
        self._base.place(BaseState((x, y, self.HEIGHT), turn, _STILL, _STILL))
        self.joints.reset([0.0] * len(self.joints.names))
        self._motors.hold(self._angles)

    def planar(self) -> PlanarState:
        """Return where it is on the ground, and how it moves."""
        (x, y, _), (i, j, k, w), (vx, vy, _), (_, _, yaw_rate) = self._base.base()
        yaw = atan2(2 * (i * j + w * k), 1 - 2 * (j * j + k * k))
        cosine, sine = cos(yaw), sin(yaw)
        return PlanarState(x, y, yaw, cosine * vx + sine * vy, cosine * vy - sine * vx, yaw_rate)

    def spin(self, speeds: Sequence[float]) -> None:
        """Let the motors turn the wheels at speeds [rad/s], in the order of `DRIVEN`."""
        self._motors.aim(self._angles, [self.SPEED_GAIN * speed for speed in speeds])

    def advance(self) -> None:
        """Let one control period pass, the wheels' speeds as they are told."""
        wheels, simulator, motors = self._driven, self.simulator, self._motors
        for _ in range(self.SUBSTEPS):
            wheels.command(motors.torques(wheels.read()))
            simulator.step()

    def camera(self) -> Camera:
        """Return a camera that follows it."""
        x, y, _ = self._base.base().position
        return replace(self.CAMERA, target=(x, y, self.CAMERA.target[2]))


_STILL = (0.0, 0.0, 0.0)
