"""How an arm's joints move its hand: plain floats.

An arm of seven joints is too small for numpy, whose calls cost more than the arithmetic. Nothing here needs a
simulator: the same code turns actions into joint targets on the robot.
"""

from __future__ import annotations

from collections.abc import Sequence

Vector = tuple[float, float, float]
Column = tuple[float, float, float]
"""Derivative of the hand's position with respect to one joint [m/rad]."""


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
