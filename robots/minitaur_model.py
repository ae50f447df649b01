"""The Minitaur's body as numbers, its five-bar legs, and the URDF made of them.

The numbers are those of `quadruped/minitaur.urdf` in pybullet_data (BSD-style licence, Erwin Coumans and Google
2017): the trunk's box of 3 kg, two side rails of 0.1 kg, eight motors of 0.25 kg, sixteen leg links of 50 g; hips,
link lengths and sizes. That file itself is not loaded. Its moments of inertia are placeholders (1 kg·m² for every
link), and its legs are closed by point-to-point constraints, with which a physics step took 320 µs here and knees
came apart by up to 4 mm.

A leg is two motors on one axis; each turns an upper link, and two lower links from their ends meet at the foot. When
both upper links stand off the leg's own direction by the same angle ψ, the foot is at the distance

    r = a cos ψ + √(b² − a² sin² ψ),        dr/dψ = −a r sin ψ / (r − a cos ψ),

a and b being the lengths of upper and lower link. So a leg has the same two degrees of freedom as a hinge (the angle
s at which it swings) with a slider (r): that is what the engine simulates. The motors' angles are s + ψ (front link)
and s − ψ (rear link), and by virtual work their torques τ_f and τ_r turn the hinge by τ_f + τ_r and push the slider
by (τ_f − τ_r) / (dr/dψ). What this leaves out is how the links' masses move about within the leg, 0.2 kg of them: the
upper links' mass sits in the hip, with their moment of inertia at ψ = 90°, and the lower links' on the way to the
foot. The side rails' tilt of 5° and the inertia of the rotors, which the file does not have either, are left out as
well.
"""

from __future__ import annotations

from math import acos, cos, sin, sqrt

BODY_MASS = 3.0
"""Of the trunk's box [kg]."""
BODY_SIZE = (0.33, 0.1, 0.07)
"""Length, width and height of the box [m]."""
RAIL_MASS = 0.1
"""Of each side rail [kg]."""
RAIL_LENGTH = 0.34
"""Of a side rail [m]."""
MOTOR_MASS = 0.25
"""Of each of the eight motors [kg]."""
LINK_MASS = 0.05
"""Of each of a leg's four links [kg]."""
HIP_X = 0.21
"""How far the hips are before or behind the middle [m]."""
HIP_Y = 0.1
"""How far they are beside it [m]."""
MOTOR_OFFSETS = (0.025, -0.04)
"""How far a leg's two motors sit beside its rail's middle [m]."""
UPPER = 0.115
"""a [m]."""
LOWER = 0.2
"""b [m]."""
TOE_RADIUS = 0.01
"""[m]."""
SHORTEST, LONGEST = 0.1, 0.3
"""Limits of the distance r from hip to foot [m]; the five-bar's own are 0.085 and 0.315, where it cannot push."""
CENTRE = 0.08
"""How far above the foot the lower links' centre of mass is [m]: half of r when ψ is 90°."""
LEGS = {
    "front_left": (1, 1),
    "rear_left": (-1, 1),
    "front_right": (1, -1),
    "rear_right": (-1, -1),
}
"""Legs, and on which side of the middle each is: forwards, to the left."""
TRUNK_MASS = BODY_MASS + 2 * RAIL_MASS + 8 * MOTOR_MASS
"""[kg]."""
MASS = TRUNK_MASS + 16 * LINK_MASS
"""Without payload [kg]."""
PAYLOADS = {"payload_left": 1, "payload_right": -1}
"""Links and fixed joints that hold the payload, and on which side each is."""
PAYLOAD_Y = 0.15
"""How far they are beside the middle [m]."""
PAYLOAD_Z = 0.05
"""How far they are above it [m]."""
PAYLOAD_RADIUS = 0.03
"""Of the ball that a payload is taken for [m]."""


def distance(angle: float) -> float:
    """Return r [m] at ψ [rad]."""
    return UPPER * cos(angle) + sqrt(LOWER**2 - (UPPER * sin(angle)) ** 2)


def half_angle(r: float) -> float:
    """Return ψ [rad] at r [m]."""
    return acos(min(max((r * r + UPPER**2 - LOWER**2) / (2 * UPPER * r), -1.0), 1.0))


def slope(angle: float, r: float) -> float:
    """Return dr/dψ [m/rad] at ψ [rad] and r [m], which belong together."""
    return -UPPER * r * sin(angle) / (r - UPPER * cos(angle))


def trunk_inertia() -> tuple[float, float, float]:
    """Return the trunk's moments of inertia: a box, two rods and eight points [kg·m²]."""
    x, y, z = BODY_SIZE
    across = 4 * MOTOR_MASS * sum((HIP_Y + offset) ** 2 for offset in MOTOR_OFFSETS)
    across += 2 * RAIL_MASS * HIP_Y**2
    along = 8 * MOTOR_MASS * HIP_X**2 + 2 * RAIL_MASS * RAIL_LENGTH**2 / 12
    return (
        BODY_MASS * (y * y + z * z) / 12 + across,
        BODY_MASS * (x * x + z * z) / 12 + along,
        BODY_MASS * (x * x + y * y) / 12 + along + across,
    )


def payload_inertia(mass: float) -> tuple[float, float, float]:
    """Return the moments of inertia of a payload on one side [kg·m²]."""
    moment = 0.4 * mass * PAYLOAD_RADIUS**2
    return (moment, moment, moment)


def urdf() -> str:
    """Return the model as the text of a URDF: for each leg a hinge that swings it forwards, and a slider downwards."""
    x, y, z = BODY_SIZE
    shapes = _shape("visual", "0 0 0", f'<box size="{x} {y} {z}"/>', "0.25 0.25 0.3 1")
    for side in (1, -1):
        rail = f'<box size="{RAIL_LENGTH} 0.08 0.04"/>'
        shapes += _shape("visual", f"0 {side * HIP_Y} 0", rail, "0.65 0.65 0.75 1")
    # What touches the ground when it has fallen.
    hull = f'<box size="{2 * HIP_X} {2 * HIP_Y} {z}"/>'
    shapes += f"<collision><geometry>{hull}</geometry></collision>"
    parts = [f'<link name="trunk">{_inertial(TRUNK_MASS, 0.0, trunk_inertia())}{shapes}</link>']
    rods = 2 * LINK_MASS * UPPER**2 / 3
    lower = 2 * LINK_MASS * LOWER**2 / 12
    for leg, (front, left) in LEGS.items():
        hip = f"{front * HIP_X} {left * HIP_Y} 0"
        motor = _shape("visual", "0 0 0", '<sphere radius="0.043"/>', "0.9 0.9 0.9 1")
        shank = f'<box size="0.015 0.015 {2 * CENTRE}"/>'
        toe = f'<sphere radius="{TOE_RADIUS}"/>'
        colour = "0.9 0.4 0.1 1" if front > 0 else "0.2 0.4 0.8 1"
        foot = _shape("visual", f"0 0 {CENTRE}", shank, colour)
        foot += f"<collision><geometry>{toe}</geometry></collision>"
        parts += [
            _joint(f"{leg}_swing", "revolute", "trunk", f"{leg}_hip", hip, "0 -1 0", -1.5, 1.5),
            f'<link name="{leg}_hip">{_inertial(2 * LINK_MASS, 0.0, (rods, rods, rods))}{motor}</link>',
            _joint(
                f"{leg}_reach",
                "prismatic",
                f"{leg}_hip",
                f"{leg}_foot",
                "0 0 0",
                "0 0 -1",
                SHORTEST,
                LONGEST,
            ),
            f'<link name="{leg}_foot">{_inertial(2 * LINK_MASS, CENTRE, (lower, lower, lower))}{foot}</link>',
        ]
    for name, left in PAYLOADS.items():
        ball = _shape("visual", "0 0 0", f'<sphere radius="{PAYLOAD_RADIUS}"/>', "0.2 0.7 0.3 1")
        parts.append(
            f'<joint name="{name}" type="fixed"><parent link="trunk"/><child link="{name}"/>'
            f'<origin xyz="0 {left * PAYLOAD_Y} {PAYLOAD_Z}"/></joint>'
            f'<link name="{name}">{_inertial(1.0, 0.0, payload_inertia(1.0))}{ball}</link>'
        )
    return f'<robot name="minitaur">{"".join(parts)}</robot>'


def _shape(use: str, place: str, shape: str, colour: str) -> str:
    return (
        f'<{use}><origin xyz="{place}"/><geometry>{shape}</geometry>'
        f'<material name="{colour}"><color rgba="{colour}"/></material></{use}>'
    )


def _joint(
    name: str, kind: str, parent: str, child: str, at: str, axis: str, low: float, high: float
) -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{at}"/><axis xyz="{axis}"/>'
        f'<limit lower="{low}" upper="{high}" effort="500" velocity="100"/></joint>'
    )


def _inertial(mass: float, z: float, moments: tuple[float, float, float]) -> str:
    xx, yy, zz = moments
    return (
        f'<inertial><origin xyz="0 0 {z}"/><mass value="{mass}"/>'
        f'<inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )
