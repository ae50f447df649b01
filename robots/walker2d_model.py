"""The planar walker's body as numbers.

The geometry is that of `mjcf/walker2d.xml` in pybullet_data (the two-legged walker of OpenAI's MuJoCo tasks;
pybullet_data notes no licence for it), and a test holds the two together. The file gives all places in the world's
frame; here they are in the frame of the link, its joint at the origin, and the torso's in its middle.

MuJoCo's joint damping is kept. Its rotor inertia of 0.01 kg·m² at each joint (`armature`) is left out: PyBullet cannot
express it. The legs pass through each other, there as here.
"""

from __future__ import annotations

from math import pi, radians

from metamotor.robots.planar_model import Capsule, Link, PlanarModel

DENSITY = 1000.0
"""[kg/m³]."""
DAMPING = 0.1
"""Of each joint [N·m·s/rad]."""
TORQUE = 100.0
"""Of each motor, MuJoCo's gear [N·m]."""


def _leg(side: str) -> tuple[Link, Link, Link]:
    thigh, leg, foot = f"thigh{side}", f"leg{side}", f"foot{side}"
    return (
        Link(
            thigh, "torso", 0.0, -0.2, radians(-150), 0.0, DAMPING, TORQUE,
            Capsule(0.0, -0.225, 0.0, 0.225, 0.05),
        ),
        Link(
            leg, thigh, 0.0, -0.45, radians(-150), 0.0, DAMPING, TORQUE,
            Capsule(0.0, -0.25, 0.0, 0.25, 0.04),
        ),
        Link(
            foot, leg, 0.0, -0.5, radians(-45), radians(45), DAMPING, TORQUE,
            Capsule(0.1, 0.0, pi / 2, 0.1, 0.06),
        ),
    )  # fmt: skip


WALKER2D = PlanarModel(
    "walker2d",
    1.25,
    (Capsule(0.0, 0.0, 0.0, 0.2, 0.05),),
    (*_leg(""), *_leg("_left")),
    DENSITY,
    hinge_axis=-1,
)
"""The right leg, then the left one."""
