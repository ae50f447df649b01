"""The humanoid's body as numbers, and the URDF made of them.

The numbers are those of `humanoid.xml` in Gymnasium's assets (the humanoid of Tassa, Erez and Todorov 2012 as OpenAI's
MuJoCo tasks drew it; Gymnasium is under the MIT License), and a test holds masses, frames and mass matrix against
MuJoCo's own. Masses, centres and moments of inertia are those of solid capsules and balls of MuJoCo's density. What
differs:

* The feet, which do not move against the shins, are one link with them. Head and upper waist are links of their own on
  the torso, so that the base's frame is that of the file: that of all three the engine would turn into their principal
  axes.
* **It has soles.** The file's feet are balls, on which it stands as on two points: nothing but quick steps keeps it up.
  Here each foot has a heel and a toe of two small balls each, rigid with the shin, which weigh nothing. They and the
  torso are all that collides: an episode is over before anything else can touch the ground.
* Rotors (`armature`, up to 0.02 kg·m² at a joint), which PyBullet cannot express, and the springs of abdomen, hips and
  shoulders (`stiffness`, up to 20 N·m/rad), which a position motor makes up for, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.simulator import Vector

Array = NDArray[np.float64]

DENSITY = 1000.0
"""MuJoCo's where a file names none [kg/m³]."""
TILT = 2 * atan2(-0.002, 1.0)
"""Of lower waist and pelvis about y, against what carries them [rad]."""


@dataclass(frozen=True)
class Part:
    """A capsule, or a ball where its ends coincide, in the frame of its body."""

    start: Vector
    """One end of the axis [m]."""
    end: Vector
    """The other end [m]."""
    radius: float
    """[m]."""

    @property
    def middle(self) -> Array:
        """Of the axis [m]."""
        return (np.array(self.start) + self.end) / 2

    @property
    def axis(self) -> Array:
        """From end to end [m]."""
        return np.array(self.end) - self.start

    @property
    def mass(self) -> float:
        """[kg]."""
        length = float(np.linalg.norm(self.axis))
        return DENSITY * pi * self.radius**2 * (length + 4 / 3 * self.radius)

    @property
    def inertia(self) -> Array:
        """Moments and products of inertia about the middle [kg·m²]. Shape: (3, 3)."""
        length, radius = float(np.linalg.norm(self.axis)), self.radius
        cylinder = DENSITY * pi * radius**2 * length
        cap = DENSITY * 2 / 3 * pi * radius**3
        along = cylinder * radius**2 / 2 + 2 * cap * 2 / 5 * radius**2
        across = cylinder * (length**2 / 12 + radius**2 / 4) + 2 * cap * (
            83 / 320 * radius**2 + (length / 2 + 3 / 8 * radius) ** 2
        )
        direction = self.axis / length if length else np.zeros(3)
        return across * np.eye(3) + (along - across) * np.outer(direction, direction)


@dataclass(frozen=True)
class Hinge:
    """A joint."""

    name: str
    axis: Vector
    """In the frame of its body, of any length."""
    lower: float
    """Limit [°]."""
    upper: float
    """Limit [°]."""
    torque: float
    """Greatest torque of its motor: MuJoCo's gear times its greatest control, 0.4 [N·m]."""
    damping: float = 1.0
    """[N·m·s/rad]."""


@dataclass(frozen=True)
class Limb:
    """A body and the hinges that carry it, the first one next to its parent; none if it is fixed there."""

    name: str
    parent: str
    place: Vector
    """Of its frame in the parent's [m]."""
    parts: tuple[Part, ...]
    hinges: tuple[Hinge, ...] = ()
    anchor: Vector = (0.0, 0.0, 0.0)
    """Where the hinges are in its frame [m]."""
    tilt: float = 0.0
    """Of its frame about y [rad]."""
    touching: tuple[Part, ...] = ()
    """What of it collides; it weighs nothing."""


def _ball(at: Vector, radius: float) -> Part:
    return Part(at, at, radius)


def _across(x: float, z: float, half: float, radius: float) -> Part:
    """Return a capsule that lies across the body."""
    return Part((x, -half, z), (x, half, z), radius)


def _leg(side: str, s: float) -> tuple[Limb, ...]:
    """Return a leg; s is −1 on the right, 1 on the left."""
    thigh, shin = f"{side}_thigh", f"{side}_shin"
    hips = (
        Hinge(f"{side}_hip_x", (-s, 0.0, 0.0), -25.0, 5.0, 40.0, 5.0),
        Hinge(f"{side}_hip_z", (0.0, 0.0, -s), -60.0, 35.0, 40.0, 5.0),
        Hinge(f"{side}_hip_y", (0.0, 1.0, 0.0), -110.0, 20.0, 120.0, 5.0),
    )
    knee = Hinge(f"{side}_knee", (0.0, -1.0, 0.0), -160.0, -2.0, 80.0)
    bone = Part((0.0, 0.0, 0.0), (0.0, -0.01 * s, -0.34), 0.06)
    calf = Part((0.0, 0.0, 0.0), (0.0, 0.0, -0.3), 0.049)
    return (
        Limb(thigh, "pelvis", (0.0, 0.1 * s, -0.04), (bone,), hips),
        Limb(
            shin,
            thigh,
            (0.0, -0.01 * s, -0.403),
            (calf, _ball((0.0, 0.0, FOOT_HEIGHT), FOOT_RADIUS)),
            (knee,),
            (0.0, 0.0, 0.02),
            touching=SOLE,
        ),
    )


def _arm(side: str, s: float) -> tuple[Limb, ...]:
    """Return an arm; s is −1 on the right, 1 on the left."""
    upper, lower = f"{side}_upper_arm", f"{side}_lower_arm"
    reach = (-85.0, 60.0) if s < 0 else (-60.0, 85.0)
    shoulders = (
        Hinge(f"{side}_shoulder1", (2.0, -s, 1.0), *reach, 10.0),
        Hinge(f"{side}_shoulder2", (0.0, s, 1.0), *reach, 10.0),
    )
    elbow = Hinge(f"{side}_elbow", (0.0, -1.0, -s), -90.0, 50.0, 10.0)
    bone = Part((0.0, 0.0, 0.0), (0.16, 0.16 * s, -0.16), 0.04)
    forearm = Part((0.01, -0.01 * s, 0.01), (0.17, -0.17 * s, 0.17), 0.031)
    hand = _ball((0.18, -0.18 * s, 0.18), 0.04)
    return (
        Limb(upper, "torso", (0.0, 0.17 * s, 0.06), (bone,), shoulders),
        Limb(lower, upper, (0.18, 0.18 * s, -0.18), (forearm, hand), (elbow,)),
    )


FOOT_HEIGHT = -0.35
"""Of the balls that are the feet, in the shin's frame [m]."""
FOOT_RADIUS = 0.075
"""[m]."""
SOLE_RADIUS = 0.03
"""Of the balls that are heels and toes [m]."""
SOLE_LENGTH = (-0.07, 0.11)
"""Where heel and toe are, forwards from under the ankle [m]; with the radius, a foot of 24 cm."""
SOLE_WIDTH = (-0.04, 0.04)
"""Where they are, sideways [m]."""
SOLE_PITCH = -0.25
"""Of the sole about y against the shin: it is level when the shin leans forwards by as much [rad]."""
SOLE = tuple(
    _ball(
        (
            x * cos(SOLE_PITCH),
            y,
            FOOT_HEIGHT - FOOT_RADIUS + SOLE_RADIUS - x * sin(SOLE_PITCH),
        ),
        SOLE_RADIUS,
    )
    for x in SOLE_LENGTH
    for y in SOLE_WIDTH
)
"""What a foot stands on."""
TORSO = _across(0.0, 0.0, 0.07, 0.07)
"""The base, its middle at the origin of the base's frame."""
LIMBS: tuple[Limb, ...] = (
    Limb("head", "torso", (0.0, 0.0, 0.0), (_ball((0.0, 0.0, 0.19), 0.09),)),
    Limb("upper_waist", "torso", (0.0, 0.0, 0.0), (_across(-0.01, -0.12, 0.06, 0.06),)),
    Limb(
        "lower_waist",
        "torso",
        (-0.01, 0.0, -0.26),
        (_across(0.0, 0.0, 0.06, 0.06),),
        (
            Hinge("abdomen_z", (0.0, 0.0, 1.0), -45.0, 45.0, 40.0, 5.0),
            Hinge("abdomen_y", (0.0, 1.0, 0.0), -75.0, 30.0, 40.0, 5.0),
        ),
        (0.0, 0.0, 0.065),
        TILT,
    ),
    Limb(
        "pelvis",
        "lower_waist",
        (0.0, 0.0, -0.165),
        (_across(-0.02, 0.0, 0.07, 0.09),),
        (Hinge("abdomen_x", (1.0, 0.0, 0.0), -35.0, 35.0, 40.0, 5.0),),
        (0.0, 0.0, 0.1),
        TILT,
    ),
    *_leg("right", -1.0),
    *_leg("left", 1.0),
    *_arm("right", -1.0),
    *_arm("left", 1.0),
)
"""Of all bodies but the torso, each after what carries it."""
HINGES = {hinge.name: hinge for limb in LIMBS for hinge in limb.hinges}
"""All joints by name, those of a body in the order in which they carry it."""


def mass_properties(parts: Sequence[Part]) -> tuple[float, Array, Array]:
    """Return mass [kg], centre of mass [m] and inertia tensor about it [kg·m²], axes as the body's."""
    mass = sum(part.mass for part in parts)
    centre = sum((part.mass * part.middle for part in parts), np.zeros(3)) / mass
    inertia = np.zeros((3, 3))
    for part in parts:
        off = part.middle - centre
        inertia += part.inertia + part.mass * (off @ off * np.eye(3) - np.outer(off, off))
    return mass, centre, inertia


def urdf() -> str:
    """Return the model as the text of a URDF; a link has its origin at its joint, and the last joint's name."""
    anchors = {"torso": np.zeros(3)}
    carriers = {"torso": "torso"}
    texts = [_link("torso", (TORSO,), (TORSO,), np.zeros(3))]
    for limb in LIMBS:
        anchors[limb.name] = anchor = np.array(limb.anchor)
        cosine, sine = cos(limb.tilt), sin(limb.tilt)
        turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        place = limb.place + turn @ anchor - anchors[limb.parent]
        parent, tilt = carriers[limb.parent], limb.tilt
        for hinge in limb.hinges:
            texts.append(_joint(hinge, parent, place, tilt))
            if hinge is not limb.hinges[-1]:
                texts.append(
                    f'<link name="{hinge.name}">{_inertial(0.0, _NONE, np.zeros((3, 3)))}</link>'
                )
            parent, place, tilt = hinge.name, _NONE, 0.0
        if not limb.hinges:
            texts.append(
                f'<joint name="{limb.name}" type="fixed"><parent link="{parent}"/><child link="{limb.name}"/>'
                f"{_origin(place)}</joint>"
            )
            parent = limb.name
        carriers[limb.name] = parent
        texts.append(_link(parent, limb.parts, limb.touching, anchor))
    # The engine cuts lines that are longer than 8 kB.
    body = "\n".join(texts)
    return f'<robot name="humanoid">{body}</robot>'


_NONE = np.zeros(3)


def _origin(place: Array, roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> str:
    x, y, z = place.tolist()
    return f'<origin xyz="{x!r} {y!r} {z!r}" rpy="{roll!r} {pitch!r} {yaw!r}"/>'


def _joint(hinge: Hinge, parent: str, place: Array, tilt: float) -> str:
    x, y, z = (np.array(hinge.axis) / np.linalg.norm(hinge.axis)).tolist()
    return (
        f'<joint name="{hinge.name}" type="revolute"><parent link="{parent}"/><child link="{hinge.name}"/>'
        f'{_origin(place, pitch=tilt)}<axis xyz="{x!r} {y!r} {z!r}"/><dynamics damping="{hinge.damping}"/>'
        f'<limit lower="{radians(hinge.lower)!r}" upper="{radians(hinge.upper)!r}" effort="{hinge.torque}" '
        'velocity="100"/></joint>'
    )


def _link(name: str, parts: Sequence[Part], touching: Sequence[Part], anchor: Array) -> str:
    mass, centre, inertia = mass_properties(parts)
    shapes = "".join(_shape("visual", part, anchor) for part in (*parts, *touching))
    shapes += "".join(_shape("collision", part, anchor) for part in touching)
    return f'<link name="{name}">{_inertial(mass, centre - anchor, inertia)}{shapes}</link>'


def _inertial(mass: float, centre: Array, inertia: Array) -> str:
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = inertia.tolist()
    return (
        f'<inertial>{_origin(centre)}<mass value="{mass!r}"/><inertia ixx="{xx!r}" ixy="{xy!r}" '
        f'ixz="{xz!r}" iyy="{yy!r}" iyz="{yz!r}" izz="{zz!r}"/></inertial>'
    )


def _shape(use: str, part: Part, anchor: Array) -> str:
    x, y, z = part.axis.tolist()
    length = hypot(x, y, z)
    shape = f'<sphere radius="{part.radius}"/>'
    if length:
        shape = f'<capsule radius="{part.radius}" length="{length!r}"/>'
    # Turns of the axis z about y and then about z.
    origin = _origin(part.middle - anchor, pitch=atan2(hypot(x, y), z), yaw=atan2(y, x))
    return f"<{use}>{origin}<geometry>{shape}</geometry></{use}>"
