"""Any arm as a chain of frames: plain floats, four times as slow as `seven_joints`, which knows its arms."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin
from typing import NamedTuple

from metamotor.robots.arm_kinematics import Column, Vector
from metamotor.robots.simulator import GRAVITY

Rotation = tuple[float, float, float, float, float, float, float, float, float]
"""A rotation matrix, row by row."""


class Weight(NamedTuple):
    """What a link weighs."""

    mass: float
    """[kg]."""
    centre: Vector
    """Centre of mass in the frame of the link's joint [m]."""


class Chain:
    """An arm of revolute joints, each about the axis z of its own frame.

    Args:
        frames: of each joint, as a URDF has it: where its frame is in the one before [m], and how it is turned there:
            roll, pitch and yaw about fixed axes [rad].
        tool: the hand's point in the frame of the last joint [m].
    """

    def __init__(self, frames: Sequence[tuple[Vector, Vector]], tool: Vector) -> None:
        self._frames = [(*at, *_rotation(*turn)) for at, turn in frames]
        self._tool = tool

    def poses(self, joint_positions: Sequence[float]) -> list[tuple[Vector, Rotation]]:
        """Return where each joint's frame is [m] and how it is turned, in the frame of the base.

        Args:
            joint_positions: [rad].
        """
        px = py = pz = 0.0
        a, b, c, d, e, f, g, h, i = _UNTURNED
        found: list[tuple[Vector, Rotation]] = []
        for angle, (x, y, z, r0, r1, r2, r3, r4, r5, r6, r7, r8) in zip(
            joint_positions, self._frames, strict=True
        ):
            px, py, pz = (
                px + a * x + b * y + c * z,
                py + d * x + e * y + f * z,
                pz + g * x + h * y + i * z,
            )
            # Columns of the turned frame before the joint moves: u, v, and the joint's axis.
            ux, vx, wx = (
                a * r0 + b * r3 + c * r6,
                a * r1 + b * r4 + c * r7,
                a * r2 + b * r5 + c * r8,
            )
            uy, vy, wy = (
                d * r0 + e * r3 + f * r6,
                d * r1 + e * r4 + f * r7,
                d * r2 + e * r5 + f * r8,
            )
            uz, vz, wz = (
                g * r0 + h * r3 + i * r6,
                g * r1 + h * r4 + i * r7,
                g * r2 + h * r5 + i * r8,
            )
            cosine, sine = cos(angle), sin(angle)
            a, b, c = ux * cosine + vx * sine, vx * cosine - ux * sine, wx
            d, e, f = uy * cosine + vy * sine, vy * cosine - uy * sine, wy
            g, h, i = uz * cosine + vz * sine, vz * cosine - uz * sine, wz
            found.append(((px, py, pz), (a, b, c, d, e, f, g, h, i)))
        return found

    def hand_position_and_jacobian(
        self, joint_positions: Sequence[float]
    ) -> tuple[Vector, tuple[Column, ...]]:
        """Return the hand's point [m] and its derivative with respect to each joint [m/rad].

        Args:
            joint_positions: [rad].
        """
        poses = self.poses(joint_positions)
        (px, py, pz), (a, b, c, d, e, f, g, h, i) = poses[-1]
        x, y, z = self._tool
        hx = px + a * x + b * y + c * z
        hy = py + d * x + e * y + f * z
        hz = pz + g * x + h * y + i * z
        columns = []
        for (px, py, pz), (_, _, wx, _, _, wy, _, _, wz) in poses:
            # The joint's axis × the way from the joint to the hand.
            x, y, z = hx - px, hy - py, hz - pz
            columns.append((wy * z - wz * y, wz * x - wx * z, wx * y - wy * x))
        return (hx, hy, hz), tuple(columns)

    def holding_torques(
        self, joint_positions: Sequence[float], weights: Sequence[Weight]
    ) -> list[float]:
        """Return the joint torques that hold the arm against gravity [N·m].

        Args:
            joint_positions: [rad].
            weights: of each joint's link.
        """
        mass = mx = my = 0.0
        torques = []
        for pose, weight in zip(
            reversed(self.poses(joint_positions)), reversed(weights), strict=True
        ):
            (px, py, _), (a, b, c, d, e, f, _, _, _) = pose
            x, y, z = weight.centre
            # Mass, and mass times place, of all that the joint carries.
            mass += weight.mass
            mx += weight.mass * (px + a * x + b * y + c * z)
            my += weight.mass * (py + d * x + e * y + f * z)
            # How much the joint lifts it per radian; of its axis × the lever, only the height matters.
            torques.append(GRAVITY * (c * (my - mass * py) - f * (mx - mass * px)))
        return torques[::-1]


_UNTURNED: Rotation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def _rotation(roll: float, pitch: float, yaw: float) -> Rotation:
    """Return the matrix of turns about the fixed axes x, then y, then z."""
    cr, sr, cp, sp, cy, sy = cos(roll), sin(roll), cos(pitch), sin(pitch), cos(yaw), sin(yaw)
    return (
        cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr,
        sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr,
        -sp, cp * sr, cp * cr,
    )  # fmt: skip
