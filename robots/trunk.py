"""How the trunk of a robot that stands on legs is held and moves, told as the robot itself would sense it."""

from __future__ import annotations

from math import asin, atan2
from typing import NamedTuple

from metamotor.robots.simulator import BaseState, Vector


class TrunkState(NamedTuple):
    """How the trunk is held and moves."""

    position: Vector
    """Of its centre of mass, in the world's frame [m]."""
    roll: float
    """To the right [rad]; the turns are yaw, then pitch, then roll."""
    pitch: float
    """Nose down [rad]."""
    yaw: float
    """To the left, in (−π, π] [rad]."""
    uprightness: float
    """Cosine of the angle between the trunk's and the world's vertical."""
    velocity: Vector
    """Of its centre of mass, in the trunk's frame: forwards, left, up [m/s]."""
    angular_velocity: Vector
    """In the trunk's frame [rad/s]."""


def trunk_state(base: BaseState) -> TrunkState:
    """Return it for the state of a body's base."""
    position, (x, y, z, w), velocity, turning = base
    # The columns of the rotation matrix are the trunk's axes in the world's frame.
    xx, xy, xz = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    yx, yy, yz = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
    zx, zy, zz = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
    vx, vy, vz = velocity
    wx, wy, wz = turning
    return TrunkState(
        position=position,
        roll=atan2(yz, zz),
        pitch=-asin(min(max(xz, -1.0), 1.0)),
        yaw=atan2(xy, xx),
        uprightness=zz,
        velocity=(
            xx * vx + xy * vy + xz * vz,
            yx * vx + yy * vy + yz * vz,
            zx * vx + zy * vy + zz * vz,
        ),
        angular_velocity=(
            xx * wx + xy * wy + xz * wz,
            yx * wx + yy * wy + yz * wz,
            zx * wx + zy * wy + zz * wz,
        ),
    )
