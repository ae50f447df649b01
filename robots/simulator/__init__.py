"""The physics engine behind one typed object; the only code that calls PyBullet.

A `Simulator` is one physics client. It loads models once and from then on only sets states, because a reload costs
milliseconds and a state a few microseconds. Everything it does is deterministic to the last bit, in whatever process
and after whatever went before: PyBullet is asked for a fixed order of contact pairs, and `Simulator.forget_contacts`
clears what the engine would otherwise carry from one episode to the next.

Units are SI throughout: metres, radians, seconds, kilograms, newtons and newton metres.
"""

from __future__ import annotations

from metamotor.robots.simulator.client import GRAVITY, Simulator, data_path
from metamotor.robots.simulator.closing import Closing
from metamotor.robots.simulator.joints import Joints
from metamotor.robots.simulator.physics import FreeBody, JointGroup, JointState, Physics
from metamotor.robots.simulator.state import BaseState, BodyState, Camera, Snapshot, Vector
from metamotor.robots.simulator.terrain import HIGHEST_TERRAIN, TERRAIN_COUNT, TERRAIN_SPACING

__all__ = [
    "GRAVITY",
    "HIGHEST_TERRAIN",
    "TERRAIN_COUNT",
    "TERRAIN_SPACING",
    "BaseState",
    "BodyState",
    "Camera",
    "Closing",
    "FreeBody",
    "JointGroup",
    "JointState",
    "Joints",
    "Physics",
    "Simulator",
    "Snapshot",
    "Vector",
    "data_path",
]
