"""URDFs of quadrupeds from numbers, drawn and colliding as boxes, cylinders and balls; no file of anybody is loaded.

All axes are the trunk's when the legs point straight down, and the joints are those of `trot.Leg`. Only the trunk and
the toes collide, as with the A1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.boxes import box_inertia
from metamotor.robots.quadruped import PAYLOAD
from metamotor.robots.simulator import Vector
from metamotor.robots.trot import LEGS, Leg

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What is rigid."""

    mass: float
    """[kg]."""
    centre: Vector
    """Centre of mass in the frame of the joint that carries it [m]."""
    moments: Vector
    """Moments of inertia about it, xx, yy and zz [kg·m²]."""
    products: Vector = (0.0, 0.0, 0.0)
    """Entries xy, xz and yz of the inertia tensor [kg·m²]."""

    @property
    def tensor(self) -> Array:
        """The inertia tensor about the centre of mass [kg·m²]. Shape: (3, 3)."""
        (xx, yy, zz), (xy, xz, yz) = self.moments, self.products
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def mirrored(self) -> Part:
        """Return its mirror image on the other side."""
        (x, y, z), (xy, xz, yz) = self.centre, self.products
        return Part(self.mass, (x, -y, z), self.moments, (-xy, xz, -yz))


def joined(parts: Sequence[Part]) -> Part:
    """Return rigidly joined parts, all told in one frame, as one."""
    mass = sum(part.mass for part in parts)
    centre = sum((part.mass * np.array(part.centre) for part in parts), np.zeros(3)) / mass
    tensor = np.zeros((3, 3))
    for part in parts:
        # The parallel axis theorem.
        arm = part.centre - centre
        tensor += part.tensor + part.mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = tensor.tolist()
    x, y, z = centre.tolist()
    return Part(mass, (x, y, z), (xx, yy, zz), (xy, xz, yz))


@dataclass(frozen=True)
class Body:
    """A quadruped in numbers; its left legs, and the right ones are their mirror images."""

    name: str
    leg: Leg
    limits: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Lower and upper limit of a left leg's hip, thigh and knee [rad]; a right hip has the opposite ones."""
    trunk: Part
    """Without products of inertia: the engine would turn the base's frame into the principal axes."""
    hip: Part
    thigh: Part
    shank: Part
    """With the toe."""
    toe_radius: float
    """[m]."""
    trunk_size: Vector
    """Of the box that the trunk is [m]."""
    trunk_middle: Vector
    """Of the same, in the middle between the hips' frame [m]."""
    payload_size: Vector
    """Of the box on its back that holds the payload [m]; a link of its own: the engine cannot move a centre of mass."""

    @property
    def mass(self) -> float:
        """Without payload [kg]."""
        return self.trunk.mass + 4 * (self.hip.mass + self.thigh.mass + self.shank.mass)


def urdf(body: Body) -> str:
    """Return the model as the text of a URDF; what the payload weighs is set later."""
    leg, (x, y, z) = body.leg, body.trunk_middle
    on_top = z + (body.trunk_size[2] + body.payload_size[2]) / 2
    parts = [
        _link(
            "trunk", body.trunk, _box(body.trunk_size, body.trunk_middle, "orange"), collides=True
        ),
        f'<joint name="{PAYLOAD}" type="fixed"><parent link="trunk"/><child link="{PAYLOAD}"/>'
        f'<origin xyz="{x} {y} {on_top}"/></joint>',
        _link(
            PAYLOAD,
            Part(1.0, (0.0, 0.0, 0.0), box_inertia(1.0, body.payload_size)),
            _box(body.payload_size, (0.0, 0.0, 0.0), "blue"),
        ),
    ]
    thickness = 0.15 * leg.thigh
    above, below = (
        _box((thickness, thickness, length), (0.0, 0.0, -length / 2), "grey")
        for length in (leg.thigh, leg.shank)
    )
    toe = (
        f'<origin xyz="0 0 {-leg.shank}"/><geometry><sphere radius="{body.toe_radius}"/></geometry>'
    )
    for name, front, side in LEGS:
        hip, thigh, shank = (
            part if side > 0 else part.mirrored() for part in (body.hip, body.thigh, body.shank)
        )
        limits = list(body.limits)
        if side < 0:
            limits[0] = (-limits[0][1], -limits[0][0])
        places = (
            (front * leg.hip_x, side * leg.hip_y, 0.0),
            (0.0, side * leg.abduction, 0.0),
            (0.0, 0.0, -leg.thigh),
        )
        chain = ("trunk", f"{name}_hip", f"{name}_upper", f"{name}_lower")
        for parent, child, place, axis, (lower, upper) in zip(
            chain, chain[1:], places, ("1 0 0", "0 1 0", "0 1 0"), limits, strict=False
        ):
            parts.append(
                f'<joint name="{child}_joint" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
                f'<origin xyz="{_text(place)}"/><axis xyz="{axis}"/>'
                f'<limit lower="{lower}" upper="{upper}" effort="100" velocity="100"/></joint>'
            )
        wide = abs(leg.abduction)
        parts += [
            _link(
                f"{name}_hip",
                hip,
                _box((2 * thickness, wide, 2 * thickness), (0.0, side * wide / 2, 0.0), "grey"),
            ),
            _link(f"{name}_upper", thigh, above),
            _link(f"{name}_lower", shank, below).replace(
                "</link>", f"<visual>{toe}</visual><collision>{toe}</collision></link>"
            ),
        ]
    colors = (
        '<material name="orange"><color rgba="0.9 0.5 0.1 1"/></material>'
        '<material name="grey"><color rgba="0.4 0.4 0.4 1"/></material>'
        '<material name="blue"><color rgba="0.1 0.2 0.8 1"/></material>'
    )
    return f'<robot name="{body.name}">{colors}{"".join(parts)}</robot>'


def _link(name: str, part: Part, shape: str, *, collides: bool = False) -> str:
    (xx, yy, zz), (xy, xz, yz) = part.moments, part.products
    uses = ("visual", "collision") if collides else ("visual",)
    return (
        f'<link name="{name}"><inertial><origin xyz="{_text(part.centre)}"/><mass value="{part.mass}"/>'
        f'<inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="{xy}" ixz="{xz}" iyz="{yz}"/></inertial>'
        + "".join(f"<{use}>{shape}</{use}>" for use in uses)
        + "</link>"
    )


def _box(size: Vector, middle: Vector, color: str) -> str:
    return (
        f'<origin xyz="{_text(middle)}"/><geometry><box size="{_text(size)}"/></geometry>'
        f'<material name="{color}"/>'
    )


def _text(numbers: Vector) -> str:
    return " ".join(map(str, numbers))
