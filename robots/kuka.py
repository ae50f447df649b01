"""The KUKA LBR iiwa 14 R820: a seven-joint arm without a tool.

Model: `kuka_iiwa/model.urdf` of pybullet_data, under the BSD licence in its header (Orebro University 2015). Its
lengths are those of the iiwa 14. Its masses are estimates that add up to 17.5 kg, where the data sheet has 29.9 kg with
the base; PyBullet computes moments of inertia from the collision meshes. Its effort and velocity limits are
placeholders (300 N·m, 10 rad/s): those of the data sheet are used. `arm_model` says what else is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi, radians
from typing import ClassVar

from metamotor.robots.arm_kinematics import Column
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property
from metamotor.robots.servo_arm import ServoArm, servo_properties
from metamotor.robots.seven_joints import Lengths, hand_position_and_jacobian
from metamotor.robots.simulator import Camera, Vector

_FLANGE = 0.045
"""From the frame of link 7 along its axis to the flange [m]."""
_LENGTHS = Lengths(
    shoulder=0.36,
    upper_arm=0.42,
    elbow_offset=0.0,
    forearm=0.4,
    wrist_offset=0.0,
    hand=0.081 + _FLANGE,
)


class Kuka(ServoArm):
    """An LBR iiwa bolted to the ground at the origin, facing +x.

    The hand's position is that of the middle of the flange, in the frame of the base.
    """

    MODEL = "kuka_iiwa/model.urdf"
    LAST_LINK = "lbr_iiwa_link_7"
    HAND = _FLANGE
    JOINTS = tuple(f"lbr_iiwa_joint_{number}" for number in range(1, 8))
    HOME = (0.0, 0.35, 0.0, -1.9, 0.0, pi - 2.25, 0.0)
    LOWER = tuple(-radians(angle) for angle in (170, 120, 170, 120, 170, 120, 175))
    """Lower joint limits of the data sheet [rad]; the model's are the same."""
    UPPER = tuple(radians(angle) for angle in (170, 120, 170, 120, 170, 120, 175))
    """Upper joint limits of the data sheet [rad]."""
    MAX_TORQUE = (320.0, 320.0, 176.0, 176.0, 110.0, 40.0, 40.0)
    MAX_SPEED = tuple(radians(speed) for speed in (85, 85, 100, 75, 130, 135, 135))
    PROPERTIES: ClassVar[Mapping[str, Property]] = servo_properties(JOINTS, rating=14.0)
    """As the Panda's; it may carry 14 kg."""

    CAMERA = Camera(target=(0.3, 0.0, 0.4), distance=1.4, yaw=50.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        self.reset(self.HOME)

    @staticmethod
    def hand_position_and_jacobian(
        joint_positions: Sequence[float],
    ) -> tuple[Vector, tuple[Column, ...]]:
        """Return where the hand is [m] and its derivative with respect to each joint but the last [m/rad]."""
        # At zero this hand points up; joint 6 turns it the other way about.
        *others, wrist, last = joint_positions
        hand, (*columns, (x, y, z)) = hand_position_and_jacobian(
            _LENGTHS, (*others, pi - wrist, last)
        )
        return hand, (*columns, (-x, -y, -z))
