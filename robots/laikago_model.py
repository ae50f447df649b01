"""The Laikago's body as numbers.

They are those of `laikago_description` in Unitree's unitree_ros, file `xacro/const.xacro` (facts alone: its package
file leaves the licence open; the model made of them here is our own), where the left and the right side are mirror
images and both segments of a leg are equally long. `laikago/laikago_toes_zup.urdf`
of pybullet_data describes the same robot within 1 % in mass and 1 cm in length, its joints' zeros elsewhere; a test
compares the two. Its meshes, used there by permission of Unitree, are not used here: shapes are primitives.

What differs from Unitree's file: toes are merged into the shanks; the trunk's products of inertia (below 2 g·m² beside
moments of 73 to 254) are dropped; the inertial unit's 1 g is left out.
"""

from __future__ import annotations

from math import radians

from metamotor.robots.quadruped_model import Body, Part, joined
from metamotor.robots.trot import Leg, reach

TOE_RADIUS = 0.0265
"""[m]."""
KNEE = (radians(-159.0), radians(-35.0))
"""Limits of the knees [rad]."""

LAIKAGO = Body(
    name="laikago",
    leg=Leg(
        hip_x=0.21935,
        hip_y=0.0875,
        abduction=0.037,
        thigh=0.25,
        shank=0.25,
        shortest=reach(0.25, 0.25, KNEE[0]),
        longest=reach(0.25, 0.25, KNEE[1]),
        height=0.4,
    ),
    limits=((radians(-50.0), radians(60.0)), (radians(-30.0), radians(225.0)), KNEE),
    trunk=Part(13.733, (0.002284, -0.000041, 0.025165), (0.073348887, 0.250684593, 0.254469458)),
    hip=Part(
        1.096,
        (-0.001568, -0.008134, 0.000864),
        (0.000822113, 0.000983196, 0.000864753),
        (-0.000004982, -0.00003672, 0.000002811),
    ),
    thigh=Part(
        1.528,
        (-0.000482, 0.02001, -0.031996),
        (0.00991611, 0.009280083, 0.00178256),
        (0.000010388, 0.000250428, -0.00008511),
    ),
    shank=joined(
        (
            Part(
                0.241,
                (-0.002196, -0.000381, -0.12338),
                (0.006181961, 0.006196546, 0.000034774),
                (0.000000237, -0.000002985, 0.000005138),
            ),
            # The toe is a ball.
            Part(0.06, (0.0, 0.0, -0.25), (0.4 * 0.06 * TOE_RADIUS**2,) * 3),
        )
    ),
    toe_radius=TOE_RADIUS,
    trunk_size=(0.5616, 0.172, 0.1875),
    trunk_middle=(0.0, 0.0, 0.01675),
    payload_size=(0.3, 0.15, 0.1),
)
