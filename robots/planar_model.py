"""Planar robots as numbers, and the URDF made of them: capsules of one density, hinged to one another.

Masses, centres and moments of inertia are computed as MuJoCo does. Everything moves in the plane y = 0: of a link's
inertia only the moment about y matters, and it stands for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi


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
    radius: float
    """[m]."""

    @property
    def cylinder(self) -> float:
        """Volume of the cylinder [m³]."""
        return pi * self.radius**2 * 2 * self.half_length

    @property
    def volume(self) -> float:
        """Volume with both caps [m³]."""
        return self.cylinder + 4 / 3 * pi * self.radius**3

    @property
    def moment(self) -> float:
        """Moment of inertia about y through its middle, for a density of one [m⁵]."""
        cap = 2 / 3 * pi * self.radius**3
        cap_arm = self.half_length + 3 / 8 * self.radius
        return self.cylinder * ((2 * self.half_length) ** 2 / 12 + self.radius**2 / 4) + 2 * cap * (
            83 / 320 * self.radius**2 + cap_arm**2
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


@dataclass(frozen=True)
class PlanarModel:
    """A torso that slides and turns in the plane, and what is hinged to it."""

    name: str
    root_height: float
    """Height of the torso's frame when joint `rootz` is at zero [m]."""
    torso: tuple[Capsule, ...]
    links: tuple[Link, ...]
    density: float
    """[kg/m³]."""
    hinge_axis: int = 1
    """1 if hinges turn about y, nose down, as the torso's does; −1 if about −y."""

    def mass_properties(self, capsules: tuple[Capsule, ...]) -> tuple[float, float, float, float]:
        """Return mass [kg], centre of mass x and z [m], and moment of inertia about y through it [kg·m²]."""
        volume = sum(capsule.volume for capsule in capsules)
        x = sum(capsule.volume * capsule.x for capsule in capsules) / volume
        z = sum(capsule.volume * capsule.z for capsule in capsules) / volume
        moment = sum(
            capsule.moment + capsule.volume * ((capsule.x - x) ** 2 + (capsule.z - z) ** 2)
            for capsule in capsules
        )
        return self.density * volume, x, z, self.density * moment

    def urdf(self) -> str:
        """Return the model as the text of a URDF: sliders x and z and hinge y for the torso, then the links."""
        at, axis = (0.0, self.root_height), f"0 {self.hinge_axis} 0"
        parts = [
            _massless_link("ground"),
            _joint("rootx", "prismatic", "ground", "slide_x", at, "1 0 0", _FREE),
            _massless_link("slide_x"),
            _joint("rootz", "prismatic", "slide_x", "slide_z", (0.0, 0.0), "0 0 1", _FREE),
            _massless_link("slide_z"),
            _joint("rooty", "continuous", "slide_z", "torso", (0.0, 0.0), "0 1 0", ""),
            self._link("torso", self.torso),
        ]
        for link in self.links:
            limit = f'<limit lower="{link.lower}" upper="{link.upper}" effort="{link.torque}" velocity="100"/>'
            damping = f'<dynamics damping="{link.damping}"/>'
            at = (link.x, link.z)
            parts.append(
                _joint(link.name, "revolute", link.parent, link.name, at, axis, limit + damping)
            )
            parts.append(self._link(link.name, (link.capsule,)))
        return f'<robot name="{self.name}">{"".join(parts)}</robot>'

    def _link(self, name: str, capsules: tuple[Capsule, ...]) -> str:
        shapes = "".join(
            f'<{use}><origin xyz="{shape.x} 0 {shape.z}" rpy="0 {shape.angle} 0"/><geometry>'
            f'<capsule radius="{shape.radius}" length="{2 * shape.half_length}"/></geometry></{use}>'
            for shape in capsules
            for use in ("visual", "collision")
        )
        return f'<link name="{name}">{_inertial(*self.mass_properties(capsules))}{shapes}</link>'


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


def _inertial(mass: float, x: float, z: float, moment: float) -> str:
    return (
        f'<inertial><origin xyz="{x} 0 {z}"/><mass value="{mass}"/><inertia ixx="{moment}" '
        f'iyy="{moment}" izz="{moment}" ixy="0" ixz="0" iyz="0"/></inertial>'
    )
