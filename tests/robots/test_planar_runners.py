"""The hopper and the planar walker, and what can be changed about any planar runner."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import HalfCheetah, Hopper, Simulator, Walker2d
from metamotor.robots.planar_runner import PlanarRunner
from metamotor.robots.simulator import data_path
from metamotor.robots.simulator.engine import pybullet

Array = NDArray[np.float64]
FILES: dict[type[PlanarRunner], str] = {Hopper: "hopper", Walker2d: "walker2d"}
RUNNERS = [HalfCheetah, Hopper, Walker2d]


def numbers(element: ElementTree.Element | None, attribute: str) -> Array:
    assert element is not None
    return np.array([float(word) for word in element.attrib[attribute].split()])


@pytest.fixture(params=FILES)
def legged(request: pytest.FixtureRequest) -> Iterator[PlanarRunner]:
    with request.param() as robot:
        yield robot


@pytest.fixture
def drawing(legged: PlanarRunner) -> ElementTree.Element:
    return ElementTree.parse(data_path(f"mjcf/{FILES[type(legged)]}.xml")).getroot()


@pytest.fixture(params=RUNNERS)
def robot(request: pytest.FixtureRequest) -> Iterator[PlanarRunner]:
    with request.param() as robot:
        yield robot


def in_the_air(robot: PlanarRunner) -> None:
    robot.reset((0.0, 20.0, 0.0, *robot.NEUTRAL))


def speeds(robot: PlanarRunner) -> Array:
    """Of the hinges [rad/s]."""
    return np.array([state[1] for state in robot.read()[3:]])


def angles(robot: PlanarRunner) -> Array:
    """Of the hinges [rad]."""
    return np.array([state[0] for state in robot.read()[3:]])


def centre(robot: PlanarRunner) -> float:
    """How far forwards the centre of mass is [m]."""
    simulator, links = robot.simulator, robot.joints.links
    assert isinstance(simulator, Simulator)
    masses = [simulator.mass(robot.body, link) for link in links]
    places = [
        pybullet.getLinkState(robot.body, link, 0, 1, simulator._client)[0][0] for link in links
    ]
    return float(np.average(places, weights=masses))


class TestDrawing:
    def test_links_are_those_of_the_file(
        self, legged: PlanarRunner, drawing: ElementTree.Element
    ) -> None:
        model = legged.MODEL
        parents = {child: parent for parent in drawing.iter() for child in parent}
        bodies = {body.attrib["name"]: body for body in drawing.iter("body")}
        assert [*bodies] == ["torso", *(link.name for link in model.links)]
        motors = drawing.findall("actuator/motor")
        gears = {motor.get("joint"): float(motor.attrib["gear"]) for motor in motors}
        damping = float(numbers(drawing.find("default/joint"), "damping")[0])
        # In the file everything is in the world's frame.
        places = {"torso": np.array([0.0, 0.0, model.root_height])}
        for link in model.links:
            body = bodies[link.name]
            assert parents[body].get("name") == link.parent
            joint = body.find("joint")
            places[link.name] = places[link.parent] + [link.x, 0.0, link.z]
            assert places[link.name] == pytest.approx(numbers(joint, "pos"))
            assert numbers(joint, "axis").tolist() == [0.0, model.hinge_axis, 0.0]
            assert np.radians(numbers(joint, "range")) == pytest.approx([link.lower, link.upper])
            assert (gears[f"{link.name}_joint"], damping) == (link.torque, link.damping)
        capsules = {link.name: link.capsule for link in model.links}
        (capsules["torso"],) = model.torso
        for name, capsule in capsules.items():
            geom = bodies[name].find("geom")
            first, last = numbers(geom, "fromto").reshape(2, 3)
            middle = places[name] + [capsule.x, 0.0, capsule.z]
            axis = np.array([np.sin(capsule.angle), 0.0, np.cos(capsule.angle)])
            ends = [middle + side * capsule.half_length * axis for side in (-1, 1)]
            assert min(
                np.abs(np.array(ends) - pair).max() for pair in ([first, last], [last, first])
            ) == pytest.approx(0.0, abs=1e-12)
            assert numbers(geom, "size").tolist() == [capsule.radius]

    def test_masses_are_those_of_cylinders_with_two_half_balls(
        self, legged: PlanarRunner, drawing: ElementTree.Element
    ) -> None:
        expected = []
        for geom in drawing.findall("worldbody//geom"):
            first, last = numbers(geom, "fromto").reshape(2, 3)
            (radius,) = numbers(geom, "size")
            length = float(np.linalg.norm(last - first))
            expected.append(1000 * np.pi * radius**2 * (length + 4 / 3 * radius))
        masses = [legged.simulator.mass(legged.body, link) for link in legged.joints.links]
        assert masses[:2] == [0.0, 0.0]
        assert masses[2:] == pytest.approx(expected)

    def test_joints_move_links_as_in_the_file(
        self, legged: PlanarRunner, drawing: ElementTree.Element
    ) -> None:
        """Forward kinematics in the world's frame: a joint turns all that hangs on it about its own place."""
        bodies = {body.attrib["name"]: body for body in drawing.iter("body")}
        generator = np.random.default_rng(0)
        pose = [generator.uniform(link.lower, link.upper) for link in legged.MODEL.links]
        x, z, pitch = 0.3, 0.2, 0.4
        legged.joints.reset([x, z, pitch, *pose])
        for index, link in enumerate(legged.MODEL.links):
            place, name, parent = numbers(bodies[link.name].find("joint"), "pos"), "", link.parent
            while parent != "torso":
                name, parent = parent, _parent(legged, parent)
                angle = -pose[legged.JOINTS.index(name)]
                place = _turned(place, numbers(bodies[name].find("joint"), "pos"), angle)
            torso = np.array([0.0, 0.0, legged.MODEL.root_height])
            place = _turned(place, torso, pitch) + np.array([x, 0.0, z])
            found = legged.simulator.link_position(legged.body, legged.joints.links[3 + index])
            assert found == pytest.approx(place, abs=1e-6)


def _parent(robot: PlanarRunner, name: str) -> str:
    return next(link.parent for link in robot.MODEL.links if link.name == name)


def _turned(place: Array, about: Array, angle: float) -> Array:
    """Turn a place about an axis along y through another by an angle, nose down [rad]."""
    x, _, z = place - about
    cosine, sine = np.cos(angle), np.sin(angle)
    turned: Array = about + np.array([cosine * x + sine * z, 0.0, cosine * z - sine * x])
    return turned


class TestMotion:
    def test_joints_in_order_with_limits(self, robot: PlanarRunner) -> None:
        links = robot.MODEL.links
        assert robot.joints.names == (*robot.ROOT, *(link.name for link in links))
        assert robot.joints.lower[3:] == tuple(link.lower for link in links)
        assert robot.joints.upper[3:] == tuple(link.upper for link in links)

    def test_commands_stay_inside_the_limits(self, robot: PlanarRunner) -> None:
        neutral, reach = np.array(robot.NEUTRAL), np.array(robot.REACH)
        assert (neutral - reach >= np.array(robot.joints.lower[3:]) - 1e-9).all()
        assert (neutral + reach <= np.array(robot.joints.upper[3:]) + 1e-9).all()

    def test_comes_to_rest_standing(self, robot: PlanarRunner) -> None:
        x, z, pitch = robot.REST
        robot.reset((x, z + 0.03, pitch, *robot.NEUTRAL))
        assert robot.simulator.contact_count(robot.body) == 0
        for _ in range(200):
            robot.advance()
        positions, velocities = zip(*[state[:2] for state in robot.read()], strict=True)
        assert robot.simulator.contact_count(robot.body) >= 2
        assert np.abs(velocities).max() < 1e-3
        assert positions[1:3] == pytest.approx((z, pitch), abs=5e-3)
        assert positions[3:] == pytest.approx(robot.NEUTRAL, abs=0.05)

    def test_falls_freely(self, robot: PlanarRunner) -> None:
        in_the_air(robot)
        robot.simulator.step(24)
        state = robot.read()
        assert state[1][1] == pytest.approx(-9.81 * 24 / 240, rel=1e-6)
        assert state[0][0] == pytest.approx(0.0, abs=1e-9)

    def test_motors_reach_their_targets_in_the_air(self, robot: PlanarRunner) -> None:
        in_the_air(robot)
        targets = np.resize([0.5, -0.5, 0.9, -0.9], len(robot.JOINTS))
        robot.pose(targets.tolist())
        robot.simulator.step(120)
        assert angles(robot) == pytest.approx(robot.NEUTRAL + targets * robot.REACH, abs=0.02)

    def test_camera_follows(self, robot: PlanarRunner) -> None:
        robot.reset((3.0, *robot.REST[1:], *robot.NEUTRAL))
        assert robot.camera().target[0] == 3.0


class TestProperties:
    def start(self, robot: PlanarRunner, **properties: float) -> Array:
        """How fast the hinges turn a physics step after weak motors began to push them, in the air."""
        robot.configure(motor_strength=0.02, damping_scale=0.0, **properties)
        in_the_air(robot)
        robot.pose([1.0, -1.0] * (len(robot.JOINTS) // 2) + [1.0] * (len(robot.JOINTS) % 2))
        robot.simulator.step()
        return speeds(robot)

    def test_a_body_of_twice_the_mass_is_moved_half_as_fast(self, robot: PlanarRunner) -> None:
        links = robot.joints.links[2:]
        masses = [robot.simulator.mass(robot.body, link) for link in links]
        light, heavy = self.start(robot), self.start(robot, mass_scale=2.0)
        doubled = [robot.simulator.mass(robot.body, link) for link in links]
        assert doubled == pytest.approx(2 * np.array(masses))
        assert np.abs(light).min() > 0.01
        assert heavy == pytest.approx(light / 2, rel=1e-3)

    def test_moments_of_inertia_scale_by_themselves(self, robot: PlanarRunner) -> None:
        links = robot.joints.links[2:]
        moments = [robot.simulator.inertia(robot.body, link)[1] for link in links]
        nimble, sluggish = self.start(robot), self.start(robot, inertia_scale=3.0)
        tripled = [robot.simulator.inertia(robot.body, link)[1] for link in links]
        assert tripled == pytest.approx(3 * np.array(moments))
        slower = np.linalg.norm(sluggish) / np.linalg.norm(nimble)
        assert 1 / 3 < slower < 0.95

    def test_mass_weighs(self, robot: PlanarRunner) -> None:
        heights = []
        for scale in (1.0, 10.0):
            robot.configure(mass_scale=scale, motor_strength=0.3)
            robot.reset((*robot.REST, *robot.NEUTRAL))
            for _ in range(30):
                robot.advance()
            heights.append(robot.read()[1][0])
        assert heights[0] > robot.REST[1] - 0.03
        assert heights[1] < heights[0] - 0.05

    @pytest.mark.parametrize("friction", [0.0, 0.2, 0.4])
    def test_friction_brakes(self, robot: PlanarRunner, friction: float) -> None:
        robot.configure(friction=friction)
        robot.reset((*robot.REST, *robot.NEUTRAL))
        robot.simulator.step(60)
        pose = [state[0] for state in robot.read()]
        robot.joints.reset(pose, [0.5, *[0.0] * (len(pose) - 1)])
        robot.simulator.step(8)
        before = centre(robot)
        robot.simulator.step(4)
        lost = 0.5 - (centre(robot) - before) / 4 * 240
        # In the middle of the last four steps, ten have passed.
        assert lost == pytest.approx(friction * 9.81 * 10 / 240, rel=0.25, abs=2e-3)

    def test_damping_brakes_joints(self, robot: PlanarRunner) -> None:
        left = []
        for scale in (0.0, 0.2, 0.4):
            robot.configure(motor_strength=0.0, damping_scale=scale)
            in_the_air(robot)
            pose = [state[0] for state in robot.read()]
            robot.joints.reset(pose, [0.0, 0.0, 0.0, *[0.5] * len(robot.JOINTS)])
            robot.simulator.step(5)
            left.append(float(np.linalg.norm(speeds(robot))))
        assert left[0] > left[1] > left[2]

    def test_motors_give_no_more_than_their_share(self, robot: PlanarRunner) -> None:
        last = robot.JOINTS[-1]
        robot.configure(motor_strength=0.5, **{f"{last}.strength": 0.1})
        limits = 0.5 * np.array(robot.MAX_TORQUE)
        limits[-1] *= 0.1
        most = np.zeros(len(limits))
        for side in (1.0, -1.0) * 3:
            robot.reset((*robot.REST, *robot.NEUTRAL))
            robot.pose([side] * len(limits))
            for _ in range(8):
                robot.simulator.step()
                most = np.maximum(most, np.abs([state[3] for state in robot.read()[3:]]))
        assert (most <= limits + 1e-9).all()
        assert most[-1] == pytest.approx(limits[-1])

    @pytest.mark.parametrize("gain", [-1.0, 0.0, 0.5])
    def test_a_joint_goes_its_share_of_the_way(self, robot: PlanarRunner, gain: float) -> None:
        first = robot.JOINTS[0]
        robot.configure(**{f"{first}.gain": gain})
        in_the_air(robot)
        robot.pose([0.5] * len(robot.JOINTS))
        robot.simulator.step(120)
        way = (angles(robot) - robot.NEUTRAL) / robot.REACH
        assert way == pytest.approx([0.5 * gain, *[0.5] * (len(way) - 1)], abs=0.06)

    @pytest.mark.parametrize("end", ["low", "high"])
    def test_bears_its_limits(self, robot: PlanarRunner, end: str) -> None:
        for name in ("mass_scale", "inertia_scale", "damping_scale"):
            own = robot.PROPERTIES[name]
            robot.configure(**{name: getattr(own, end)})
            robot.reset((*robot.REST, *robot.NEUTRAL))
            generator, fastest = np.random.default_rng(0), []
            for _ in range(40):
                robot.excite(generator)
                robot.advance()
                fastest.append(np.abs(speeds(robot)).max())
            assert max(fastest) < 25.0, name
            robot.configure(**{name: own.nominal})

    def test_what_was_changed_leaves_no_trace(self, robot: PlanarRunner) -> None:
        def motion() -> str:
            robot.reset((*robot.REST, *robot.NEUTRAL))
            generator = np.random.default_rng(0)
            for _ in range(20):
                robot.excite(generator)
                robot.advance()
            return repr(robot.read())

        expected = motion()
        for name, own in robot.PROPERTIES.items():
            robot.configure(**{name: 0.75})
            changed = motion()
            assert changed != expected, name
            robot.configure(**{name: own.nominal})
            assert motion() == expected, name
