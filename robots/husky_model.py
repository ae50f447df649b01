"""The Husky's body as numbers, and the URDF made of them.

Masses, places and moments of inertia are those of `husky/husky.urdf` in pybullet_data, under the BSD licence of
Clearpath Robotics that its header states; a test holds the two together. What differs, and why:

* Meshes are left out, and with them bumpers, rail and plates, which have no mass in the file; the engine would give
  each of them 1 kg, 6 kg in all. The chassis is drawn as the box that it collides with in the file.
* A wheel touches the ground as a ball of its radius does, in one point: a cylinder's rim makes the engine drop and find
  contacts from step to step, so that the robot shakes and turns half as fast as it should, at a third of the speed.
* Only the wheels collide.
* The file gives the wheel's greatest moment to its z axis, but the wheel turns about y; here it is the moment about y.
* The chassis' products of inertia (up to 0.12 kg·m² beside moments of 0.6 to 2.0) are dropped; with them the engine
  would turn the base's frame into the principal axes, by 5°.
* A box on the top plate holds a payload: a link of its own, because the engine cannot move a centre of mass.
"""

from __future__ import annotations

from metamotor.robots.boxes import box_inertia

CHASSIS_MASS = 33.455
"""[kg]."""
CHASSIS_CENTRE = (-0.08748, -0.00085, 0.09947)
"""Centre of mass in the frame of `base_link`, on the bottom plate [m]."""
CHASSIS_INERTIA = (0.6022, 1.7386, 2.0296)
"""Moments about the centre of mass [kg·m²]."""
CHASSIS_SIZE = (1.0074, 0.5709, 0.2675)
"""Of the box that is drawn [m]."""
CHASSIS_MIDDLE = (0.0, 0.0, 0.12498)
"""Of the same [m]."""
WHEEL_MASS = 2.637
"""[kg]."""
WHEEL_INERTIA = (0.02467, 0.04411, 0.02467)
"""Moments about the middle [kg·m²]; the wheel turns about y."""
WHEEL_RADIUS = 0.17775
"""[m]."""
WHEEL_WIDTH = 0.1143
"""[m]."""
WHEEL_PLACES = {
    "front_left_wheel": (0.256, 0.2854, 0.03282),
    "front_right_wheel": (0.256, -0.2854, 0.03282),
    "rear_left_wheel": (-0.256, 0.2854, 0.03282),
    "rear_right_wheel": (-0.256, -0.2854, 0.03282),
}
"""Joint of each wheel, and where it is [m]."""
PAYLOAD = "payload"
"""Name of the payload's link and of its fixed joint."""
PAYLOAD_SIZE = (0.4, 0.3, 0.2)
"""Length, width and height of the box that holds the payload [m]."""
PAYLOAD_PLACE = (0.0, 0.0, 0.35)
"""Middle of the box: it stands on the top plate [m]."""


def urdf() -> str:
    """Return the model as the text of a URDF."""
    parts = [
        '<link name="base_link">',
        _inertial(CHASSIS_MASS, CHASSIS_CENTRE, CHASSIS_INERTIA),
        f'<visual><origin xyz="{_text(CHASSIS_MIDDLE)}"/><geometry><box size="{_text(CHASSIS_SIZE)}"/></geometry>',
        '<material name="yellow"><color rgba="0.8 0.7 0.1 1"/></material></visual></link>',
    ]
    for name, place in WHEEL_PLACES.items():
        parts += [
            f'<joint name="{name}" type="continuous"><parent link="base_link"/><child link="{name}_link"/>',
            f'<origin xyz="{_text(place)}"/><axis xyz="0 1 0"/></joint>',
            f'<link name="{name}_link">',
            _inertial(WHEEL_MASS, (0.0, 0.0, 0.0), WHEEL_INERTIA),
            f'<visual><origin rpy="1.5707963 0 0"/><geometry><cylinder radius="{WHEEL_RADIUS}" ',
            f'length="{WHEEL_WIDTH}"/></geometry>',
            '<material name="dark"><color rgba="0.2 0.2 0.2 1"/></material></visual>',
            f'<collision><geometry><sphere radius="{WHEEL_RADIUS}"/></geometry></collision></link>',
        ]
    parts += [
        f'<joint name="{PAYLOAD}" type="fixed"><parent link="base_link"/><child link="{PAYLOAD}"/>',
        f'<origin xyz="{_text(PAYLOAD_PLACE)}"/></joint><link name="{PAYLOAD}">',
        # What it weighs is set later.
        _inertial(1.0, (0.0, 0.0, 0.0), box_inertia(1.0, PAYLOAD_SIZE)),
        f'<visual><geometry><box size="{_text(PAYLOAD_SIZE)}"/></geometry></visual></link>',
    ]
    return f'<robot name="husky">{"".join(parts)}</robot>'


def _inertial(
    mass: float, centre: tuple[float, float, float], moments: tuple[float, float, float]
) -> str:
    xx, yy, zz = moments
    return (
        f'<inertial><origin xyz="{_text(centre)}"/><mass value="{mass}"/>'
        f'<inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )


def _text(numbers: tuple[float, float, float]) -> str:
    return " ".join(map(str, numbers))
