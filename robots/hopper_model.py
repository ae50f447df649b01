"""The hopper's body as numbers.

The geometry is that of `mjcf/hopper.xml` in pybullet_data (the one-legged hopper of OpenAI's MuJoCo tasks;
pybullet_data notes no licence for it), and a test holds the two together. The file gives all places in the world's
frame; here they are in the frame of the link, its joint at the origin, and the torso's in its middle. Links have
MuJoCo's density where a file names none.

MuJoCo's joint damping is kept. Its rotor inertia of 1 kg·m² at each joint (`armature`), several times that of a leg
about the hip, is left out: PyBullet cannot express it.
"""

from __future__ import annotations

from math import pi, radians

from metamotor.robots.planar_model import Capsule, Link, PlanarModel

DENSITY = 1000.0
"""[kg/m³]."""
DAMPING = 1.0
"""Of each joint [N·m·s/rad]."""
TORQUE = 200.0
"""Of each motor, MuJoCo's gear [N·m]."""

HOPPER = PlanarModel(
    "hopper",
    1.25,
    (Capsule(0.0, 0.0, 0.0, 0.2, 0.05),),
    (
        Link(
            "thigh", "torso", 0.0, -0.2, radians(-150), 0.0, DAMPING, TORQUE,
            Capsule(0.0, -0.225, 0.0, 0.225, 0.05),
        ),
        Link(
            "leg", "thigh", 0.0, -0.45, radians(-150), 0.0, DAMPING, TORQUE,
            Capsule(0.0, -0.25, 0.0, 0.25, 0.04),
        ),
        Link(
            "foot", "leg", 0.0, -0.5, radians(-45), radians(45), DAMPING, TORQUE,
            Capsule(0.065, 0.0, pi / 2, 0.195, 0.06),
        ),
    ),
    DENSITY,
    hinge_axis=-1,
)  # fmt: skip
