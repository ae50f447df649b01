"""The moments of inertia of filled boxes, for what a robot carries."""

from __future__ import annotations


def box_inertia(mass: float, size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the moments of inertia of a box about its middle [kg·m²].

    Args:
        mass: [kg].
        size: length, width and height [m].
    """
    x, y, z = size
    return (
        mass * (y * y + z * z) / 12,
        mass * (x * x + z * z) / 12,
        mass * (x * x + y * y) / 12,
    )
