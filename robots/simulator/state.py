"""Plain values that pass in and out of the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""x, y, z, w."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at a point from a distance."""

    target: Vector
    """Point in the middle of the frame [m]."""
    distance: float
    """Distance from the target [m]."""
    yaw: float
    """Rotation about the vertical axis [deg]; 0 looks along +y."""
    pitch: float
    """Elevation [deg]; negative looks down."""
    field_of_view: float = 50.0
    """Vertical field of view [deg]."""


class BaseState(NamedTuple):
    """Where the base of a body is and how it moves."""

    position: Vector
    """[m]."""
    orientation: Quaternion
    linear_velocity: Vector
    """[m/s]."""
    angular_velocity: Vector
    """[rad/s]."""


@dataclass(frozen=True)
class BodyState:
    """Where a body is and how it moves."""

    base: BaseState
    joint_positions: tuple[float, ...]
    """[rad] or [m]."""
    joint_velocities: tuple[float, ...]
    """[rad/s] or [m/s]."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a whole simulator: plain numbers, usable in any simulator of the same bodies."""

    bodies: tuple[BodyState, ...]
    commands: tuple[tuple[float, ...] | None, ...]
    """The last command of each group of joints; None where none was given."""
