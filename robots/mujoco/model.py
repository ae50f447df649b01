"""Models for MuJoCo, built from what PyBullet made of a URDF.

MuJoCo reads URDFs too, but it takes other moments of inertia, merges links differently, leaves out the base of what is
not bolted down (which it bolts), and refuses what is not quite right. Built from PyBullet's answers, the two engines
have the same masses, centres, moments, frames, axes and limits, and what differs between them is how they move those.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from metamotor.robots.mujoco.engine import mujoco
from metamotor.robots.simulator import Simulator
from metamotor.robots.simulator.description import BodyModel, LinkModel, ShapeModel
from metamotor.robots.simulator.state import Quaternion

GROUND, ROBOT = 1, 2
"""Bits of what collides: robots with the ground, and not with themselves."""
_EMPTY = 0


@lru_cache(maxsize=32)
def described(path: str, text: str, options: tuple[tuple[str, bool], ...]) -> BodyModel:
    """Return what PyBullet makes of a URDF, which is read once in a process.

    Args:
        path: of the file; or
        text: of a URDF.
        options: those of `Simulator.load_urdf`.
    """
    with Simulator(time_step=0.01) as scratch:
        given: dict[str, Any] = dict(options)
        body = scratch.load_urdf_text(text, **given) if text else scratch.load_urdf(path, **given)
        return scratch.describe(body)


def name_of(body: int, link: int) -> str:
    """Return what a link is called in the model; -1 is the base."""
    return f"{body}.{link}"


def joint_name(body: int, joint: int) -> str:
    """Return what a joint is called in the model, and the motor that drives it; -1 is that of a free base."""
    return f"{body}.{joint}.joint"


def add_body(spec: Any, number: int, model: BodyModel, *, drawn: bool) -> None:
    """Add a body to a model that is not compiled yet, and a motor without gains for each of its joints.

    Args:
        spec: the model.
        number: of the body.
        model: what it is made of.
        drawn: add the shapes that are drawn, rather than those that collide.
    """
    base = spec.worldbody.add_body(name=name_of(number, -1))
    _place(base, *model.start)
    if not model.fixed:
        base.add_freejoint(name=joint_name(number, -1))
    _fill(spec, base, model.base, drawn, fixed=model.fixed)
    made = {-1: base}
    for index, link in enumerate(model.links):
        body = made[index] = made[link.parent].add_body(name=name_of(number, index))
        _place(body, *link.pose)
        if link.kind != "fixed":
            _add_joint(spec, body, joint_name(number, index), link)
        _fill(spec, body, link, drawn, fixed=False)


def _add_joint(spec: Any, body: Any, name: str, link: LinkModel) -> None:
    kinds = {"revolute": mujoco.mjtJoint.mjJNT_HINGE, "prismatic": mujoco.mjtJoint.mjJNT_SLIDE}
    joint = body.add_joint(name=name, type=kinds[link.kind], axis=link.axis)
    if link.lower <= link.upper:
        joint.limited, joint.range = True, (link.lower, link.upper)
    motor = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    motor.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    motor.gainprm[0] = 0.0


def _fill(spec: Any, body: Any, link: LinkModel, drawn: bool, *, fixed: bool) -> None:
    (place, turn) = link.inertial
    body.explicitinertial = True
    body.mass, body.inertia = link.mass, link.moments
    body.ipos, body.iquat = place, _mujoco(turn)
    # Whether it is lifted against gravity is decided later; the engine only asks at first whether anything is.
    body.gravcomp = 1.0
    for shape in link.drawn if drawn else link.colliding:
        if drawn or shape.kind != "mesh":
            _add_shape(spec, body, shape, link.friction, fixed, drawn)


def _add_shape(
    spec: Any, body: Any, shape: ShapeModel, friction: float, fixed: bool, drawn: bool
) -> None:
    kinds = {
        "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
        "box": mujoco.mjtGeom.mjGEOM_BOX,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
        "mesh": mujoco.mjtGeom.mjGEOM_MESH,
        "plane": mujoco.mjtGeom.mjGEOM_PLANE,
    }
    geom = body.add_geom(type=kinds[shape.kind])
    _place(geom, *shape.pose)
    x, y, z = shape.dimensions
    if shape.kind == "mesh":
        geom.meshname = _mesh(spec, shape)
    else:
        sizes = {
            "sphere": (x, 0.0, 0.0),
            "box": (x / 2, y / 2, z / 2),
            "plane": (0.0, 0.0, 1.0),
        }
        geom.size = sizes.get(shape.kind, (y, x / 2, 0.0))
    geom.rgba, geom.mass = shape.color, 0.0
    if drawn:
        geom.contype = geom.conaffinity = _EMPTY
    elif fixed:
        geom.contype, geom.conaffinity = GROUND, _EMPTY
    else:
        geom.contype, geom.conaffinity = _EMPTY, GROUND
        # Of a contact's two sides the one of higher priority says how it is; PyBullet multiplies their coefficients.
        geom.priority = 1
    geom.friction[0], geom.condim = friction, 3


def _mesh(spec: Any, shape: ShapeModel) -> str:
    """Return the name of a mesh, added if it is new."""
    name = f"{shape.file} {shape.dimensions}"
    if name not in [mesh.name for mesh in spec.meshes]:
        # A shell has moments of inertia even where the surface is not closed; nothing asks for them.
        inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        spec.add_mesh(name=name, file=shape.file, scale=shape.dimensions, inertia=inertia)
    return name


def _place(element: Any, place: Any, turn: Quaternion) -> None:
    element.pos, element.quat = place, _mujoco(turn)


def _mujoco(turn: Quaternion) -> Quaternion:
    """Return a rotation in MuJoCo's order, the real part first."""
    x, y, z, w = turn
    return w, x, y, z
