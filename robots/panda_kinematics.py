"""Where the Panda's hand is, and how to move it: closed formulas over plain floats.

An arm of seven joints is too small for numpy, whose calls cost more than the arithmetic; written out, forward
kinematics and Jacobian take 5 µs and a step of inverse kinematics 2 µs. Nothing here needs a simulator: the same code
turns actions into joint targets on the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin

_LINKS = (
    (0.0, 0.333, 0),
    (0.0, 0.0, -1),
    (0.0, 0.316, 1),
    (0.0825, 0.0, 1),
    (-0.0825, 0.384, -1),
    (0.0, 0.0, 1),
)
"""Denavit-Hartenberg parameters (Craig's convention) of joints 1 to 6: offset along x [m], offset along z [m], and
the quarter turns about x before them."""
_WRIST_OFFSET = 0.088
"""From joint 6 to joint 7, along x [m]."""
_HAND_LENGTH = 0.107 + 0.105
"""From joint 7 to the flange and on to the point between the fingertips [m]."""

Column = tuple[float, float, float]


def hand_position_and_jacobian(
    joint_positions: Sequence[float],
) -> tuple[tuple[float, float, float], list[Column]]:
    """Return the point between the fingertips [m] and its derivative with respect to each joint [m/rad].

    The last joint turns the hand about this very point: its column is zero and left out.

    Args:
        joint_positions: at least the first six joints [rad].

    Returns:
        The position in the frame of the robot's base, and six columns of the Jacobian.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
    px = py = pz = 0.0
    joints = []
    for (along_x, along_z, turn), angle in zip(_LINKS, joint_positions, strict=False):
        px, py, pz = px + along_x * xx, py + along_x * xy, pz + along_x * xz
        if turn < 0:
            yx, yy, yz, zx, zy, zz = -zx, -zy, -zz, yx, yy, yz
        elif turn > 0:
            yx, yy, yz, zx, zy, zz = zx, zy, zz, -yx, -yy, -yz
        px, py, pz = px + along_z * zx, py + along_z * zy, pz + along_z * zz
        joints.append((zx, zy, zz, px, py, pz))
        c, s = cos(angle), sin(angle)
        xx, xy, xz, yx, yy, yz = (
            c * xx + s * yx,
            c * xy + s * yy,
            c * xz + s * yz,
            c * yx - s * xx,
            c * yy - s * xy,
            c * yz - s * xz,
        )
    # Joint 7 points along the sixth frame's -y.
    hx = px + _WRIST_OFFSET * xx - _HAND_LENGTH * yx
    hy = py + _WRIST_OFFSET * xy - _HAND_LENGTH * yy
    hz = pz + _WRIST_OFFSET * xz - _HAND_LENGTH * yz
    columns = [
        (
            ay * (hz - z) - az * (hy - y),
            az * (hx - x) - ax * (hz - z),
            ax * (hy - y) - ay * (hx - x),
        )
        for ax, ay, az, x, y, z in joints
    ]
    return (hx, hy, hz), columns


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
