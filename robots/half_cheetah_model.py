"""The half-cheetah's body as numbers, and the URDF made of them.

The geometry is that of `mjcf/half_cheetah.xml` in pybullet_data (the model of Wawrzyński 2009 as OpenAI's MuJoCo
tasks drew it; pybullet_data notes no licence for it), and a test holds the two together. It is not loaded from there,
because PyBullet reads that file wrongly: it puts every centre of mass into the link's joint, takes the feet as
10 kg each, ignores the total mass of 14 kg, and makes two links of each, joined by a fixed joint, which costs a
fifth of the speed. Here masses, centres and moments of inertia are computed as MuJoCo does: capsules of one density
that add up to 14 kg.

MuJoCo's joint damping is kept. Its joint springs (they pull to the zero pose) are left out, since position motors take
their place; so is the 0.1 kg·m² of rotor inertia at each joint (`armature`), which PyBullet cannot express.

Everything moves in the plane y = 0: of a link's inertia only the moment about y matters, and it stands for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

RADIUS = 0.046
"""Radius of every capsule [m]."""
TOTAL_MASS = 14.0
"""[kg]."""
ROOT_HEIGHT = 0.7
"""Height of the torso's middle when joint `rootz` is at zero [m]."""


@dataclass(frozen=True)
class Capsule:
    """A capsule in the plane, in the frame of its link."""

    x: float
    """Middle, forwards [m]."""
    z: float
    """Middle, upwards [m]."""
    angle: float
    """Rotation of its axis about y, away from z [rad]."""
    half_length: float
    """Half the length of its cylinder [m]."""

    @property
    def cylinder(self) -> float:
        """Volume of the cylinder [m³]."""
        return pi * RADIUS**2 * 2 * self.half_length

    @property
    def volume(self) -> float:
        """Volume with both caps [m³]."""
        return self.cylinder + 4 / 3 * pi * RADIUS**3

    @property
    def moment(self) -> float:
        """Moment of inertia about y through its middle, for a density of one [m⁵]."""
        cap = 2 / 3 * pi * RADIUS**3
        cap_arm = self.half_length + 3 / 8 * RADIUS
        return self.cylinder * ((2 * self.half_length) ** 2 / 12 + RADIUS**2 / 4) + 2 * cap * (
            83 / 320 * RADIUS**2 + cap_arm**2
        )


@dataclass(frozen=True)
class Link:
    """A link and the hinge that carries it."""

    name: str
    """Of the link and of its joint."""
    parent: str
    x: float
    """Position of the joint in the parent's frame, forwards [m]."""
    z: float
    """Position of the joint in the parent's frame, upwards [m]."""
    lower: float
    """Joint limit [rad]."""
    upper: float
    """Joint limit [rad]."""
    damping: float
    """Joint damping [N·m·s/rad]."""
    torque: float
    """Greatest torque, MuJoCo's gear [N·m]."""
    capsule: Capsule


TORSO = (Capsule(0.0, 0.0, pi / 2, 0.5), Capsule(0.6, 0.1, 0.87, 0.15))
"""Trunk and head."""
LINKS = (
    Link("bthigh", "torso", -0.5, 0.0, -0.52, 1.05, 6.0, 120.0, Capsule(0.1, -0.13, -3.8, 0.145)),
    Link("bshin", "bthigh", 0.16, -0.25, -0.785, 0.785, 4.5, 90.0, Capsule(-0.14, -0.07, -2.03, 0.15)),
    Link("bfoot", "bshin", -0.28, -0.14, -0.4, 0.785, 3.0, 60.0, Capsule(0.03, -0.097, -0.27, 0.094)),
    Link("fthigh", "torso", 0.5, 0.0, -1.5, 0.8, 4.5, 120.0, Capsule(-0.07, -0.12, 0.52, 0.133)),
    Link("fshin", "fthigh", -0.14, -0.24, -1.2, 1.1, 3.0, 60.0, Capsule(0.065, -0.09, -0.6, 0.106)),
    Link("ffoot", "fshin", 0.13, -0.18, -3.1, -0.3, 1.5, 30.0, Capsule(0.045, -0.07, -0.6, 0.07)),
)  # fmt: skip
"""Back and front leg, from the hip down."""

DENSITY = TOTAL_MASS / (
    sum(capsule.volume for capsule in TORSO) + sum(link.capsule.volume for link in LINKS)
)
"""[kg/m³]."""


def mass_properties(capsules: tuple[Capsule, ...]) -> tuple[float, float, float, float]:
    """Return mass [kg], centre of mass x and z [m], and moment of inertia about y through it [kg·m²]."""
    volume = sum(capsule.volume for capsule in capsules)
    x = sum(capsule.volume * capsule.x for capsule in capsules) / volume
    z = sum(capsule.volume * capsule.z for capsule in capsules) / volume
    moment = sum(
        capsule.moment + capsule.volume * ((capsule.x - x) ** 2 + (capsule.z - z) ** 2)
        for capsule in capsules
    )
    return DENSITY * volume, x, z, DENSITY * moment


def urdf() -> str:
    """Return the model as the text of a URDF: sliders x and z and hinge y for the torso, then the two legs."""
    parts = [
        _massless_link("ground"),
        _joint("rootx", "prismatic", "ground", "slide_x", (0.0, ROOT_HEIGHT), "1 0 0", _FREE),
        _massless_link("slide_x"),
        _joint("rootz", "prismatic", "slide_x", "slide_z", (0.0, 0.0), "0 0 1", _FREE),
        _massless_link("slide_z"),
        _joint("rooty", "continuous", "slide_z", "torso", (0.0, 0.0), "0 1 0", ""),
        _link("torso", TORSO),
    ]
    for link in LINKS:
        limit = f'<limit lower="{link.lower}" upper="{link.upper}" effort="{link.torque}" velocity="100"/>'
        damping = f'<dynamics damping="{link.damping}"/>'
        at = (link.x, link.z)
        parts.append(
            _joint(link.name, "revolute", link.parent, link.name, at, "0 1 0", limit + damping)
        )
        parts.append(_link(link.name, (link.capsule,)))
    return f'<robot name="half_cheetah">{"".join(parts)}</robot>'


_FREE = '<limit lower="1" upper="0" effort="0" velocity="100"/>'
"""PyBullet reads a lower limit above the upper one as none."""


def _joint(
    name: str, kind: str, parent: str, child: str, at: tuple[float, float], axis: str, rest: str
) -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{at[0]} 0 {at[1]}"/><axis xyz="{axis}"/>{rest}</joint>'
    )


def _massless_link(name: str) -> str:
    return f'<link name="{name}">{_inertial(0.0, 0.0, 0.0, 0.0)}</link>'


def _link(name: str, capsules: tuple[Capsule, ...]) -> str:
    shapes = "".join(
        f'<{use}><origin xyz="{shape.x} 0 {shape.z}" rpy="0 {shape.angle} 0"/><geometry>'
        f'<capsule radius="{RADIUS}" length="{2 * shape.half_length}"/></geometry></{use}>'
        for shape in capsules
        for use in ("visual", "collision")
    )
    return f'<link name="{name}">{_inertial(*mass_properties(capsules))}{shapes}</link>'


def _inertial(mass: float, x: float, z: float, moment: float) -> str:
    return (
        f'<inertial><origin xyz="{x} 0 {z}"/><mass value="{mass}"/><inertia ixx="{moment}" '
        f'iyy="{moment}" izz="{moment}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )
