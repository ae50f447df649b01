"""The Unitree A1: a quadruped of 12.5 kg, and a payload on its back.

`a1_model` says what it is made of, `trot` how it walks, and `motors` how its joints are driven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from metamotor.robots.a1_model import PAYLOAD, payload_inertia, urdf
from metamotor.robots.attitude import Attitude, attitude
from metamotor.robots.motors import PDMotors
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import BaseState, Camera, data_path
from metamotor.robots.trot import ABDUCTION, HEIGHT, LEGS, Trot, leg_joints


class A1(Robot):
    """An A1 on level ground, facing +x."""

    JOINTS: ClassVar[tuple[str, ...]] = tuple(
        f"{leg}_{joint}_joint" for leg, _, _ in LEGS for joint in ("hip", "upper", "lower")
    )
    STANCE: ClassVar[tuple[float, ...]] = tuple(
        angle for _, _, side in LEGS for angle in leg_joints(0.0, side * ABDUCTION, -HEIGHT, side)
    )
    """Joint positions when it stands [rad]."""
    MASS: ClassVar[float] = 12.458
    """Without payload [kg]."""
    TOE_RADIUS: ClassVar[float] = 0.02
    """[m]."""
    STIFFNESS: ClassVar[float] = 80.0
    """Kp [N·m/rad]; between the 55 of RMA (Kumar et al. 2021, arXiv:2107.04034) and the 100 of the motion imitation
    code of Peng et al. 2020 (arXiv:2004.00784), both for the real robot."""
    DAMPING: ClassVar[float] = 1.0
    """Kd [N·m·s/rad]; 0.8 there, and 1 to 2."""
    MAX_TORQUE: ClassVar[float] = 33.5
    """Greatest joint torque, from Unitree's data sheet [N·m]."""
    GAIT_PERIOD: ClassVar[float] = 0.4
    """Of a cycle of the trot [s]."""
    GAIT_SUBSTEPS: ClassVar[int] = 2
    """Physics steps from one target of the trot to the next; the motors themselves work in every step."""
    FRICTION: ClassVar[float] = 0.8
    """Friction coefficient between the toes and the ground."""

    PROPERTIES: ClassVar[Mapping[str, Property]] = {
        "payload": Property("kg", 0.0),
        "friction": Property("1", FRICTION),
        "stiffness": Property("N·m/rad", STIFFNESS),
        "damping": Property("N·m·s/rad", DAMPING),
        "latency": Property("s", 0.0, 0.0, 0.1),
        "motor_strength": Property("1", 1.0),
        **{f"{joint}.strength": Property("1", 1.0) for joint in JOINTS},
    }
    """Payload on its back; friction of the toes; gains of the motors, how late their targets arrive, and what share of
    its torque every motor, and each by itself, gives."""

    TIME_STEP = 1 / 200
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 20
    CAMERA = Camera(target=(0.0, 0.0, 0.2), distance=1.3, yaw=40.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        simulator = self.simulator
        ground = simulator.load_urdf(data_path("plane_implicit.urdf"), fixed_base=True)
        # The engine multiplies the coefficients of the two sides.
        simulator.set_dynamics(ground, -1, lateralFriction=1.0)
        self.body = simulator.load_urdf_text(urdf(), own_inertia=True)
        self._base = simulator.body(self.body)
        self.joints = simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        self._payload = simulator.link(self.body, PAYLOAD)
        self._links = (-1, *self.joints.links, self._payload)
        for link in self._links:
            simulator.set_dynamics(self.body, link, linearDamping=0.0, angularDamping=0.0)
        self.trot = Trot(self.GAIT_PERIOD)
        self._motors = PDMotors(
            stiffness=self.STIFFNESS,
            damping=self.DAMPING,
            max_torque=[self.MAX_TORQUE] * len(self.JOINTS),
            time_step=self.TIME_STEP,
        )
        self._configured(self.properties)
        self.reset(self.STANCE)

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, motors = self.properties, self._motors
        if "payload" in changed:
            mass = now["payload"]
            self.simulator.set_dynamics(
                self.body, self._payload, mass=mass, localInertiaDiagonal=payload_inertia(mass)
            )
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
            lift: how high the toes are above the ground in the pose `STANCE` [m].
        """
        self.simulator.forget_contacts()
        height = HEIGHT + self.TOE_RADIUS + lift
        self._base.place(BaseState((0.0, 0.0, height), (0.0, 0.0, 0.0, 1.0), _STILL, _STILL))
        self.joints.reset(joint_positions)
        self.trot.reset()
        self._motors.hold(joint_positions)

    def trunk(self) -> Attitude:
        """Return how the trunk is held and moves."""
        return attitude(self._base.base())

    def walk(
        self, *, forwards: float, sideways: float, turn: float, clearance: float, support: float
    ) -> None:
        """Trot for one control period; see `Trot.advance` for the arguments."""
        along, left, _ = self.trunk().velocity
        for _ in range(self.SUBSTEPS // self.GAIT_SUBSTEPS):
            self._motors.aim(
                *self.trot.advance(
                    self.TIME_STEP * self.GAIT_SUBSTEPS,
                    forwards=forwards,
                    sideways=sideways,
                    turn=turn,
                    clearance=clearance,
                    support=support,
                    velocity=(along, left),
                )
            )
            self._step(self.GAIT_SUBSTEPS)

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
