"""The half-cheetah's body as numbers.

The geometry is that of `mjcf/half_cheetah.xml` in pybullet_data (the model of Wawrzyński 2009 as OpenAI's MuJoCo
tasks drew it; pybullet_data notes no licence for it), and a test holds the two together. It is not loaded from there,
because PyBullet reads that file wrongly: it puts every centre of mass into the link's joint, takes the feet as
10 kg each, ignores the total mass of 14 kg, and makes two links of each, joined by a fixed joint, which costs a
fifth of the speed. Here masses, centres and moments of inertia are computed as MuJoCo does: capsules of one density
that add up to 14 kg.

MuJoCo's joint damping is kept. Its joint springs (they pull to the zero pose) are left out, since position motors take
their place; so is the 0.1 kg·m² of rotor inertia at each joint (`armature`), which PyBullet cannot express.
"""

from __future__ import annotations

from math import pi

from metamotor.robots.planar_model import Capsule, Link, PlanarModel

RADIUS = 0.046
"""Radius of every capsule [m]."""
TOTAL_MASS = 14.0
"""[kg]."""
ROOT_HEIGHT = 0.7
"""Height of the torso's middle when joint `rootz` is at zero [m]."""


def _capsule(x: float, z: float, angle: float, half_length: float) -> Capsule:
    return Capsule(x, z, angle, half_length, RADIUS)


TORSO = (_capsule(0.0, 0.0, pi / 2, 0.5), _capsule(0.6, 0.1, 0.87, 0.15))
"""Trunk and head."""
LINKS = (
    Link("bthigh", "torso", -0.5, 0.0, -0.52, 1.05, 6.0, 120.0, _capsule(0.1, -0.13, -3.8, 0.145)),
    Link("bshin", "bthigh", 0.16, -0.25, -0.785, 0.785, 4.5, 90.0, _capsule(-0.14, -0.07, -2.03, 0.15)),
    Link("bfoot", "bshin", -0.28, -0.14, -0.4, 0.785, 3.0, 60.0, _capsule(0.03, -0.097, -0.27, 0.094)),
    Link("fthigh", "torso", 0.5, 0.0, -1.5, 0.8, 4.5, 120.0, _capsule(-0.07, -0.12, 0.52, 0.133)),
    Link("fshin", "fthigh", -0.14, -0.24, -1.2, 1.1, 3.0, 60.0, _capsule(0.065, -0.09, -0.6, 0.106)),
    Link("ffoot", "fshin", 0.13, -0.18, -3.1, -0.3, 1.5, 30.0, _capsule(0.045, -0.07, -0.6, 0.07)),
)  # fmt: skip
"""Back and front leg, from the hip down."""

HALF_CHEETAH = PlanarModel(
    "half_cheetah",
    ROOT_HEIGHT,
    TORSO,
    LINKS,
    density=TOTAL_MASS
    / (sum(capsule.volume for capsule in TORSO) + sum(link.capsule.volume for link in LINKS)),
)
