"""Poses in plain floats; PyBullet's own functions for them round to single precision."""

from __future__ import annotations

from metamotor.robots.simulator.state import Quaternion, Vector

Pose = tuple[Vector, Quaternion]
"""Where something is [m], and how it is turned."""

NOWHERE: Pose = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
"""The pose of a frame in itself."""


def turned_by(first: Quaternion, second: Quaternion) -> Quaternion:
    """Return the rotation that is `second`, then `first`."""
    x, y, z, w = first
    a, b, c, d = second
    return (
        w * a + x * d + y * c - z * b,
        w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d,
        w * d - x * a - y * b - z * c,
    )


def back(turn: Quaternion) -> Quaternion:
    """Return the rotation that undoes one."""
    x, y, z, w = turn
    return -x, -y, -z, w


def turned(turn: Quaternion, vector: Vector) -> Vector:
    """Return a vector after a rotation."""
    x, y, z, _ = turned_by(turned_by(turn, (*vector, 0.0)), back(turn))
    return x, y, z


def within(outer: Pose, inner: Pose) -> Pose:
    """Return a pose that is given in a frame, `inner`, in the frame that the frame's pose, `outer`, is given in."""
    (x, y, z), turn = outer
    a, b, c = turned(turn, inner[0])
    return (x + a, y + b, z + c), turned_by(turn, inner[1])


def seen_from(frame: Pose, pose: Pose) -> Pose:
    """Return a pose in a frame, both given in the same one."""
    undo = back(frame[1])
    x, y, z = (own - origin for own, origin in zip(pose[0], frame[0], strict=True))
    return turned(undo, (x, y, z)), turned_by(undo, pose[1])
