"""The A1's URDF, rewritten for the engine.

Read from `a1/a1.urdf` of pybullet_data, which notes no licence for it; robot_descriptions lists the A1 under BSD-3.
Four things are changed:

* Links joined by fixed joints are merged here: toes into shanks, shoulders into hips, the inertial unit into the trunk.
  PyBullet's own merging (`URDF_MERGE_FIXED_LINKS`) takes the parent's centre of mass for the origin of its frame, and a
  shank's centre of mass ends up 8 cm from where it is.
* Only the trunk and the toes collide: an episode is over before anything else can touch the ground.
* The trunk's products of inertia (0.6 g·m² beside moments of 17 to 65) are dropped; with them the engine would turn
  the base's frame, by 0.7°, into the principal axes.
* A box on the trunk's back holds the payload: a link of its own, because the engine cannot move a centre of mass.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from metamotor.robots.boxes import box_inertia
from metamotor.robots.quadruped import PAYLOAD
from metamotor.robots.simulator import data_path

Element: TypeAlias = ElementTree.Element
Array: TypeAlias = NDArray[np.float64]

MODEL = "a1/a1.urdf"
TRUNK = "trunk"
PAYLOAD_SIZE = (0.2, 0.12, 0.08)
"""Length, width and height of the box that holds the payload [m]."""
PAYLOAD_POSITION = (0.0, 0.0, 0.097)
"""Middle of the box in the trunk's frame: it stands on the trunk [m]."""
COLLIDING = ("FR_lower", "FL_lower", "RR_lower", "RL_lower", TRUNK)
"""Links with a collision shape; a shank's is that of its toe."""


def urdf() -> str:
    """Return the model as the text of a URDF."""
    path = Path(data_path(MODEL))
    robot = ElementTree.parse(path).getroot()
    for unused in [*robot.findall("transmission"), *robot.findall("gazebo")]:
        robot.remove(unused)
    for mesh in robot.iter("mesh"):
        mesh.set("filename", str(path.parent / mesh.attrib["filename"]))
    links = {link.attrib["name"]: link for link in robot.findall("link")}
    for name, link in links.items():
        if name != TRUNK and not name.endswith("_toe"):
            for shape in link.findall("collision"):
                link.remove(shape)
    for joint in robot.findall("joint"):
        if joint.attrib["type"] == "fixed":
            child = links[_child(joint, "child").attrib["link"]]
            _merge(links[_child(joint, "parent").attrib["link"]], child, _place(joint))
            robot.remove(child)
            robot.remove(joint)
    inertia = _child(_child(links[TRUNK], "inertial"), "inertia")
    for product in ("ixy", "ixz", "iyz"):
        inertia.set(product, "0")
    robot.extend(_payload())
    return ElementTree.tostring(robot, encoding="unicode")


def mass_properties(link: Element) -> tuple[float, Array, Array]:
    """Return a link's mass [kg], centre of mass [m] and inertia tensor about it [kg·m²], axes as the link's."""
    inertial = _child(link, "inertial")
    mass = float(_child(inertial, "mass").attrib["value"])
    entries = _child(inertial, "inertia").attrib
    xx, yy, zz, xy, xz, yz = (
        float(entries[f"i{axes}"]) for axes in ("xx", "yy", "zz", "xy", "xz", "yz")
    )
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return mass, _place(inertial), tensor


def _merge(parent: Element, child: Element, offset: Array) -> None:
    """Make a child part of its parent; `offset` is where the child's frame is in the parent's [m], axes the same."""
    bodies = [mass_properties(parent), mass_properties(child)]
    bodies[1] = (bodies[1][0], bodies[1][1] + offset, bodies[1][2])
    mass = sum(body[0] for body in bodies)
    centre = sum((body[0] * body[1] for body in bodies), np.zeros(3)) / mass
    tensor = np.zeros((3, 3))
    for part, at, own in bodies:
        # The parallel axis theorem.
        arm = at - centre
        tensor += own + part * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    inertial = _child(parent, "inertial")
    _child(inertial, "mass").set("value", repr(float(mass)))
    _put(inertial, centre)
    for (row, column), axes in zip(
        ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)),
        ("xx", "yy", "zz", "xy", "xz", "yz"),
        strict=True,
    ):
        _child(inertial, "inertia").set(f"i{axes}", repr(float(tensor[row, column])))
    for shape in [*child.findall("visual"), *child.findall("collision")]:
        _put(shape, _place(shape) + offset)
        parent.append(shape)


def _payload() -> list[Element]:
    """Return the joint and the link of the payload; what it weighs is set later."""
    xx, yy, zz = box_inertia(1.0, PAYLOAD_SIZE)
    text = (
        f'<robot><joint name="{PAYLOAD}" type="fixed"><parent link="{TRUNK}"/><child link="{PAYLOAD}"/>'
        f'<origin xyz="{_text(np.array(PAYLOAD_POSITION))}"/></joint><link name="{PAYLOAD}">'
        f'<inertial><mass value="1"/><inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="0" ixz="0" '
        f'iyz="0"/></inertial><visual><geometry><box size="{_text(np.array(PAYLOAD_SIZE))}"/>'
        '</geometry><material name="blue"/></visual></link></robot>'
    )
    return list(ElementTree.fromstring(text))


def _child(element: Element, tag: str) -> Element:
    child = element.find(tag)
    if child is None:
        raise ValueError(f"{MODEL} has a <{element.tag}> without a <{tag}>")
    return child


def _place(element: Element) -> Array:
    """Return where an element is in its frame [m]; without an `<origin>`, at zero."""
    origin = element.find("origin")
    words = "0 0 0" if origin is None else origin.attrib["xyz"]
    return np.array([float(word) for word in words.split()])


def _put(element: Element, place: Array) -> None:
    origin = element.find("origin")
    if origin is None:
        origin = ElementTree.SubElement(element, "origin")
    origin.set("xyz", _text(place))


def _text(numbers: Array) -> str:
    return " ".join(repr(float(number)) for number in numbers)
