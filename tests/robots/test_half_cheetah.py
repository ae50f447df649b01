from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
import pytest

from metamotor.robots import HalfCheetah
from metamotor.robots.half_cheetah_model import LINKS, RADIUS, ROOT_HEIGHT, TORSO
from metamotor.robots.planar_model import Capsule
from metamotor.robots.simulator import data_path

Drawing: TypeAlias = "ElementTree.ElementTree[ElementTree.Element]"


def numbers(element: ElementTree.Element | None, attribute: str) -> list[float]:
    assert element is not None
    return [float(word) for word in element.attrib[attribute].split()]


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    return ElementTree.parse(data_path("mjcf/half_cheetah.xml"))


@pytest.fixture
def robot() -> Iterator[HalfCheetah]:
    with HalfCheetah() as cheetah:
        yield cheetah


class TestDrawing:
    def test_links_are_those_of_the_file(self, drawing: Drawing) -> None:
        parents = {child: parent for parent in drawing.iter() for child in parent}
        bodies = {body.get("name"): body for body in drawing.iter("body")}
        assert set(bodies) == {"torso", *(link.name for link in LINKS)}
        motors = drawing.findall("actuator/motor")
        gears = {motor.get("joint"): float(motor.attrib["gear"]) for motor in motors}
        for link in LINKS:
            body = bodies[link.name]
            joint, geom = body.find("joint"), body.find("geom")
            assert parents[body].get("name") == link.parent
            assert numbers(body, "pos") == [link.x, 0.0, link.z]
            assert numbers(joint, "range") == [link.lower, link.upper]
            assert numbers(joint, "damping") == [link.damping]
            assert numbers(geom, "pos") == [link.capsule.x, 0.0, link.capsule.z]
            assert numbers(geom, "axisangle") == [0.0, 1.0, 0.0, link.capsule.angle]
            assert numbers(geom, "size") == [RADIUS, link.capsule.half_length]
            assert gears[link.name] == link.torque

    def test_torso_is_that_of_the_file(self, drawing: Drawing) -> None:
        torso = next(drawing.iter("body"))
        trunk, head = torso.findall("geom")
        assert numbers(torso, "pos") == [0.0, 0.0, ROOT_HEIGHT]
        assert numbers(trunk, "fromto") == [-0.5, 0.0, 0.0, 0.5, 0.0, 0.0]
        assert TORSO[0] == Capsule(0.0, 0.0, np.pi / 2, 0.5, RADIUS)
        assert numbers(head, "pos") == [TORSO[1].x, 0.0, TORSO[1].z]
        assert numbers(head, "axisangle")[-1] == TORSO[1].angle
        assert numbers(head, "size") == [RADIUS, TORSO[1].half_length]


class TestModel:
    def test_masses_are_those_of_mujoco(self, robot: HalfCheetah) -> None:
        # Printed by MuJoCo for its own HalfCheetah, which has the same capsules and total mass.
        expected = [
            6.25020921, 1.54351464, 1.5874477, 1.09539749, 1.43807531, 1.20083682, 0.88451883,
        ]  # fmt: skip
        masses = [robot.simulator.mass(robot.body, link) for link in robot.joints.links]
        assert masses[:2] == [0.0, 0.0]
        assert masses[2:] == pytest.approx(expected, abs=1e-7)
        assert sum(masses) == pytest.approx(14.0)

    def test_moment_of_a_capsule_is_that_of_its_points(self) -> None:
        capsule = Capsule(0.0, 0.0, 0.0, 0.1, RADIUS)
        points = np.random.default_rng(0).uniform(-1, 1, (400_000, 3)) * [RADIUS, RADIUS, 0.146]
        beyond = np.maximum(np.abs(points[:, 2]) - 0.1, 0.0)
        inside = points[:, 0] ** 2 + points[:, 1] ** 2 + beyond**2 <= RADIUS**2
        box = 8 * RADIUS * RADIUS * 0.146
        moment = box * np.mean((points[:, 0] ** 2 + points[:, 2] ** 2) * inside)
        assert capsule.volume == pytest.approx(box * inside.mean(), rel=5e-3)
        assert capsule.moment == pytest.approx(moment, rel=1e-2)

    def test_joints_in_order_with_limits(self, robot: HalfCheetah) -> None:
        assert robot.joints.names == ("rootx", "rootz", "rooty", *HalfCheetah.JOINTS)
        assert HalfCheetah.JOINTS == ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
        assert robot.joints.lower[3:] == HalfCheetah.LOWER
        assert robot.joints.upper[3:] == HalfCheetah.UPPER

    def test_commands_stay_inside_the_limits(self) -> None:
        neutral, reach = np.array(HalfCheetah.NEUTRAL), np.array(HalfCheetah.REACH)
        assert (neutral - reach >= np.array(HalfCheetah.LOWER) - 1e-9).all()
        assert (neutral + reach <= np.array(HalfCheetah.UPPER) + 1e-9).all()


class TestMotion:
    def test_comes_to_rest_standing(self, robot: HalfCheetah) -> None:
        x, z, pitch = HalfCheetah.REST
        robot.reset((x, z + 0.05, pitch, *HalfCheetah.NEUTRAL))
        assert robot.simulator.contact_count(robot.body) == 0
        for _ in range(150):
            robot.advance()
        positions, velocities = zip(*[state[:2] for state in robot.read()], strict=True)
        assert robot.simulator.contact_count(robot.body) >= 2
        assert np.abs(velocities).max() < 1e-3
        assert positions[1:3] == pytest.approx((z, pitch), abs=5e-3)
        assert positions[3:] == pytest.approx(HalfCheetah.NEUTRAL, abs=0.05)

    def test_falls_freely(self, robot: HalfCheetah) -> None:
        robot.reset((0.0, 10.0, 0.0, *HalfCheetah.NEUTRAL))
        robot.simulator.step(24)
        state = robot.read()
        assert state[1][1] == pytest.approx(-9.81 * 24 / 240, rel=1e-6)
        assert state[1][0] == pytest.approx(10.0 - 9.81 / 240**2 * 24 * 25 / 2, rel=1e-6)
        assert state[0][0] == pytest.approx(0.0, abs=1e-9)

    def test_motors_reach_their_targets_in_the_air(self, robot: HalfCheetah) -> None:
        robot.reset((0.0, 50.0, 0.0, *HalfCheetah.NEUTRAL))
        targets = np.array([0.5, -0.5, 1.0, -1.0, 0.5, -0.5])
        robot.pose(targets.tolist())
        for _ in range(30):
            robot.advance()
        reached = [state[0] for state in robot.read()[3:]]
        expected = HalfCheetah.NEUTRAL + targets * HalfCheetah.REACH
        assert reached == pytest.approx(expected, abs=0.02)

    def test_rubs_as_the_published_policies_know_it(self, robot: HalfCheetah) -> None:
        # Not the 0.8 of the file.
        assert {robot.simulator.friction(robot.body, link) for link in robot.joints.links} == {0.5}

    def test_torque_is_limited(self, robot: HalfCheetah) -> None:
        for targets in ([1.0] * 6, [-1.0] * 6):
            robot.pose(targets)
            for _ in range(10):
                robot.simulator.step()
                torques = np.abs([state[3] for state in robot.read()[3:]])
                assert (torques <= np.array(HalfCheetah.MAX_TORQUE) + 1e-9).all()

    def test_camera_follows(self, robot: HalfCheetah) -> None:
        robot.reset((3.0, *HalfCheetah.REST[1:], *HalfCheetah.NEUTRAL))
        assert robot.camera().target[0] == 3.0
