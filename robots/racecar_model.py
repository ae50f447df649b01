"""The racecar's body as numbers, and the URDF made of them.

Masses and places are those of `racecar/racecar.urdf` in pybullet_data (the MIT racecar of its Gazebo simulation;
pybullet_data notes no licence for it, and none of its meshes is used); a test holds the two together. What differs:

* Six joints are left, those that steer or roll. Chassis, laser and the 0.2 kg of massless frames become one link; the
  camera's frames, 10 mg each, are left out. The frames' moments of inertia in the file are copies of the chassis',
  forty times as heavy, and are left out.
* A wheel touches the ground as a ball of its radius does, in one point; see `husky_model`. Only the wheels collide.
* The file turns the frames of wheels and hinges; here all axes are the chassis', the same places and moments given.
* The right hinge has no limits in the file (it is continuous); here it has those of the left one.
"""

from __future__ import annotations

WHEEL_RADIUS = 0.05
"""[m]."""
WHEEL_WIDTH = 0.045
"""[m]."""
WHEEL_MASS = 0.34055
"""[kg]."""
WHEEL_INERTIA = (0.00026046, 0.00041226, 0.00026046)
"""Moments about the middle [kg·m²]; the wheel turns about y."""
WHEELBASE = 0.325
"""From the rear axle to the front one [m]."""
HINGE_Y = 0.1
"""Distance of hinges and wheel joints from the middle, sideways [m]."""
WHEEL_Y = 0.0225
"""From there outwards to the middle of the wheel [m]."""
HINGE_MASS = 0.1
"""[kg]."""
HINGE_INERTIA = 4e-6
"""[kg·m²]."""
STEERING_LIMIT = 1.0
"""Of the hinges [rad]."""
PARTS = ((0.2, 0.0, 0.0), (4.0, 0.1477, 0.0), (0.13, 0.265, 0.075))
"""Mass [kg] of frames, chassis and laser, and where it is, forwards of and above the rear axle [m, m]."""
CHASSIS_INERTIA = (0.010609, 0.050409, 0.05865)
"""Moments of the chassis about its own centre of mass [kg·m²]."""
CHASSIS_SIZE = (0.42, 0.16, 0.06)
"""Of the box that is drawn [m]."""

CHASSIS_MASS = sum(mass for mass, _, _ in PARTS)
"""Of all parts [kg]."""
CHASSIS_X = sum(mass * x for mass, x, _ in PARTS) / CHASSIS_MASS
"""Their common centre of mass, forwards of the rear axle [m]."""
CHASSIS_Z = sum(mass * z for mass, _, z in PARTS) / CHASSIS_MASS
"""The same, above the axles [m]."""


def chassis_inertia() -> tuple[float, float, float]:
    """Return the moments of all parts about their common centre of mass [kg·m²].

    The products, 1 % of the smallest moment, are left out: with them the engine would turn the base's frame.
    """
    xx, yy, zz = CHASSIS_INERTIA
    for mass, x, z in PARTS:
        # The parallel axis theorem.
        along, up = x - CHASSIS_X, z - CHASSIS_Z
        xx += mass * up * up
        yy += mass * (along * along + up * up)
        zz += mass * along * along
    return xx, yy, zz


def urdf() -> str:
    """Return the model as the text of a URDF; its frame is in the middle of the rear axle."""
    length, width, height = CHASSIS_SIZE
    parts = [
        '<link name="chassis">',
        _inertial(CHASSIS_MASS, f"{CHASSIS_X} 0 {CHASSIS_Z}", chassis_inertia()),
        f'<visual><origin xyz="{WHEELBASE / 2} 0 0.02"/><geometry><box size="{length} {width} {height}"/>',
        '</geometry><material name="blue"><color rgba="0.1 0.2 0.8 1"/></material></visual></link>',
    ]
    for side, sign in (("left", 1), ("right", -1)):
        hinge, place = f"{side}_steering_hinge", f"{WHEELBASE} {sign * HINGE_Y} 0"
        limit = f'<limit lower="-{STEERING_LIMIT}" upper="{STEERING_LIMIT}" effort="10" velocity="100"/>'
        parts += [
            f'<joint name="{hinge}_joint" type="revolute"><parent link="chassis"/><child link="{hinge}"/>',
            f'<origin xyz="{place}"/><axis xyz="0 0 1"/>{limit}</joint><link name="{hinge}">',
            _inertial(HINGE_MASS, "0 0 0", (HINGE_INERTIA,) * 3),
            "</link>",
            _wheel(f"{side}_front_wheel", hinge, "0 0 0", sign),
            _wheel(f"{side}_rear_wheel", "chassis", f"0 {sign * HINGE_Y} 0", sign),
        ]
    return f'<robot name="racecar">{"".join(parts)}</robot>'


def _wheel(name: str, parent: str, place: str, sign: int) -> str:
    """Return a wheel and its joint; the sign is 1 for one on the left."""
    middle = f'<origin xyz="0 {sign * WHEEL_Y} 0"'
    return (
        f'<joint name="{name}_joint" type="continuous"><parent link="{parent}"/><child link="{name}"/>'
        f'<origin xyz="{place}"/><axis xyz="0 1 0"/></joint><link name="{name}">'
        + _inertial(WHEEL_MASS, f"0 {sign * WHEEL_Y} 0", WHEEL_INERTIA)
        + f'<visual>{middle} rpy="1.5707963 0 0"/><geometry>'
        f'<cylinder radius="{WHEEL_RADIUS}" length="{WHEEL_WIDTH}"/></geometry>'
        '<material name="dark"><color rgba="0.2 0.2 0.2 1"/></material></visual>'
        f'<collision>{middle}/><geometry><sphere radius="{WHEEL_RADIUS}"/></geometry></collision></link>'
    )


def _inertial(mass: float, centre: str, moments: tuple[float, float, float]) -> str:
    xx, yy, zz = moments
    return (
        f'<inertial><origin xyz="{centre}"/><mass value="{mass}"/>'
        f'<inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )
