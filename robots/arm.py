"""What all arms have in common: where the hand is, and how it is moved."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from metamotor.robots.arm_kinematics import Column, joint_step
from metamotor.robots.physics import PYBULLET
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import JointGroup, Vector


class Arm(Robot):
    """An arm bolted to the ground at the origin, facing +x.

    The hand's position is that of one point of its tool, in the frame of the base.
    """

    JOINTS: ClassVar[tuple[str, ...]]
    HOME: ClassVar[tuple[float, ...]]
    """Joint positions of the home pose [rad]: the hand points down, in the middle of the workspace."""
    LOWER: ClassVar[tuple[float, ...]]
    """Lower joint limits that the maker guarantees [rad]; the model's own may be a little wider."""
    UPPER: ClassVar[tuple[float, ...]]
    """Upper joint limits that the maker guarantees [rad]."""
    MAX_TORQUE: ClassVar[tuple[float, ...]]
    """Greatest joint torques [N·m]."""
    MAX_SPEED: ClassVar[tuple[float, ...]]
    """Greatest joint velocities [rad/s]."""
    IK_DAMPING: ClassVar[float] = 0.03
    """Damping λ of the inverse kinematics [m/rad]."""

    joints: JointGroup

    def __init__(self, *, gui: bool = False, physics: str = PYBULLET) -> None:
        super().__init__(gui=gui, physics=physics)
        period = self.TIME_STEP * self.SUBSTEPS
        self._longest_step = [speed * period for speed in self.MAX_SPEED]
        self._responses = [1.0] * len(self.JOINTS)

    @staticmethod
    @abstractmethod
    def hand_position_and_jacobian(
        joint_positions: Sequence[float],
    ) -> tuple[Vector, tuple[Column, ...]]:
        """Return where the hand is [m] and its derivative with respect to each joint [m/rad].

        Columns of last joints that turn the hand about its very point may be left out.

        Args:
            joint_positions: [rad].
        """

    @abstractmethod
    def reset(self, joint_positions: Sequence[float]) -> None:
        """Put the arm at rest in a pose [rad], its motors holding it there."""

    @abstractmethod
    def command(self, targets: Sequence[float]) -> None:
        """Send the joints to targets [rad]."""

    def sense(self) -> None:
        """Read the joints, and update what follows from them."""
        self.joint_positions: tuple[float, ...]
        """[rad]."""
        self.joint_velocities: tuple[float, ...]
        """[rad/s]."""
        self.joint_positions, self.joint_velocities, _, _ = zip(*self.joints.read(), strict=False)
        self.hand_position: Vector
        """[m]."""
        self._jacobian: tuple[Column, ...]
        self.hand_position, self._jacobian = self.hand_position_and_jacobian(self.joint_positions)

    @property
    def hand_velocity(self) -> Vector:
        """Velocity of the hand [m/s]."""
        vx = vy = vz = 0.0
        for (x, y, z), speed in zip(self._jacobian, self.joint_velocities, strict=False):
            vx += x * speed
            vy += y * speed
            vz += z * speed
        return vx, vy, vz

    def move_hand(self, displacement: Sequence[float]) -> None:
        """Let the motors move the hand by a displacement from where it was sensed [m].

        The step is shortened, in its direction, to what the joints' greatest speeds allow in a control period, and
        kept inside the joint limits. The last joint and the hand's orientation are left to themselves.
        """
        step = joint_step(self._jacobian, displacement, self.IK_DAMPING)
        excess = 1.0
        for change, longest in zip(step, self._longest_step, strict=False):
            share = abs(change) / longest
            if share > excess:
                excess = share
        step += [0.0] * (len(self.JOINTS) - len(step))
        targets = []
        for position, change, response, lower, upper in zip(
            self.joint_positions, step, self._responses, self.LOWER, self.UPPER, strict=True
        ):
            target = position + change / excess * response
            targets.append(lower if target < lower else upper if target > upper else target)
        self.command(targets)

    def excite(self, generator: np.random.Generator) -> None:
        """Send the arm to a random pose near home."""
        offsets = generator.uniform(-0.3, 0.3, size=len(self.HOME))
        self.command((offsets + self.HOME).tolist())
