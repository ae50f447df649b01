"""The Franka Emika Panda: a seven-joint arm with a two-finger hand.

Model: `franka_panda/panda.urdf` of pybullet_data, under the Apache License 2.0 (LICENSE.txt beside it). Its moments of
inertia are placeholders (0.1 kg·m² for every link); PyBullet computes them from the collision meshes instead.
Fixed links (flange, hand and grasp target) are merged into link 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from metamotor.robots.panda_kinematics import Column, hand_position_and_jacobian, joint_step
from metamotor.robots.robot import Robot
from metamotor.robots.simulator import Camera, data_path


class Panda(Robot):
    """A Panda bolted to the ground at the origin, facing +x, its hand closed.

    The hand's position is that of the point between the fingertips, in the frame of the base.
    """

    MODEL: ClassVar[str] = "franka_panda/panda.urdf"
    JOINTS: ClassVar[tuple[str, ...]] = tuple(f"panda_joint{number}" for number in range(1, 8))
    FINGERS: ClassVar[tuple[str, ...]] = ("panda_finger_joint1", "panda_finger_joint2")
    HOME: ClassVar[tuple[float, ...]] = (0.0, -0.26, 0.0, -2.17, 0.0, 1.91, 0.785)
    """Joint positions of the home pose [rad]: the hand points down, in the middle of the workspace."""
    LOWER: ClassVar[tuple[float, ...]] = (
        -2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973,
    )  # fmt: skip
    """Lower joint limits that Franka guarantees [rad]; the model's own are a little wider."""
    UPPER: ClassVar[tuple[float, ...]] = (
        2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973,
    )  # fmt: skip
    """Upper joint limits that Franka guarantees [rad]."""
    MAX_TORQUE: ClassVar[tuple[float, ...]] = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
    """Greatest joint torques [N·m]."""
    MAX_SPEED: ClassVar[tuple[float, ...]] = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
    """Greatest joint velocities [rad/s]."""
    FINGER_FORCE: ClassVar[float] = 20.0
    """Force that holds each finger closed [N]."""
    GAIN: ClassVar[float] = 0.2
    """Share of a joint's position error that its motor removes in a physics step."""
    IK_DAMPING: ClassVar[float] = 0.03
    """Damping λ of the inverse kinematics [m/rad]."""

    TIME_STEP = 1 / 120
    """[s]. Twice PyBullet's default: motors in position control are stable there, and nothing is touched."""
    SUBSTEPS = 4
    SOLVER_ITERATIONS = 50
    """Only in contact, where the direct solver does not apply."""
    DIRECT_SOLVER = True
    """The joints of an arm are so coupled that sweeps converge slowly: after 50 periods of standing still 20 sweeps
    have let the hand sink by 3 mm, 50 by 0.5 mm, the direct solver by 0.04 mm, and it is faster than 20 sweeps."""
    CAMERA = Camera(target=(0.3, 0.0, 0.38), distance=1.25, yaw=50.0, pitch=-20.0)

    def __init__(self, *, gui: bool = False) -> None:
        super().__init__(gui=gui)
        self.body = self.simulator.load_urdf(
            data_path(self.MODEL), fixed_base=True, merge_fixed_links=True
        )
        self.joints = self.simulator.joints(self.body, self.JOINTS)
        self.joints.use_position_motors(gains=[self.GAIN] * 7, max_forces=self.MAX_TORQUE)
        self._fingers = self.simulator.joints(self.body, self.FINGERS)
        self._fingers.use_position_motors(gains=[0.1] * 2, max_forces=[self.FINGER_FORCE] * 2)
        self._fingers.command([0.0, 0.0])
        period = self.TIME_STEP * self.SUBSTEPS
        self._longest_step = [speed * period for speed in self.MAX_SPEED]
        self.reset(self.HOME)

    def reset(self, joint_positions: Sequence[float]) -> None:
        """Put the arm at rest in a pose [rad], its motors holding it there."""
        self.simulator.forget_contacts()
        self._fingers.reset([0.0, 0.0])
        self.joints.reset(joint_positions)
        self.joints.command(joint_positions)
        self.sense()

    def sense(self) -> None:
        """Read the joints, and update what follows from them."""
        self.joint_positions: tuple[float, ...]
        """[rad]."""
        self.joint_velocities: tuple[float, ...]
        """[rad/s]."""
        self.joint_positions, self.joint_velocities, _, _ = zip(*self.joints.read(), strict=False)
        self.hand_position: tuple[float, float, float]
        """[m]."""
        self._jacobian: tuple[Column, ...]
        self.hand_position, self._jacobian = hand_position_and_jacobian(self.joint_positions)

    @property
    def hand_velocity(self) -> tuple[float, float, float]:
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
        step.append(0.0)
        targets = []
        for position, change, lower, upper in zip(
            self.joint_positions, step, self.LOWER, self.UPPER, strict=True
        ):
            target = position + change / excess
            targets.append(lower if target < lower else upper if target > upper else target)
        self.joints.command(targets)

    def excite(self, generator: np.random.Generator) -> None:
        """Send the arm to a random pose near home."""
        offsets = generator.uniform(-0.3, 0.3, size=len(self.HOME))
        self.joints.command((offsets + self.HOME).tolist())
