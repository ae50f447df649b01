"""A small quadrotor's body as numbers, and the URDF made of them.

The model is our own; none ships with pybullet_data. Four motors sit at the corners of a square (an X, seen along the
direction of flight), at the ends of arms that weigh nothing, around a box with battery and electronics. Of 0.5 kg and
0.17 m from middle to motor, it is of the size of the AscTec Hummingbird, and its moments of inertia, computed from box
and points, come out within 6 % of the 3.65, 3.68 and 7.03 g·m² that RotorPy lists for that one.

Below the box hangs a square tray for a payload. The engine cannot move a centre of mass, so that each corner of the
tray is a link whose mass can be set: a payload at (x, y) is shared between the corners in such a way that mass and
centre of mass are exactly its own.
"""

from __future__ import annotations

BODY_MASS = 0.28
"""Of the box in the middle [kg]."""
BODY_SIZE = (0.1, 0.1, 0.05)
"""Of that box: length, width and height [m]."""
MOTOR_MASS = 0.055
"""Of each motor with propeller and arm, taken as a point [kg]."""
MASS = BODY_MASS + 4 * MOTOR_MASS
"""Without payload [kg]."""
REACH = 0.12
"""How far each rotor is in front of or behind, and beside the middle [m]."""
PROPELLER_RADIUS = 0.1
"""As drawn [m]."""
ROTORS = {
    "front_left": (REACH, REACH, 1),
    "front_right": (REACH, -REACH, -1),
    "rear_left": (-REACH, REACH, -1),
    "rear_right": (-REACH, -REACH, 1),
}
"""Place of each rotor, forwards and to the left [m], and the sense of the torque about the vertical, upwards, that
its drag puts on the body: neighbours turn in opposite senses."""
TRAY = 0.05
"""Half the side of the tray [m]."""
TRAY_DROP = 0.035
"""How far the tray is below the middle [m]."""
CORNERS = {
    "payload_front_left": (1, 1),
    "payload_front_right": (1, -1),
    "payload_rear_left": (-1, 1),
    "payload_rear_right": (-1, -1),
}
"""Corners of the tray: the names of their links and fixed joints, and on which side they are."""
WEIGHT_RADIUS = 0.01
"""Of the ball that the payload in a corner is taken for [m]."""


def inertia(scale: float = 1.0) -> tuple[float, float, float]:
    """Return the moments of inertia about the middle, without payload [kg·m²].

    Args:
        scale: of all masses.
    """
    x, y, z = BODY_SIZE
    motors = 4 * MOTOR_MASS * REACH * REACH
    return (
        scale * (BODY_MASS * (y * y + z * z) / 12 + motors),
        scale * (BODY_MASS * (x * x + z * z) / 12 + motors),
        scale * (BODY_MASS * (x * x + y * y) / 12 + 2 * motors),
    )


def weight_inertia(mass: float) -> tuple[float, float, float]:
    """Return the moments of inertia of the ball in a corner of the tray [kg·m²]."""
    moment = 0.4 * mass * WEIGHT_RADIUS**2
    return (moment, moment, moment)


def shares(mass: float, x: float, y: float) -> tuple[float, ...]:
    """Return what lies in each corner of the tray if a payload lies at (x, y) [m] on it, in the order of `CORNERS`."""
    return tuple(
        mass * (1 + front * x / TRAY) * (1 + left * y / TRAY) / 4
        for front, left in CORNERS.values()
    )


def urdf() -> str:
    """Return the model as the text of a URDF, all links in the axes of the body: forwards, left, up."""
    x, y, z = BODY_SIZE
    arm = 2 * REACH * 2**0.5
    shapes = [_visual("0 0 0", "0 0 0", f'<box size="{x} {y} {z}"/>', "0.2 0.2 0.25 1")]
    for turn in (0.7853981633974483, -0.7853981633974483):
        bar = f'<box size="{arm} 0.02 0.015"/>'
        shapes.append(_visual("0 0 0", f"0 0 {turn}", bar, "0.5 0.5 0.55 1"))
    for name, (forwards, left, _) in ROTORS.items():
        disc = f'<cylinder radius="{PROPELLER_RADIUS}" length="0.005"/>'
        colour = "0.9 0.3 0.1 1" if name.startswith("front") else "0.2 0.4 0.9 1"
        shapes.append(_visual(f"{forwards} {left} 0.03", "0 0 0", disc, colour))
    side = 2 * (REACH + PROPELLER_RADIUS)
    box = f'<collision><geometry><box size="{side} {side} {z}"/></geometry></collision>'
    parts = [f'<link name="body">{_inertial(MASS, inertia())}{"".join(shapes)}{box}</link>']
    for name, (front, left) in CORNERS.items():
        parts.append(
            f'<joint name="{name}" type="fixed"><parent link="body"/><child link="{name}"/>'
            f'<origin xyz="{front * TRAY} {left * TRAY} {-TRAY_DROP}"/></joint>'
            f'<link name="{name}">{_inertial(1.0, weight_inertia(1.0))}</link>'
        )
    return f'<robot name="quadrotor">{"".join(parts)}</robot>'


def _visual(place: str, turn: str, shape: str, colour: str) -> str:
    return (
        f'<visual><origin xyz="{place}" rpy="{turn}"/><geometry>{shape}</geometry>'
        f'<material name="{colour}"><color rgba="{colour}"/></material></visual>'
    )


def _inertial(mass: float, moments: tuple[float, float, float]) -> str:
    xx, yy, zz = moments
    return (
        f'<inertial><mass value="{mass}"/><inertia ixx="{xx}" iyy="{yy}" izz="{zz}" '
        'ixy="0" ixz="0" iyz="0"/></inertial>'
    )
