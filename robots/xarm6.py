"""The UFACTORY xArm 6: a six-joint arm that yields to what it carries.

Model: `xarm/xarm6_robot.urdf` of pybullet_data, which notes no licence for it. Masses, centres and limits are the
file's. Two of its moments of inertia are impossible, and the engine would take these links for points; all are computed
from the collision meshes instead. Added is what a rotor behind a gear of 100, the file's, weighs on its joint's axis;
the file's joint damping and friction are left out. `arm_model` says what else is changed.

The joints are driven as springs with dampers (impedance control), with torques on top that hold the arm, as it is
without a load, against gravity. There is no integral part: a load makes it sink until somebody sends more torque.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from typing import ClassVar

from metamotor.robots.arm import Arm
from metamotor.robots.arm_kinematics import Column
from metamotor.robots.arm_model import arm_properties, arm_urdf, payload_inertia
from metamotor.robots.chain import Chain, Weight
from metamotor.robots.motors import PDMotors
from metamotor.robots.properties import Property
from metamotor.robots.simulator import Camera, Vector

_CHAIN = Chain(
    frames=(
        ((0.0, 0.0, 0.267), (0.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (-pi / 2, 0.0, 0.0)),
        ((0.0535, -0.2845, 0.0), (0.0, 0.0, 0.0)),
        ((0.0775, 0.3425, 0.0), (-pi / 2, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (pi / 2, 0.0, 0.0)),
        ((0.076, 0.097, 0.0), (-pi / 2, 0.0, 0.0)),
    ),
    tool=(0.0, 0.0, 0.0),
)
_WEIGHTS = (
    Weight(2.16, (-0.002, 0.02692, -0.01332)),
    Weight(1.71, (0.03531, -0.21398, 0.03386)),
    Weight(1.384, (0.06781, 0.10749, 0.01457)),
    Weight(1.115, (-0.00021, 0.02578, -0.02538)),
    Weight(1.275, (0.05428, 0.01781, 0.00543)),
    Weight(0.1096, (0.0, 0.00064, -0.00952)),
)
"""Of each link, from the file."""
_HOLDERS = ("payload_front", "payload_back")


class XArm6(Arm):
    """An xArm 6 bolted to the ground at the origin, facing +x.

    The hand's position is that of the middle of the flange, in the frame of the base. A payload hangs below it.
    """

    MODEL: ClassVar[str] = "xarm/xarm6_robot.urdf"
    LAST_LINK: ClassVar[str] = "link6"
    JOINTS = tuple(f"joint{number}" for number in range(1, 7))
    HOME = (0.0, -0.1, -1.1, 0.0, 1.2, 0.0)
    LOWER = (-2 * pi, -2.059, -3.927, -2 * pi, -1.69297, -2 * pi)
    UPPER = (2 * pi, 2.0944, 0.19198, 2 * pi, pi, 2 * pi)
    MAX_TORQUE = (50.0, 50.0, 32.0, 32.0, 32.0, 20.0)
    MAX_SPEED = (3.14,) * 6
    ROTOR_INERTIA: ClassVar[float] = 0.05
    """Of each motor about its joint's axis, an estimate: 5e-6 kg·m² behind a gear of 100 [kg·m²]."""
    STIFFNESS: ClassVar[float] = 80.0
    """Kp of the joints of shoulder and elbow [N·m/rad]."""
    DAMPING: ClassVar[float] = 16.0
    """Kd of the joints of shoulder and elbow [N·m·s/rad]; near critical."""
    SHARES: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 0.25, 0.25, 0.1)
    """What share of both each joint has: the wrist moves less."""
    DROP: ClassVar[float] = 0.08
    """How far the payload's centre of mass is from the flange, along its axis [m]."""
    REACH: ClassVar[float] = 0.1
    """Greatest offset of the payload's centre of mass from the flange's axis [m]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = arm_properties(
        JOINTS,
        rating=5.0,
        motors={
            "payload_offset": Property("m", 0.0, -REACH, REACH),
            "stiffness": Property("N·m/rad", STIFFNESS),
            "damping": Property("N·m·s/rad", DAMPING),
        },
    )
    """What it carries (UFACTORY allows 5 kg), and how far in front of the flange's axis that is; how late targets and
    torques arrive; gains of the motors; and for each joint what share of its torque the motor gives."""

    TIME_STEP = 1 / 240
    """[s]. The wrist's dampers, which act a step late, are stable up to 1/30."""
    SUBSTEPS = 8
    SOLVER_ITERATIONS = 50
    """Nothing to solve but joint limits: there are no contacts, and motors are torques."""
    CAMERA = Camera(target=(0.25, 0.0, 0.35), distance=1.2, yaw=50.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        simulator = self.simulator
        ends = ((self.REACH, 0.0, self.DROP), (-self.REACH, 0.0, self.DROP))
        text = arm_urdf(
            self.MODEL,
            parent=self.LAST_LINK,
            holders=list(zip(_HOLDERS, ends, strict=True)),
        )
        self.body = simulator.load_urdf_text(text, fixed_base=True, merge_fixed_links=True)
        self.joints = simulator.joints(self.body, self.JOINTS)
        self.joints.use_forces()
        for link in self.joints.links:
            x, y, z = simulator.inertia(self.body, link)
            simulator.set_dynamics(
                self.body,
                link,
                localInertiaDiagonal=(x, y, z + self.ROTOR_INERTIA),
                jointDamping=0.0,
                linearDamping=0.0,
                angularDamping=0.0,
            )
        self._braked = True
        self._holders = [simulator.link(self.body, name) for name in _HOLDERS]
        self._motors = PDMotors(
            stiffness=self.STIFFNESS,
            damping=self.DAMPING,
            max_torque=self.MAX_TORQUE,
            time_step=self.TIME_STEP,
            shares=self.SHARES,
        )
        self._configured(self.properties)
        self.reset(self.HOME)

    def _configured(self, changed: Mapping[str, float]) -> None:
        now, motors = self.properties, self._motors
        if "payload" in changed or "payload_offset" in changed:
            # A bar whose ends share the mass so that its centre is where it shall be.
            front = 0.5 + now["payload_offset"] / (2 * self.REACH)
            for holder, share in zip(self._holders, (front, 1.0 - front), strict=True):
                mass = share * now["payload"]
                self.simulator.set_dynamics(
                    self.body, holder, mass=mass, localInertiaDiagonal=payload_inertia(mass)
                )
        motors.stiffness, motors.damping = now["stiffness"], now["damping"]
        motors.latency = now["latency"]
        motors.strengths = [now[f"{joint}.strength"] for joint in self.JOINTS]

    def reset(self, joint_positions: Sequence[float]) -> None:
        """Put the arm at rest in a pose [rad], held there until it is commanded."""
        self.simulator.forget_contacts()
        self.joints.reset(joint_positions)
        self.sense()
        self.command(joint_positions)
        self._braked = True

    def holding_torques(self) -> list[float]:
        """Return what holds the arm, without a load, against gravity where it was sensed [N·m]."""
        return _CHAIN.holding_torques(self.joint_positions, _WEIGHTS)

    def command(self, targets: Sequence[float], torques: Sequence[float] | None = None) -> None:
        """Send the joints to targets.

        Brakes hold the arm until the first command after a reset has arrived.

        Args:
            targets: [rad].
            torques: on top of those that hold the arm [N·m].
        """
        holding = self.holding_torques()
        if torques is not None:
            holding = [own + more for own, more in zip(holding, torques, strict=True)]
        if self._braked:
            # Nothing moves until then, so that time need not pass.
            self._motors.hold(targets, holding)
            self._braked = False
        else:
            self._motors.aim(targets, holding)

    def advance(self) -> None:
        """Let one control period pass."""
        joints, simulator, motors = self.joints, self.simulator, self._motors
        for _ in range(self.SUBSTEPS):
            joints.command(motors.torques(joints.read()))
            simulator.step()

    @staticmethod
    def hand_position_and_jacobian(
        joint_positions: Sequence[float],
    ) -> tuple[Vector, tuple[Column, ...]]:
        """Return where the hand is [m] and its derivative with respect to each joint [m/rad]."""
        return _CHAIN.hand_position_and_jacobian(joint_positions)
