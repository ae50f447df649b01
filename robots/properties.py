"""What may be changed about a robot and its world: named physical quantities with units and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite


@dataclass(frozen=True)
class Property:
    """One quantity that a robot can be given, at the start of an episode or while it works."""

    unit: str
    nominal: float
    """What it is unless something else is asked for."""
    low: float = 0.0
    """Smallest value that is physically possible and that the simulation bears."""
    high: float = inf
    """Greatest value."""

    def __post_init__(self) -> None:
        """Refuse a nominal value outside the limits."""
        if not self.low <= self.nominal <= self.high:
            raise ValueError(f"nominal must lie in [{self.low}, {self.high}], got {self.nominal}")


def checked(
    robot: str, properties: Mapping[str, Property], values: Mapping[str, float]
) -> dict[str, float]:
    """Return values of properties as floats.

    Args:
        robot: its name, for messages.
        properties: those that it has.
        values: what is asked for.

    Raises:
        TypeError: if the robot lacks a property.
        ValueError: if a value is not finite, or outside the property's limits.
    """
    found = {}
    for name, value in values.items():
        if name not in properties:
            raise TypeError(f"{robot} has no {name}; it has {', '.join(properties) or 'none'}")
        own = properties[name]
        if not (isfinite(value) and own.low <= value <= own.high):
            raise ValueError(
                f"{name} of {robot} must lie in [{own.low:g}, {own.high:g}] {own.unit}, got {value!r}"
            )
        found[name] = float(value)
    return found
