"""What a loaded model is made of, in plain numbers, for another engine to build the same from.

A URDF leaves open how links on fixed joints are merged, which moments of inertia a link has where the file's are not
taken, and how impossible ones are mended; every engine answers differently. Described are PyBullet's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metamotor.robots.simulator.engine import pybullet
from metamotor.robots.simulator.poses import NOWHERE, Pose, seen_from, turned, within
from metamotor.robots.simulator.state import Vector

Color = tuple[float, float, float, float]

_KINDS = {
    pybullet.JOINT_REVOLUTE: "revolute",
    pybullet.JOINT_PRISMATIC: "prismatic",
    pybullet.JOINT_FIXED: "fixed",
}
_SHAPES = {
    pybullet.GEOM_SPHERE: "sphere",
    pybullet.GEOM_BOX: "box",
    pybullet.GEOM_CYLINDER: "cylinder",
    pybullet.GEOM_CAPSULE: "capsule",
    pybullet.GEOM_MESH: "mesh",
    pybullet.GEOM_PLANE: "plane",
}


@dataclass(frozen=True)
class ShapeModel:
    """A shape that collides or is drawn."""

    kind: str
    """sphere, box, cylinder, capsule, mesh or plane."""
    dimensions: Vector
    """Edges of a box, length and radius of a cylinder, radius of a sphere [m]; scale of a mesh."""
    file: str
    """Of a mesh."""
    pose: Pose
    """In the frame of its link."""
    color: Color


@dataclass(frozen=True)
class LinkModel:
    """A link and the joint that carries it; of the base, no joint."""

    name: str
    """Of the joint."""
    parent: int
    """Number of the link before it; -1 is the base."""
    kind: str
    """Of the joint: revolute, prismatic or fixed."""
    pose: Pose
    """Of its frame in its parent's, while the joint is at zero."""
    axis: Vector
    """Of the joint, in the link's frame."""
    lower: float
    """Joint limit [rad] or [m]; above `upper`, there is none."""
    upper: float
    damping: float
    """Of the joint [N·m·s/rad] or [N·s/m]."""
    mass: float
    """[kg]."""
    moments: Vector
    """Principal moments of inertia [kg·m²]."""
    inertial: Pose
    """Of centre of mass and principal axes, in the link's frame."""
    friction: float
    """Coefficient."""
    colliding: tuple[ShapeModel, ...]
    drawn: tuple[ShapeModel, ...]


@dataclass(frozen=True)
class BodyModel:
    """A body. The frame of its base is that of the base's centre of mass and principal axes."""

    fixed: bool
    """Whether the base is bolted to the world."""
    start: Pose
    """Where the base is."""
    base: LinkModel
    links: tuple[LinkModel, ...]


def describe(client: int, body: int, *, fixed: bool) -> BodyModel:
    """Return what a body is made of; its joints are at zero, as they were loaded.

    Raises:
        ValueError: if it has a kind of joint or shape that is not described.
    """
    start: Pose = pybullet.getBasePositionAndOrientation(body, client)
    count = pybullet.getNumJoints(body, client)
    drawn = pybullet.getVisualShapeData(body, physicsClientId=client)
    frames = {-1: start}
    for link in range(count):
        state = pybullet.getLinkState(
            body, link, computeForwardKinematics=1, physicsClientId=client
        )
        frames[link] = (state[4], state[5])
    links = []
    for link in range(count):
        info = pybullet.getJointInfo(body, link, client)
        if info[2] not in _KINDS:
            raise ValueError(f"the joint {info[1].decode()!r} is of a kind that is not described")
        dynamics = pybullet.getDynamicsInfo(body, link, client)
        links.append(
            LinkModel(
                name=info[1].decode(),
                parent=info[16],
                kind=_KINDS[info[2]],
                pose=seen_from(frames[info[16]], frames[link]),
                # The engine has the axis in the frame of the centre of mass.
                axis=turned(dynamics[4], info[13]),
                lower=info[8],
                upper=info[9],
                damping=info[6],
                mass=dynamics[0],
                moments=dynamics[2],
                inertial=(dynamics[3], dynamics[4]),
                friction=dynamics[1],
                colliding=_colliding(client, body, link, (dynamics[3], dynamics[4])),
                drawn=_drawn(drawn, link, NOWHERE),
            )
        )
    dynamics = pybullet.getDynamicsInfo(body, -1, client)
    base = LinkModel(
        name="",
        parent=-1,
        kind="fixed",
        pose=NOWHERE,
        axis=(0.0, 0.0, 0.0),
        lower=0.0,
        upper=-1.0,
        damping=0.0,
        mass=dynamics[0],
        moments=dynamics[2],
        inertial=NOWHERE,
        friction=dynamics[1],
        colliding=_colliding(client, body, -1, NOWHERE),
        drawn=_drawn(drawn, -1, seen_from((dynamics[3], dynamics[4]), NOWHERE)),
    )
    return BodyModel(fixed=fixed, start=start, base=base, links=tuple(links))


def _shape(kind: int, dimensions: Vector, file: bytes, pose: Pose, color: Color) -> ShapeModel:
    if kind not in _SHAPES:
        raise ValueError(f"there is a shape of a kind that is not described: {kind}")
    return ShapeModel(_SHAPES[kind], dimensions, file.decode(), pose, color)


def _colliding(client: int, body: int, link: int, inertial: Pose) -> tuple[ShapeModel, ...]:
    # Their places are in the frame of the centre of mass.
    return tuple(
        _shape(
            shape[2],
            shape[3],
            shape[4],
            within(inertial, (shape[5], shape[6])),
            (0.5, 0.5, 0.5, 1.0),
        )
        for shape in pybullet.getCollisionShapeData(body, link, client)
    )


def _drawn(shapes: Sequence[Any], link: int, frame: Pose) -> tuple[ShapeModel, ...]:
    """Return the shapes of a link; `frame` is where the frame that they are in is in the link's."""
    return tuple(
        _shape(
            shape[2],
            shape[3],
            shape[4],
            within(frame, (shape[5], shape[6])),
            tuple(shape[7]),
        )
        for shape in shapes
        if shape[1] == link
    )
