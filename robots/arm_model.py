"""URDFs of arms, rewritten for the engine: quick to load, and with a place for a payload.

Two things are changed:

* What is drawn is what collides. The meshes for drawing are up to sixteen times as large, and reading them takes most
  of the time of making an environment.
* Links without mass are added at the hand, to hold what the arm carries: the engine can change a link's mass, but not
  its centre of mass. They hang on floating joints, of which the engine makes fixed ones, because links on fixed joints
  would be merged into their parents. A link of no mass changes no bit of the motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from metamotor.robots.properties import Property
from metamotor.robots.simulator import Vector, data_path


def arm_urdf(model: str, *, parent: str, holders: Sequence[tuple[str, Vector]]) -> str:
    """Return a model of pybullet_data as the text of a URDF.

    Args:
        model: the file.
        parent: the link that holds the payload.
        holders: names of the links that are added, each with where it is in the parent's frame [m].

    Raises:
        ValueError: if the model lacks the parent, or a link that is drawn does not collide.
    """
    path = Path(data_path(model))
    robot = ElementTree.parse(path).getroot()
    for unused in [*robot.findall("transmission"), *robot.findall("gazebo")]:
        robot.remove(unused)
    links = {link.attrib["name"]: link for link in robot.findall("link")}
    if parent not in links:
        raise ValueError(f"{model} has no link {parent!r}; it has {[*links]}")
    for name, link in links.items():
        drawn, colliding = (link.find(f"{use}/geometry/mesh") for use in ("visual", "collision"))
        if drawn is None:
            continue
        if colliding is None:
            raise ValueError(f"link {name!r} of {model} is drawn, but does not collide")
        file = str(path.parent / colliding.attrib["filename"].removeprefix("package://"))
        for mesh in (drawn, colliding):
            mesh.set("filename", file)
    for name, (x, y, z) in holders:
        text = (
            f'<robot><joint name="{name}" type="floating"><parent link="{parent}"/><child link="{name}"/>'
            f'<origin xyz="{x} {y} {z}"/></joint><link name="{name}"><inertial><mass value="0"/>'
            '<inertia ixx="0" iyy="0" izz="0" ixy="0" ixz="0" iyz="0"/></inertial></link></robot>'
        )
        robot.extend(list(ElementTree.fromstring(text)))
    return ElementTree.tostring(robot, encoding="unicode")


PAYLOAD = "payload"
"""Name of the link that holds what is in the hand, and of its joint."""
PAYLOAD_SIZE = 0.06
"""Edge of the cube that is carried [m]; its middle is the hand's point."""


def payload_inertia(mass: float) -> Vector:
    """Return the moments of inertia of the cube that is carried about its middle [kg·m²]."""
    moment = mass * PAYLOAD_SIZE**2 / 6
    return moment, moment, moment


def arm_properties(
    joints: Sequence[str], *, rating: float, motors: Mapping[str, Property]
) -> dict[str, Property]:
    """Return what may be changed about an arm.

    Args:
        joints: their names.
        rating: greatest mass that the maker lets it carry [kg].
        motors: what its kind of motors adds.
    """
    return {
        "payload": Property("kg", 0.0, 0.0, rating),
        "latency": Property("s", 0.0, 0.0, 0.1),
        **motors,
        **{f"{joint}.strength": Property("1", 1.0, 0.0, 2.0) for joint in joints},
    }
