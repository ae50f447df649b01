from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Ant
from metamotor.robots.ant_model import (
    ANKLE_LIMITS,
    DENSITY,
    HEADINGS,
    HIP,
    HIP_LIMITS,
    JOINT_DAMPING,
    LEG_RADIUS,
    SHANK,
    TORSO_RADIUS,
    torso_inertia,
)
from metamotor.robots.simulator import BaseState, data_path

Array = NDArray[np.float64]
STILL = (0.0, 0.0, 0.0)


@pytest.fixture
def robot() -> Iterator[Ant]:
    with Ant() as robot:
        yield robot


@pytest.fixture(scope="module")
def drawing() -> ElementTree.Element:
    return ElementTree.parse(data_path("mjcf/ant.xml")).getroot()


def numbers(element: ElementTree.Element | None, attribute: str) -> Array:
    assert element is not None
    return np.array([float(word) for word in element.attrib[attribute].split()])


def legs(drawing: ElementTree.Element) -> list[list[ElementTree.Element]]:
    """Of each leg the parts from the torso outwards: what is fixed to it, the upper leg, the foot."""
    found = []
    for first in drawing.findall("worldbody/body/body"):
        upper = first.find("body")
        assert upper is not None
        foot = upper.find("body")
        assert foot is not None
        found.append([first, upper, foot])
    return found


def inside(points: Array, start: Array, end: Array, radius: float) -> NDArray[np.bool_]:
    """Which points lie in a capsule."""
    axis = end - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    apart: Array = np.linalg.norm(points - start - along[:, None] * axis, axis=1)
    return apart <= radius


class TestDrawing:
    def test_legs_are_those_of_the_file(self, drawing: ElementTree.Element) -> None:
        assert numbers(drawing.find("default/joint"), "damping") == JOINT_DAMPING
        assert numbers(drawing.find("worldbody/body/geom"), "size") == TORSO_RADIUS
        assert numbers(drawing.find("default/geom"), "friction")[0] == Ant.FRICTION
        for heading, leg in zip(HEADINGS, legs(drawing), strict=True):
            along = np.array([np.cos(heading), np.sin(heading), 0.0])
            left = np.array([-np.sin(heading), np.cos(heading), 0.0])
            for part, place, length in zip(leg, (0.0, HIP, HIP), (HIP, HIP, SHANK), strict=True):
                assert numbers(part, "pos") == pytest.approx(place * along)
                geom = part.find("geom")
                assert numbers(geom, "fromto") == pytest.approx([0.0, 0.0, 0.0, *length * along])
                assert numbers(geom, "size") == LEG_RADIUS
            hip, ankle = leg[1].find("joint"), leg[2].find("joint")
            assert numbers(hip, "axis").tolist() == [0.0, 0.0, 1.0]
            assert np.radians(numbers(hip, "range")) == pytest.approx(HIP_LIMITS)
            # Turned the other way about the opposite axis, the limits change places and signs.
            side = float(np.sign(numbers(ankle, "axis") @ left))
            assert numbers(ankle, "axis") == pytest.approx(side * np.sqrt(2) * left)
            limits = sorted(side * np.radians(numbers(ankle, "range")))
            assert limits == pytest.approx(ANKLE_LIMITS)

    def test_joints_are_named_as_in_the_file(self, drawing: ElementTree.Element) -> None:
        assert (
            tuple(joint.attrib["name"] for joint in drawing.iter("joint") if "name" in joint.attrib)
            == Ant.JOINTS
        )


class TestModel:
    def test_masses_are_those_of_the_file_by_another_density(
        self, robot: Ant, drawing: ElementTree.Element
    ) -> None:
        # By the density of the file the whole weighs what MuJoCo says: 0.911 kg.
        volume = 10.0 / DENSITY
        assert volume * 5.0 == pytest.approx(0.911, abs=5e-4)
        assert numbers(drawing.find("default/geom"), "density") == 5.0
        masses = [robot.simulator.mass(robot.body, link) for link in (-1, *robot.joints.links)]
        assert sum(masses) == pytest.approx(10.0)
        ball = 4 / 3 * np.pi * LEG_RADIUS**3
        upper = DENSITY * (np.pi * LEG_RADIUS**2 * np.sqrt(0.08) + ball)
        foot = DENSITY * (np.pi * LEG_RADIUS**2 * np.sqrt(0.32) + ball)
        assert masses[1:] == pytest.approx([upper, foot] * 4)

    def test_inertia_is_that_of_points(self, robot: Ant) -> None:
        points = np.random.default_rng(0).uniform(-1, 1, (400_000, 3)) * [0.4, 0.4, 0.25]
        weight = 8 * 0.4 * 0.4 * 0.25 * DENSITY / len(points)
        # Where parts overlap they count twice, as in MuJoCo.
        count = 1.0 * (np.linalg.norm(points, axis=1) <= TORSO_RADIUS)
        for heading in HEADINGS:
            end = HIP * np.array([np.cos(heading), np.sin(heading), 0.0])
            count += inside(points, np.zeros(3), end, LEG_RADIUS)
        squares = weight * (count[:, None] * points**2).sum(axis=0)
        expected = squares.sum() - squares
        assert torso_inertia() == pytest.approx(expected, rel=0.01)
        assert robot.simulator.inertia(robot.body, -1) == pytest.approx(torso_inertia())
        points = np.random.default_rng(0).uniform(-1, 1, (400_000, 3)) * [0.37, 0.08, 0.08]
        weight = 8 * 0.37 * 0.08 * 0.08 * DENSITY / len(points)
        tip = np.array([SHANK / 2, 0.0, 0.0])
        filled = inside(points, -tip, tip, LEG_RADIUS)
        squares = weight * (filled[:, None] * points**2).sum(axis=0)
        found = robot.simulator.inertia(robot.body, robot.joints.links[1])
        assert found == pytest.approx(squares.sum() - squares, rel=0.01)

    def test_joints_in_order_with_limits(self, robot: Ant) -> None:
        assert robot.joints.names == Ant.JOINTS
        assert robot.joints.lower == pytest.approx((HIP_LIMITS[0], ANKLE_LIMITS[0]) * 4)
        assert robot.joints.upper == pytest.approx((HIP_LIMITS[1], ANKLE_LIMITS[1]) * 4)

    def test_commands_stay_inside_the_limits(self, robot: Ant) -> None:
        neutral, reach = np.array(Ant.NEUTRAL), np.array(Ant.REACH)
        assert (neutral - reach >= np.array(robot.joints.lower)).all()
        assert (neutral + reach <= np.array(robot.joints.upper)).all()

    def test_legs_are_where_geometry_says(self, robot: Ant) -> None:
        pose = np.random.default_rng(0).uniform(-0.6, 0.6, 8) + [0.0, 1.1] * 4
        robot.reset(pose.tolist(), 0.2)
        for leg, heading in enumerate(HEADINGS):
            hip = HIP * np.array([np.cos(heading), np.sin(heading), 0.0])
            angle = heading + pose[2 * leg]
            ankle = hip + HIP * np.array([np.cos(angle), np.sin(angle), 0.0])
            expected = ankle + np.array([0.0, 0.0, Ant.HEIGHT + 0.2])
            link = robot.joints.links[2 * leg + 1]
            assert robot.simulator.link_position(robot.body, link) == pytest.approx(expected)


class TestMotion:
    def test_comes_to_rest_standing(self, robot: Ant) -> None:
        robot.reset(Ant.NEUTRAL, 0.03)
        assert robot.simulator.contact_count(robot.body) == 0
        for _ in range(120):
            robot.advance()
        trunk = robot.trunk()
        assert robot.simulator.contact_count(robot.body) == 4
        assert trunk.position == pytest.approx((0.0, 0.0, Ant.HEIGHT), abs=0.01)
        assert np.abs(trunk.velocity).max() < 5e-3
        assert trunk.uprightness > 0.9999
        angles = [state[0] for state in robot.joints.read()]
        assert angles == pytest.approx(Ant.NEUTRAL, abs=0.01)

    def test_stands_on_feet_of_the_height_that_geometry_says(self, robot: Ant) -> None:
        assert SHANK * np.sin(Ant.NEUTRAL[1]) + LEG_RADIUS == pytest.approx(Ant.HEIGHT, abs=0.01)

    def test_falls_freely(self, robot: Ant) -> None:
        robot.reset(Ant.NEUTRAL, 10.0)
        robot.simulator.step(24)
        trunk = robot.trunk()
        assert trunk.velocity == pytest.approx((0.0, 0.0, -9.81 * 24 / 240), abs=1e-6)
        assert trunk.uprightness == pytest.approx(1.0)

    def test_an_ankle_turns_its_foot_down(self, robot: Ant) -> None:
        """Pressing the feet down lifts the torso."""
        heights = []
        for press in (-0.5, 0.5):
            robot.reset(Ant.NEUTRAL)
            robot.pose([0.0, press] * 4)
            for _ in range(60):
                robot.advance()
            heights.append(robot.trunk().position[2])
        assert heights[0] < Ant.HEIGHT - 0.03 < Ant.HEIGHT + 0.01 < heights[1]

    def test_hips_that_turn_to_the_right_turn_it_to_the_left(self, robot: Ant) -> None:
        robot.pose([-1.0, 0.0] * 4)
        for _ in range(40):
            robot.advance()
        # The feet stay where they are, in line with the torso's middle.
        length = HIP + SHANK * np.cos(Ant.NEUTRAL[1])
        expected = np.arctan2(length * np.sin(0.6), HIP + length * np.cos(0.6))
        assert robot.trunk().yaw == pytest.approx(expected, abs=0.03)

    def test_torque_is_limited(self, robot: Ant) -> None:
        for side in (1.0, -1.0):
            robot.reset(Ant.NEUTRAL)
            robot.pose([side] * 8)
            most = np.zeros(8)
            for _ in range(10):
                robot.simulator.step()
                most = np.maximum(most, np.abs([state[3] for state in robot.joints.read()]))
            assert (most <= np.array(Ant.MAX_TORQUE) + 1e-9).all()
            assert most.max() == pytest.approx(Ant.MAX_TORQUE[0])

    def test_camera_follows(self, robot: Ant) -> None:
        robot._base.place(BaseState((3.0, -2.0, 0.6), (0.0, 0.0, 0.0, 1.0), STILL, STILL))
        assert robot.camera().target[:2] == (3.0, -2.0)


class TestProperties:
    def test_mass_weighs(self, robot: Ant) -> None:
        heights = []
        for scale in (1.0, 10.0):
            # On ice no leg leans against another.
            robot.configure(mass_scale=scale, motor_strength=0.5, friction=0.1)
            total = sum(robot.simulator.mass(robot.body, link) for link in (-1, *range(8)))
            assert total == pytest.approx(10.0 * scale)
            robot.reset(Ant.NEUTRAL)
            for _ in range(60):
                robot.advance()
            heights.append(robot.trunk().position[2])
        assert heights[0] == pytest.approx(Ant.HEIGHT, abs=0.02)
        assert heights[1] < Ant.HEIGHT - 0.1

    @pytest.mark.parametrize("friction", [0.0, 0.2, 0.4])
    def test_friction_brakes(self, robot: Ant, friction: float) -> None:
        robot.configure(friction=friction)
        robot.simulator.step(60)
        base = robot._base.base()
        robot._base.place(base._replace(linear_velocity=(1.0, 0.0, 0.0)))
        robot.simulator.step(24)
        lost = 1.0 - robot.trunk().velocity[0]
        assert lost == pytest.approx(friction * 9.81 * 24 / 240, rel=0.2, abs=5e-3)

    def test_a_dead_motor_does_nothing_and_a_joint_goes_its_share_of_the_way(
        self, robot: Ant
    ) -> None:
        robot.configure(**{"ankle_1.strength": 0.0, "ankle_3.gain": 0.0, "ankle_4.gain": -1.0})
        robot.reset(Ant.NEUTRAL, 20.0)
        robot.pose([0.0, 0.3] * 4)
        for _ in range(40):
            robot.advance()
        angles = [state[0] for state in robot.joints.read()]
        assert angles[3::2] == pytest.approx([1.1 + 0.165, 1.1, 1.1 - 0.165], abs=0.02)
        assert angles[1] == pytest.approx(1.1, abs=0.08)

    def test_what_was_changed_leaves_no_trace(self, robot: Ant) -> None:
        def motion() -> str:
            robot.reset(Ant.NEUTRAL)
            generator = np.random.default_rng(0)
            for _ in range(15):
                robot.excite(generator)
                robot.advance()
            return repr(robot.joints.read()) + repr(robot.trunk())

        expected = motion()
        for name, own in robot.PROPERTIES.items():
            robot.configure(**{name: 0.6})
            assert motion() != expected, name
            robot.configure(**{name: own.nominal})
            assert motion() == expected, name
