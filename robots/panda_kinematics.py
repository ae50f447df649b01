"""Where the Panda's hand is, and how to move it: closed formulas over plain floats.

An arm of seven joints is too small for numpy, whose calls cost more than the arithmetic; written out, forward
kinematics and Jacobian take 2 µs, and so does a step of inverse kinematics. Nothing here needs a simulator: the same
code turns actions into joint targets on the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin

_SHOULDER = 0.333
"""Height of the shoulder, where the axes of joints 1 to 3 meet [m]."""
_UPPER_ARM = 0.316
"""From the shoulder along the upper arm [m]."""
_ELBOW = 0.0825
"""Offset of joint 4 from the axes of upper arm and forearm [m]."""
_FOREARM = 0.384
"""From the elbow along the forearm to the wrist, where the axes of joints 5 and 6 meet [m]."""
_WRIST = 0.088
"""From joint 6 to the axis of joint 7 [m]."""
_HAND = 0.107 + 0.105
"""Along that axis to the flange and on to the point between the fingertips [m]."""

Column = tuple[float, float, float]


def hand_position_and_jacobian(
    joint_positions: Sequence[float],
) -> tuple[tuple[float, float, float], tuple[Column, ...]]:
    """Return the point between the fingertips [m] and its derivative with respect to each joint [m/rad].

    The last joint turns the hand about this very point: its column is zero and left out.

    Args:
        joint_positions: of the seven joints [rad].

    Returns:
        The position in the frame of the robot's base, and six columns of the Jacobian.
    """
    q1, q2, q3, q4, q5, q6, _ = joint_positions
    # (x, y, z) is the x-axis of the last turned joint, c and s its cosine and sine; the other letters are joint axes.
    c1, s1, c2, s2 = cos(q1), sin(q1), cos(q2), sin(q2)
    ax, ay = -s1, c1  # joint 2 (level)
    bx, by, bz = s2 * c1, s2 * s1, c2  # joint 3, along the upper arm
    x, y, z = c2 * c1, c2 * s1, -s2
    c, s = cos(q3), sin(q3)
    dx, dy, dz = s * x - c * ax, s * y - c * ay, s * z  # joint 4
    x, y, z = c * x + s * ax, c * y + s * ay, c * z
    elbow_x = _UPPER_ARM * bx + _ELBOW * x
    elbow_y = _UPPER_ARM * by + _ELBOW * y
    elbow_z = _SHOULDER + _UPPER_ARM * bz + _ELBOW * z
    c, s = cos(q4), sin(q4)
    ex, ey, ez = c * bx - s * x, c * by - s * y, c * bz - s * z  # joint 5, along the forearm
    x, y, z = c * x + s * bx, c * y + s * by, c * z + s * bz
    wrist_x = elbow_x - _ELBOW * x + _FOREARM * ex
    wrist_y = elbow_y - _ELBOW * y + _FOREARM * ey
    wrist_z = elbow_z - _ELBOW * z + _FOREARM * ez
    c, s = cos(q5), sin(q5)
    fx, fy, fz = c * dx + s * x, c * dy + s * y, c * dz + s * z  # joint 6
    x, y, z = c * x - s * dx, c * y - s * dy, c * z - s * dz
    c, s = cos(q6), sin(q6)
    # From the wrist to the hand, whose axis is that of joint 7.
    rx = _WRIST * (c * x + s * ex) - _HAND * (c * ex - s * x)
    ry = _WRIST * (c * y + s * ey) - _HAND * (c * ey - s * y)
    rz = _WRIST * (c * z + s * ez) - _HAND * (c * ez - s * z)
    hx, hy, hz = wrist_x + rx, wrist_y + ry, wrist_z + rz
    ux, uy, uz = hx - elbow_x, hy - elbow_y, hz - elbow_z
    h = hz - _SHOULDER
    # Each column is the joint's axis × the way from the joint to the hand.
    return (hx, hy, hz), (
        (-hy, hx, 0.0),
        (ay * h, -ax * h, ax * hy - ay * hx),
        (by * h - bz * hy, bz * hx - bx * h, bx * hy - by * hx),
        (dy * uz - dz * uy, dz * ux - dx * uz, dx * uy - dy * ux),
        (ey * rz - ez * ry, ez * rx - ex * rz, ex * ry - ey * rx),
        (fy * rz - fz * ry, fz * rx - fx * rz, fx * ry - fy * rx),
    )


def joint_step(
    columns: Sequence[Column], displacement: Sequence[float], damping: float
) -> list[float]:
    """Return the smallest step of the joints that moves the hand by a displacement, damped least squares.

    Δq = Jᵀ (J Jᵀ + λ² I)⁻¹ Δx.

    Args:
        columns: of the Jacobian J [m/rad].
        displacement: Δx of the hand [m].
        damping: λ [m/rad]; bounds the step where the arm is stretched and J Jᵀ loses rank.

    Returns:
        Δq, one number for each column [rad].
    """
    a = b = c = damping * damping
    d = e = f = 0.0
    for x, y, z in columns:
        a, b, c = a + x * x, b + y * y, c + z * z
        d, e, f = d + x * y, e + x * z, f + y * z
    wx, wy, wz = displacement
    # The inverse of the symmetric matrix [[a, d, e], [d, b, f], [e, f, c]], by cofactors.
    aa, dd, ee = b * c - f * f, e * f - d * c, d * f - b * e
    bb, ff, cc = a * c - e * e, d * e - a * f, a * b - d * d
    scale = 1.0 / (a * aa + d * dd + e * ee)
    ux = (aa * wx + dd * wy + ee * wz) * scale
    uy = (dd * wx + bb * wy + ff * wz) * scale
    uz = (ee * wx + ff * wy + cc * wz) * scale
    return [x * ux + y * uy + z * uz for x, y, z in columns]
