"""The Mini Cheetah's body as numbers.

They are those of MIT's Cheetah-Software (MIT License), `common/include/Dynamics/MiniCheetah.h`: masses, centres and
moments from CAD, lengths, gear ratios and rotors (Katz, Di Carlo and Kim 2019, A Platform for Pushing the Limits of
Dynamic Quadruped Control). The model made of them here is our own, and its shapes are primitives. The file
`mini_cheetah/mini_cheetah.urdf` of pybullet_data, which notes no licence, describes the same robot; a test compares the
two. That file puts a shank's centre of mass below the toe, adds 150 g to each toe, and has no rotors.

What differs from MIT's numbers: a motor's rotor, 55 g, is part of the link that carries it; products of inertia (0.25
g·m² at most beside the 1 to 43 of trunk and thighs) are dropped; the 0.195 m from knee to ground are a shank of 0.18 m
with a ball of 0.015 m at its end, as in PyBullet's file. Joints turn about the y axis as those of the other quadrupeds,
where MIT's turn the other way. A rotor turns as many times faster as the gear says, so that a joint feels its moment
of inertia times the ratio squared (`REFLECTED`): ten times what the shank itself has about the knee.
"""

from __future__ import annotations

from dataclasses import replace

from metamotor.robots.quadruped_model import Body, Part, joined
from metamotor.robots.simulator import Vector
from metamotor.robots.trot import Leg, reach

GEARS = (6.0, 6.0, 9.33)
"""Of hip, thigh and knee."""
MOTOR_TORQUE = 3.0
"""Greatest torque of a motor before its gear [N·m]."""
ROTOR_MASS = 0.055
"""[kg]."""
ROTOR_ABOUT, ROTOR_ACROSS = 63e-6, 33e-6
"""Moments of inertia of a rotor about its axis and across it [kg·m²]."""
REFLECTED = tuple(ratio**2 * ROTOR_ABOUT for ratio in GEARS)
"""What hip, thigh and knee feel of their rotors [kg·m²]."""
SHANK_OUTWARDS = 0.004
"""How much farther outwards the shank is than the thigh's joint [m]."""
THIGH, SHANK = 0.209, 0.18
"""[m]."""
KNEE = (-2.7, -0.3)
"""Limits of the knees: as far as MIT's code folds them, and not stretched; the file has none [rad]."""


def rotor(centre: Vector, *, about_x: bool = False) -> Part:
    """Return a rotor that turns about the y axis, or about the x axis; its middle is there [m]."""
    about, across = ROTOR_ABOUT, ROTOR_ACROSS
    moments = (about, across, across) if about_x else (across, about, across)
    return Part(ROTOR_MASS, centre, moments)


def _straight(*parts: Part) -> Part:
    """Return parts as one, without products of inertia."""
    return replace(joined(parts), products=(0.0, 0.0, 0.0))


MINI_CHEETAH = Body(
    name="mini_cheetah",
    leg=Leg(
        hip_x=0.19,
        hip_y=0.049,
        abduction=0.062 + SHANK_OUTWARDS,
        thigh=THIGH,
        shank=SHANK,
        shortest=reach(THIGH, SHANK, KNEE[0]),
        longest=reach(THIGH, SHANK, KNEE[1]),
        height=0.27,
    ),
    limits=((-1.5, 1.5), (-3.1, 3.1), KNEE),
    trunk=_straight(
        Part(3.3, (0.0, 0.0, 0.0), (0.011253, 0.036203, 0.042673)),
        *(rotor((x, y, 0.0), about_x=True) for x in (0.125, -0.125) for y in (0.049, -0.049)),
    ),
    hip=_straight(
        Part(0.54, (0.0, 0.036, 0.0), (0.000381, 0.00056, 0.000444)),
        rotor((0.0, 0.04, 0.0)),
    ),
    # Thigh and shank are told from a joint that is 4 mm farther outwards.
    thigh=_straight(
        Part(0.634, (0.0, 0.016 - SHANK_OUTWARDS, -0.02), (0.001983, 0.002103, 0.000408)),
        rotor((0.0, -SHANK_OUTWARDS, 0.0)),
    ),
    shank=Part(0.064, (0.0, -SHANK_OUTWARDS, -0.061), (0.000245, 0.000248, 0.000006)),
    toe_radius=0.015,
    trunk_size=(0.38, 0.098, 0.1),
    trunk_middle=(0.0, 0.0, 0.0),
    payload_size=(0.2, 0.1, 0.08),
)
