"""The Minitaur of Ghost Robotics: a quadruped of 6 kg with direct-drive five-bar legs, and a payload on its sides.

`minitaur_model` says what it is made of, and `dc_motors` what drives it.

It walks by a trot of sinusoids, in the form that Tan et al. 2018 (arXiv:1804.10332) use on it: with φ the gait's
phase, and π more for every other diagonal pair of legs, a leg swings to s = A sin φ and folds to ψ = 90° + δ + E cos
φ. So it is pulled up while it swings forwards, and stretched while it swings back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, pi, sin
from typing import ClassVar

import numpy as np

from metamotor.robots.attitude import Attitude, attitude
from metamotor.robots.dc_motors import DCMotors
from metamotor.robots.minitaur_model import (
    LEGS,
    MASS,
    PAYLOAD_Y,
    PAYLOADS,
    TOE_RADIUS,
    distance,
    half_angle,
    payload_inertia,
    slope,
    urdf,
)
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import BaseState, Camera, data_path


@dataclass(frozen=True)
class Gait:
    """How to trot."""

    frequency: float
    """Of the steps [Hz]."""
    swing: float
    """A [rad]."""
    lift: float
    """E [rad]."""
    fold_left: float
    """δ of the left legs [rad]; negative stretches them. The robot turns to the side whose legs are folded more."""
    fold_right: float
    """δ of the right legs [rad]."""


class Minitaur(Robot):
    """A Minitaur on level ground, facing +x."""

    LEGS: ClassVar[tuple[str, ...]] = tuple(LEGS)
    """Order of the legs."""
    JOINTS: ClassVar[tuple[str, ...]] = tuple(
        f"{leg}_{joint}" for leg in LEGS for joint in ("swing", "reach")
    )
    """Swing angle s [rad] and distance r from hip to foot [m] of each leg."""
    MOTORS: ClassVar[tuple[str, ...]] = tuple(
        f"{leg}_{link}" for leg in LEGS for link in ("front", "rear")
    )
    """The motors that turn a leg's front and rear upper link."""
    MASS: ClassVar[float] = MASS
    """Without payload [kg]."""
    STANCE: ClassVar[float] = pi / 2
    """ψ of every leg when it stands [rad]."""
    HEIGHT: ClassVar[float] = distance(pi / 2) + TOE_RADIUS
    """Of the hips above the ground in that stance [m]."""
    STIFFNESS: ClassVar[float] = 1.2
    """kp of the motors, from `pybullet_envs` [1/rad]."""
    DAMPING: ClassVar[float] = 0.02
    """kd of the motors, from there [s/rad]."""
    BATTERY: ClassVar[float] = 16.8
    """Voltage of a full battery of four lithium cells [V]."""
    FRICTION: ClassVar[float] = 1.0
    """Friction coefficient between feet and ground, the file's."""

    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "battery": Property("V", BATTERY, 0.0, 25.0),
        "payload": Property("kg", 0.0, 0.0, 5.0),
        "payload_y": Property("m", 0.0, -PAYLOAD_Y, PAYLOAD_Y),
        "friction": Property("1", FRICTION),
        "motor_strength": Property("1", 1.0, 0.0, 2.0),
        **{f"{motor}.strength": Property("1", 1.0, 0.0, 2.0) for motor in MOTORS},
    }
    """Voltage; payload, and how far to the left it lies; friction of the feet; what share of its torque every motor,
    and each by itself, gives."""

    TIME_STEP = 1 / 400
    """[s]. The motors brake the light legs so much that at 1/200 s they would shake."""
    SUBSTEPS = 10
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.15), distance=1.1, yaw=40.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(urdf(), own_inertia=True)
        self._base = simulator.body(self.body)
        self.joints = simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        self._payloads = [simulator.link(self.body, name) for name in PAYLOADS]
        hips = [simulator.link(self.body, f"{leg}_swing") for leg in LEGS]
        self._feet = [simulator.link(self.body, f"{leg}_reach") for leg in LEGS]
        for link in (-1, *hips, *self._feet, *self._payloads):
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        self._motors = DCMotors(
            count=len(self.MOTORS),
            stiffness=self.STIFFNESS,
            damping=self.DAMPING,
            battery=self.BATTERY,
        )
        self._targets: list[float] = []
        self.phase = 0.0
        """φ of the gait, in turns."""
        self._load()
        self._grip()
        self._configured(self.properties)
        self.reset()

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, motors = self.properties, self._motors
        if changed.keys() & {"payload", "payload_y"}:
            self._load()
        if "friction" in changed:
            self._grip()
        motors.battery = now["battery"]
        motors.strengths = [
            now["motor_strength"] * now[f"{motor}.strength"] for motor in self.MOTORS
        ]

    def _load(self) -> None:
        now = self.properties
        for link, left in zip(self._payloads, PAYLOADS.values(), strict=True):
            mass = now["payload"] * (1 + left * now["payload_y"] / PAYLOAD_Y) / 2
            self.simulator.set_dynamics(
                self.body, link, mass=mass, localInertiaDiagonal=payload_inertia(mass)
            )

    def _grip(self) -> None:
        for link in (-1, *self._feet):
            self.simulator.set_dynamics(
                self.body, link, lateralFriction=self.properties["friction"]
            )

    def reset(self, folds: Sequence[float] = (STANCE,) * 4, lift: float = 0.0) -> None:
        """Put it at rest, the trunk level and above the origin, its motors holding the pose, the gait at its start.

        Args:
            folds: ψ of each leg [rad].
            lift: how high the feet are above the ground in the stance [m].
        """
        self.simulator.forget_contacts()
        height = self.HEIGHT + lift
        self._base.place(
            BaseState((0.0, 0.0, height), (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        )
        self.joints.reset([value for fold in folds for value in (0.0, distance(fold))])
        self.aim([0.0] * len(LEGS), folds)
        self.phase = 0.0

    def aim(self, swings: Sequence[float], folds: Sequence[float]) -> None:
        """Send the legs to swing angles s and folds ψ [rad]."""
        self._targets = [
            angle
            for swing, fold in zip(swings, folds, strict=True)
            for angle in (swing + fold, swing - fold)
        ]

    def trunk(self) -> Attitude:
        """Return how the trunk is held and moves."""
        return attitude(self._base.base())

    def legs(self) -> list[tuple[float, float]]:
        """Return swing angle s and fold ψ of each leg [rad]."""
        states = self.joints.read()
        return [
            (swing[0], half_angle(reach[0]))
            for swing, reach in zip(states[::2], states[1::2], strict=True)
        ]

    def walk(self, gait: Gait) -> None:
        """Trot for one control period."""
        turns = gait.frequency * self.TIME_STEP
        for _ in range(self.SUBSTEPS):
            self.phase = (self.phase + turns) % 1.0
            sine, cosine = sin(2 * pi * self.phase), cos(2 * pi * self.phase)
            swings, folds = [], []
            for front, left in LEGS.values():
                sense = front * left
                fold = gait.fold_left if left > 0 else gait.fold_right
                swings.append(sense * gait.swing * sine)
                folds.append(self.STANCE + fold + sense * gait.lift * cosine)
            self.aim(swings, folds)
            self._step()

    def advance(self) -> None:
        """Let one control period pass, the motors' targets as they are."""
        for _ in range(self.SUBSTEPS):
            self._step()

    def _step(self) -> None:
        states = self.joints.read()
        angles: list[float] = []
        rates: list[float] = []
        slopes: list[float] = []
        for number in range(0, len(states), 2):
            swing, swing_rate, _, _ = states[number]
            reach, reach_rate, _, _ = states[number + 1]
            fold = half_angle(reach)
            steep = min(slope(fold, reach), -_LEAST_SLOPE)
            fold_rate = reach_rate / steep
            slopes.append(steep)
            angles += (swing + fold, swing - fold)
            rates += (swing_rate + fold_rate, swing_rate - fold_rate)
        torques = self._motors.torques(self._targets, angles, rates)
        forces: list[float] = []
        for leg, steep in enumerate(slopes):
            front, rear = torques[2 * leg], torques[2 * leg + 1]
            forces += (front + rear, (front - rear) / steep)
        self.joints.command(forces)
        self.simulator.step()

    def camera(self) -> Camera:
        """Return a camera that follows the trunk."""
        x, y, _ = self._base.base().position
        return replace(self.CAMERA, target=(x, y, self.CAMERA.target[2]))

    def excite(self, generator: np.random.Generator) -> None:
        """Send the legs to random targets about standing."""
        swings, folds = generator.uniform(-0.2, 0.2, size=(2, len(LEGS))).tolist()
        self.aim(swings, [self.STANCE + fold for fold in folds])


_LEAST_SLOPE = 0.02
"""Bound on |dr/dψ| [m/rad]; nearer to where the five-bar is stretched or shut, its push would grow without limit."""
