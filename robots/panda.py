"""The Franka Emika Panda: a seven-joint arm with a two-finger hand.

Model: `franka_panda/panda.urdf` of pybullet_data, under the Apache License 2.0 (LICENSE.txt beside it). Its moments of
inertia are placeholders (0.1 kg·m² for every link); PyBullet computes them from the collision meshes instead.
Fixed links (flange, hand and grasp target) are merged into link 7; `arm_model` says what else is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from metamotor.robots.arm_kinematics import Column
from metamotor.robots.physics import PYBULLET
from metamotor.robots.properties import Property
from metamotor.robots.servo_arm import ServoArm, servo_properties
from metamotor.robots.seven_joints import Lengths, hand_position_and_jacobian
from metamotor.robots.simulator import Camera, Vector

_LENGTHS = Lengths(
    shoulder=0.333,
    upper_arm=0.316,
    elbow_offset=0.0825,
    forearm=0.384,
    wrist_offset=0.088,
    # To the flange, and on to the point between the fingertips.
    hand=0.107 + 0.105,
)


class Panda(ServoArm):
    """A Panda bolted to the ground at the origin, facing +x, its hand closed.

    The hand's position is that of the point between the fingertips, in the frame of the base.
    """

    MODEL = "franka_panda/panda.urdf"
    LAST_LINK = "panda_hand"
    HAND = 0.105
    JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
    FINGERS: ClassVar[tuple[str, ...]] = ("panda_finger_joint1", "panda_finger_joint2")
    HOME = (0.0, -0.26, 0.0, -2.17, 0.0, 1.91, 0.785)
    LOWER = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
    """Lower joint limits that Franka guarantees [rad]; the model's own are a little wider."""
    UPPER = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
    """Upper joint limits that Franka guarantees [rad]."""
    MAX_TORQUE = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
    MAX_SPEED = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
    FINGER_FORCE: ClassVar[float] = 20.0
    """Force that holds each finger closed [N]."""
    PROPERTIES: ClassVar[Mapping[str, Property]] = servo_properties(JOINTS, rating=3.0)
    """What it carries (Franka allows 3 kg), how late targets arrive, the motors' gain, and for each joint what share
    of its torque the motor gives, and what share of a commanded step it is sent; 0 is a locked joint. The last joint is
    sent none: it turns the hand about its own point."""

    CAMERA = Camera(target=(0.3, 0.0, 0.38), distance=1.25, yaw=50.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        self._fingers = self.simulator.joints(self.body, self.FINGERS)
        self._fingers.use_position_motors(gains=[0.1] * 2, max_forces=[self.FINGER_FORCE] * 2)
        self._fingers.command([0.0, 0.0])
        self.reset(self.HOME)

    def reset(self, joint_positions: Sequence[float]) -> None:
        """Put the arm at rest in a pose [rad], its motors holding it there."""
        self._fingers.reset([0.0, 0.0])
        super().reset(joint_positions)

    @staticmethod
    def hand_position_and_jacobian(
        joint_positions: Sequence[float],
    ) -> tuple[Vector, tuple[Column, ...]]:
        """Return where the hand is [m] and its derivative with respect to each joint but the last [m/rad]."""
        return hand_position_and_jacobian(_LENGTHS, joint_positions)
