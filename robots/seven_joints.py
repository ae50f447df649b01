"""Where the hand of a seven-joint arm is: closed formulas over plain floats.

Arms with an elbow between shoulder and wrist differ in their lengths only. Written out, position and Jacobian take as
long as three calls of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin
from typing import NamedTuple

from metamotor.robots.arm_kinematics import Column, Vector


class Lengths(NamedTuple):
    """Measures of an arm [m]."""

    shoulder: float
    """Height of the shoulder, where the axes of joints 1 to 3 meet."""
    upper_arm: float
    """From the shoulder along the upper arm."""
    elbow_offset: float
    """Of joint 4 from the axes of upper arm and forearm."""
    forearm: float
    """From the elbow along the forearm to the wrist, where the axes of joints 5 and 6 meet."""
    wrist_offset: float
    """From joint 6 to the axis of joint 7."""
    hand: float
    """Along that axis to the hand's point."""


def hand_position_and_jacobian(
    lengths: Lengths, joint_positions: Sequence[float]
) -> tuple[Vector, tuple[Column, ...]]:
    """Return the hand's point [m] and its derivative with respect to each joint [m/rad].

    The last joint turns the hand about this very point: its column is zero and left out.

    Args:
        lengths: of the arm.
        joint_positions: of the seven joints [rad]; at zero the arm stands upright, and the hand points down.

    Returns:
        The position in the frame of the robot's base, and six columns of the Jacobian.
    """
    shoulder, upper_arm, elbow_offset, forearm, wrist_offset, hand = lengths
    q1, q2, q3, q4, q5, q6, _ = joint_positions
    # (x, y, z) is the x-axis of the last turned joint, c and s its cosine and sine; the other letters are joint axes.
    c1, s1, c2, s2 = cos(q1), sin(q1), cos(q2), sin(q2)
    ax, ay = -s1, c1  # joint 2 (level)
    bx, by, bz = s2 * c1, s2 * s1, c2  # joint 3, along the upper arm
    x, y, z = c2 * c1, c2 * s1, -s2
    c, s = cos(q3), sin(q3)
    dx, dy, dz = s * x - c * ax, s * y - c * ay, s * z  # joint 4
    x, y, z = c * x + s * ax, c * y + s * ay, c * z
    elbow_x = upper_arm * bx + elbow_offset * x
    elbow_y = upper_arm * by + elbow_offset * y
    elbow_z = shoulder + upper_arm * bz + elbow_offset * z
    c, s = cos(q4), sin(q4)
    ex, ey, ez = c * bx - s * x, c * by - s * y, c * bz - s * z  # joint 5, along the forearm
    x, y, z = c * x + s * bx, c * y + s * by, c * z + s * bz
    wrist_x = elbow_x - elbow_offset * x + forearm * ex
    wrist_y = elbow_y - elbow_offset * y + forearm * ey
    wrist_z = elbow_z - elbow_offset * z + forearm * ez
    c, s = cos(q5), sin(q5)
    fx, fy, fz = c * dx + s * x, c * dy + s * y, c * dz + s * z  # joint 6
    x, y, z = c * x - s * dx, c * y - s * dy, c * z - s * dz
    c, s = cos(q6), sin(q6)
    # From the wrist to the hand, whose axis is that of joint 7.
    rx = wrist_offset * (c * x + s * ex) - hand * (c * ex - s * x)
    ry = wrist_offset * (c * y + s * ey) - hand * (c * ey - s * y)
    rz = wrist_offset * (c * z + s * ez) - hand * (c * ez - s * z)
    hx, hy, hz = wrist_x + rx, wrist_y + ry, wrist_z + rz
    ux, uy, uz = hx - elbow_x, hy - elbow_y, hz - elbow_z
    h = hz - shoulder
    # Each column is the joint's axis × the way from the joint to the hand.
    return (hx, hy, hz), (
        (-hy, hx, 0.0),
        (ay * h, -ax * h, ax * hy - ay * hx),
        (by * h - bz * hy, bz * hx - bx * h, bx * hy - by * hx),
        (dy * uz - dz * uy, dz * ux - dx * uz, dx * uy - dy * ux),
        (ey * rz - ez * ry, ez * rx - ex * rz, ex * ry - ey * rx),
        (fy * rz - fz * ry, fz * rx - fx * rz, fx * ry - fy * rx),
    )
