"""Quadrupeds with three joints a leg that trot by themselves, with a payload on their back.

`trot` says how they walk, and `motors` how their joints are driven.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from metamotor.robots.attitude import Attitude, attitude
from metamotor.robots.boxes import box_inertia
from metamotor.robots.ground import ROUGHNESS, SLOPE, heights, sloping
from metamotor.robots.masses import Masses
from metamotor.robots.motors import PDMotors
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import BaseState, Camera, Vector, data_path
from metamotor.robots.trot import LEGS, Leg, Trot

PAYLOAD = "payload"
"""Name of the payload's link and of its fixed joint, in every model."""
MOST_STRENGTH = 1.4
"""Greatest share of its torque that a motor can be given: all gains grow with it, and dampers act a physics step late.
Of 12 episodes A1 and Laikago fall in 0 to 3 up to this one, as at 1, and in 9 to 12 at 2."""


class Quadruped(Robot):
    """A quadruped on a plane, facing +x.

    The plane may slope, and rough ground may lie on it; see `ground`. Where it is and how it is held is told in the
    plane's frame.
    """

    JOINTS: ClassVar[tuple[str, ...]] = tuple(
        f"{leg}_{joint}_joint" for leg, _, _ in LEGS for joint in ("hip", "upper", "lower")
    )
    LEG: ClassVar[Leg]
    """What its legs are like."""
    STANCE: ClassVar[tuple[float, ...]]
    """Joint positions when it stands [rad]."""
    MASS: ClassVar[float]
    """Without payload [kg]."""
    CENTRE_HEIGHT: ClassVar[float] = 0.0
    """Of the trunk's centre of mass above the hips [m]."""
    TOE_RADIUS: ClassVar[float]
    """[m]."""
    PAYLOAD_SIZE: ClassVar[Vector]
    """Length, width and height of the box that holds the payload [m]."""
    STIFFNESS: ClassVar[float]
    """Kp [N·m/rad]."""
    DAMPING: ClassVar[float]
    """Kd [N·m·s/rad]."""
    MAX_TORQUE: ClassVar[tuple[float, float, float]]
    """Greatest torques of hip, thigh and knee [N·m]."""
    REFLECTED: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    """Moments of inertia of the motors' rotors, as hip, thigh and knee feel them through their gears [kg·m²]."""
    GAIT_PERIOD: ClassVar[float] = 0.4
    """Of a cycle of the trot [s]."""
    BALANCE: ClassVar[float]
    """How far aside a foot is put for each m/s that the trunk is too fast [s]."""
    GAIT_SUBSTEPS: ClassVar[int] = 2
    """Physics steps from one target of the trot to the next; the motors themselves work in every step."""
    FRICTION: ClassVar[float] = 0.5
    """Friction coefficient between the toes and the ground, the least that Tan et al. 2018 (arXiv:1804.10332) draw."""

    TIME_STEP = 1 / 200
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 20

    @classmethod
    @abstractmethod
    def model(cls) -> str:
        """Return the model as the text of a URDF."""

    @classmethod
    def walking_properties(cls, stiffness: float, damping: float) -> dict[str, Property]:
        """Return `PROPERTIES`, which a subclass states with its own gains.

        They are: payload on its back; scales of its own masses, and of the moments of inertia besides; friction of the
        toes, and of the joints' bearings; gains of the motors, how late their targets arrive, and what share of its
        torque every motor, and each by itself, gives; how the ground slopes, and how rough it is.
        """
        return {
            "payload": Property("kg", 0.0),
            "mass_scale": Property("1", 1.0, 0.3, 3.0),
            "inertia_scale": Property("1", 1.0, 0.3, 3.0),
            "friction": Property("1", cls.FRICTION),
            "joint_damping": Property("N·m·s/rad", 0.0, 0.0, 0.2),
            "stiffness": Property("N·m/rad", stiffness),
            "damping": Property("N·m·s/rad", damping),
            "latency": Property("s", 0.0, 0.0, 0.1),
            "motor_strength": Property("1", 1.0, 0.0, MOST_STRENGTH),
            **{f"{joint}.strength": Property("1", 1.0, 0.0, MOST_STRENGTH) for joint in cls.JOINTS},
            **SLOPE,
            **ROUGHNESS,
        }

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(self.model(), own_inertia=True)
        self._base = simulator.body(self.body)
        self.joints = simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        self._payload = simulator.link(self.body, PAYLOAD)
        self._links = (-1, *self.joints.links, self._payload)
        for link in self._links:
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        self._reflect_rotors()
        self._masses = Masses(simulator, self.body, (-1, *self.joints.links))
        self.trot = Trot(self.GAIT_PERIOD, self.LEG, self.BALANCE)
        self._motors = PDMotors(
            stiffness=self.STIFFNESS,
            damping=self.DAMPING,
            max_torque=self.MAX_TORQUE * len(LEGS),
            time_step=self.TIME_STEP,
        )
        self._configured(self.properties)
        self.reset(self.STANCE)

    def _reflect_rotors(self) -> None:
        """Add to each link what its joint feels of a rotor; it makes the link as hard to turn as it is to move.

        The engine knows no rotors. They are as if they turned with the link against the world, not against its parent.
        A URDF cannot say it: more about one axis than about the other two together is no body's moment of inertia.
        """
        for index, link in enumerate(self.joints.links):
            if felt := self.REFLECTED[index % 3]:
                x, y, z = self.simulator.inertia(self.body, link)
                moments = (x + felt, y, z) if index % 3 == 0 else (x, y + felt, z)
                self.simulator.set_dynamics(self.body, link, localInertiaDiagonal=moments)

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, motors = self.properties, self._motors
        if changed.keys() & ROUGHNESS.keys():
            # First of all, since not every engine has it.
            rough = now["roughness"]
            self.simulator.set_terrain(heights(rough, now["terrain"]) if rough else None)
        if changed.keys() & SLOPE.keys():
            self.simulator.set_gravity(sloping(now["slope"], now["slope_heading"]))
        if "payload" in changed:
            mass = now["payload"]
            self.simulator.set_dynamics(
                self.body,
                self._payload,
                mass=mass,
                localInertiaDiagonal=box_inertia(mass, self.PAYLOAD_SIZE),
            )
        if not changed.keys().isdisjoint(("mass_scale", "inertia_scale")):
            self._masses.scale(now["mass_scale"], now["inertia_scale"])
        if "joint_damping" in changed:
            for link in self.joints.links:
                self.simulator.set_dynamics(self.body, link, jointDamping=now["joint_damping"])
        if "friction" in changed:
            for link in self._links:
                self.simulator.set_dynamics(self.body, link, lateralFriction=now["friction"])
        motors.stiffness, motors.damping = now["stiffness"], now["damping"]
        motors.latency = now["latency"]
        motors.strengths = [
            now["motor_strength"] * now[f"{joint}.strength"] for joint in self.JOINTS
        ]

    def reset(self, joint_positions: Sequence[float], lift: float = 0.0) -> None:
        """Put it at rest, the trunk level and above the origin, its motors holding the pose.

        Args:
            joint_positions: [rad].
            lift: how high the toes are above the highest points of the ground in the pose `STANCE` [m].
        """
        self.simulator.forget_contacts()
        height = self.LEG.height + self.TOE_RADIUS + self.CENTRE_HEIGHT + lift
        height += self.properties["roughness"]
        self._base.place(BaseState((0.0, 0.0, height), (0.0, 0.0, 0.0, 1.0), _STILL, _STILL))
        self.joints.reset(joint_positions)
        self.trot.reset()
        self._motors.hold(joint_positions)

    def trunk(self) -> Attitude:
        """Return how the trunk is held and moves."""
        return attitude(self._base.base())

    def walk(
        self,
        *,
        forwards: float,
        sideways: float,
        turn: float,
        clearance: float,
        support: float,
        offsets: Sequence[float] | None = None,
    ) -> None:
        """Trot for one control period; see `Trot.advance` for the arguments but one.

        Args:
            forwards: [m/s].
            sideways: [m/s].
            turn: [rad/s].
            clearance: [m].
            support: [N].
            offsets: added to the joint targets of the trot [rad]; the trot knows nothing of them.
        """
        along, left, _ = self.trunk().velocity
        for _ in range(self.SUBSTEPS // self.GAIT_SUBSTEPS):
            targets, torques = self.trot.advance(
                self.TIME_STEP * self.GAIT_SUBSTEPS,
                forwards=forwards,
                sideways=sideways,
                turn=turn,
                clearance=clearance,
                support=support,
                velocity=(along, left),
            )
            if offsets is not None:
                targets = [target + offset for target, offset in zip(targets, offsets, strict=True)]
            self._motors.aim(targets, torques)
            self._step(self.GAIT_SUBSTEPS)

    def drive(self, targets: Sequence[float]) -> None:
        """Let the motors pull the joints to targets for one control period, while the trot's clock goes on [rad]."""
        self.trot.tick(self.TIME_STEP * self.SUBSTEPS)
        self._motors.aim(targets)
        self._step(self.SUBSTEPS)

    def advance(self) -> None:
        """Let one control period pass, the motors' targets as they are."""
        self._step(self.SUBSTEPS)

    def _step(self, count: int) -> None:
        joints, simulator, motors = self.joints, self.simulator, self._motors
        for _ in range(count):
            joints.command(motors.torques(joints.read()))
            simulator.step()

    def camera(self) -> Camera:
        """Return a camera that follows the trunk."""
        x, y, _ = self._base.base().position
        return replace(self.CAMERA, target=(x, y, self.CAMERA.target[2]))

    def excite(self, generator: np.random.Generator) -> None:
        """Send the joints to random targets about standing."""
        offsets = generator.uniform(-0.1, 0.1, size=len(self.STANCE))
        self._motors.hold((offsets + self.STANCE).tolist())


_STILL = (0.0, 0.0, 0.0)
