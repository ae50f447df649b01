from __future__ import annotations

from collections.abc import Iterator
from math import hypot, pi, sin
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from metamotor.robots import Husky
from metamotor.robots import husky_model as model
from metamotor.robots.simulator import BaseState, data_path

STILL = (0.0, 0.0, 0.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def robot() -> Iterator[Husky]:
    with Husky() as husky:
        yield husky


@pytest.fixture(scope="module")
def file() -> ElementTree.Element:
    # The file has a zero byte at its end.
    text = Path(data_path("husky/husky.urdf")).read_text(encoding="utf-8").replace("\0", "")
    return ElementTree.fromstring(text)


def numbers(element: ElementTree.Element | None, attribute: str) -> tuple[float, ...]:
    assert element is not None
    return tuple(float(word) for word in element.attrib[attribute].split())


def run(robot: Husky, speed: float, turn: float, periods: int = 50) -> None:
    for _ in range(periods):
        robot.drive(speed, turn)
        robot.advance()


class TestModel:
    def test_numbers_are_those_of_the_file(self, file: ElementTree.Element) -> None:
        links = {link.get("name"): link for link in file.findall("link")}
        chassis = links["base_link"]
        assert numbers(chassis.find("inertial/mass"), "value") == (model.CHASSIS_MASS,)
        assert numbers(chassis.find("inertial/origin"), "xyz") == model.CHASSIS_CENTRE
        moments = chassis.find("inertial/inertia")
        assert (
            tuple(numbers(moments, axes)[0] for axes in ("ixx", "iyy", "izz"))
            == model.CHASSIS_INERTIA
        )
        assert numbers(chassis.find("collision/geometry/box"), "size") == model.CHASSIS_SIZE
        assert numbers(chassis.find("collision/origin"), "xyz") == model.CHASSIS_MIDDLE
        joints = {joint.get("name"): joint for joint in file.findall("joint")}
        for name, place in model.WHEEL_PLACES.items():
            assert numbers(joints[name].find("origin"), "xyz") == place
            wheel = links[f"{name}_link"]
            shape = wheel.find("collision/geometry/cylinder")
            assert numbers(wheel.find("inertial/mass"), "value") == (model.WHEEL_MASS,)
            assert numbers(shape, "radius") == (model.WHEEL_RADIUS,)
            assert numbers(shape, "length") == (model.WHEEL_WIDTH,)
            inertia = wheel.find("inertial/inertia")
            # The file has the wheel's axis along z there.
            assert numbers(inertia, "izz") == (model.WHEEL_INERTIA[1],)
            assert numbers(inertia, "ixx") == (model.WHEEL_INERTIA[0],)

    def test_links_weigh_what_they_should(self, robot: Husky) -> None:
        masses = [robot.simulator.mass(robot.body, link) for link in (-1, *robot.wheels.links)]
        assert masses == pytest.approx([33.455, *4 * (2.637,)])
        assert sum(masses) == pytest.approx(Husky.MASS)
        robot.configure(payload=20.0)
        total = sum(robot.simulator.mass(robot.body, link) for link in range(-1, 5))
        assert total == pytest.approx(Husky.MASS + 20.0)
        for link in robot.wheels.links:
            assert robot.simulator.inertia(robot.body, link) == pytest.approx(model.WHEEL_INERTIA)

    def test_joints_are_the_wheels(self, robot: Husky) -> None:
        assert robot.wheels.names == Husky.WHEELS == tuple(model.WHEEL_PLACES)
        assert set(robot.joints.names) == set(Husky.WHEELS)


class TestMotion:
    def test_stands_still(self, robot: Husky) -> None:
        run(robot, 0.0, 0.0)
        assert robot.simulator.contact_count(robot.body) == 4
        assert robot.planar() == pytest.approx((0.0,) * 6, abs=1e-2)
        assert robot._base.base().position[2] == pytest.approx(Husky.HEIGHT, abs=1e-3)

    def test_falls_freely(self, robot: Husky) -> None:
        robot._base.place(BaseState((0.0, 0.0, 10.0), UPRIGHT, STILL, STILL))
        robot.simulator.step(20)
        expected = 10.0 - 9.81 / 200**2 * 20 * 21 / 2
        assert robot._base.base().position[2] == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("yaw", [0.0, 2.0])
    @pytest.mark.parametrize("speed", [0.5, 1.0, -1.0])
    def test_drives_as_fast_as_told_to_where_it_faces(
        self, robot: Husky, yaw: float, speed: float
    ) -> None:
        robot.reset(yaw=yaw)
        run(robot, speed, 0.0)
        here = robot.planar()
        assert here.forwards == pytest.approx(speed, abs=0.02)
        assert here.sideways == pytest.approx(0.0, abs=0.01)
        way = np.array([np.cos(yaw), np.sin(yaw)]) * hypot(here.x, here.y) * np.sign(speed)
        assert (here.x, here.y) == pytest.approx(way, abs=0.02)
        assert here.yaw == pytest.approx(yaw, abs=0.01)

    def test_turns_to_the_side_it_is_told(self, robot: Husky) -> None:
        turned = []
        for turn in (1.0, -1.0):
            robot.reset()
            run(robot, 0.0, turn, periods=25)
            turned.append(robot.planar().yaw)
        assert turned[0] > 0.4
        # The centre of mass is 1 mm off the middle.
        assert turned[0] == pytest.approx(-turned[1], rel=0.1)

    def test_skids_in_a_turn(self, robot: Husky) -> None:
        """Wheels that cannot be steered turn it less than they would if they only rolled."""
        run(robot, 0.0, 1.0, periods=25)
        rolling = Husky.MAX_TURN / model.WHEEL_PLACES["front_left_wheel"][1]
        assert 0.0 < robot.planar().yaw_rate < 0.8 * rolling

    def test_torque_is_limited(self, robot: Husky) -> None:
        robot.drive(1.0, 1.0)
        for speeds in ((100.0,) * 4, (-100.0,) * 4):
            robot.spin(speeds)
            torques = robot._motors.torques(robot.wheels.read())
            assert np.abs(torques) == pytest.approx([40.0] * 4)

    def test_camera_follows(self, robot: Husky) -> None:
        robot.reset(3.0, -2.0)
        assert robot.camera().target[:2] == (3.0, -2.0)


class TestProperties:
    def test_friction_limits_acceleration(self, robot: Husky) -> None:
        robot.configure(friction=0.1)
        run(robot, 1.0, 0.0, periods=10)
        assert robot.planar().forwards == pytest.approx(0.1 * 9.81 * 0.4, rel=0.1)

    def test_it_pulls_to_the_side_that_slips(self, robot: Husky) -> None:
        robot.configure(**{"front_left_wheel.friction": 0.2, "rear_left_wheel.friction": 0.2})
        run(robot, 1.0, 0.0, periods=25)
        assert robot.planar().yaw > 0.03

    def test_it_pulls_to_the_side_of_a_dead_wheel(self, robot: Husky) -> None:
        robot.configure(**{"rear_right_wheel.strength": 0.0})
        run(robot, 1.0, 0.0, periods=25)
        assert robot.planar().yaw < -0.03

    def test_payload_is_slow_to_start(self, robot: Husky) -> None:
        speeds = []
        for payload in (0.0, 60.0):
            robot.configure(payload=payload)
            robot.reset()
            run(robot, 1.0, 0.0, periods=3)
            speeds.append(robot.planar().forwards)
        assert speeds[1] < 0.8 * speeds[0]

    @pytest.mark.parametrize("heading", [0.0, 2.5, -pi])
    def test_slides_down_a_slope_without_friction(self, robot: Husky, heading: float) -> None:
        robot.configure(friction=0.0, slope=0.2, slope_heading=heading)
        robot.reset()
        run(robot, 0.0, 0.0, periods=10)
        way = -0.5 * 9.81 * sin(0.2) * 0.4**2
        here = robot.planar()
        assert here[:2] == pytest.approx(
            (way * np.cos(heading), way * np.sin(heading)), abs=0.02 * abs(way) + 1e-3
        )

    def test_slope_goes_when_it_is_told_so(self, robot: Husky) -> None:
        robot.configure(friction=0.0, slope=0.2)
        robot.configure(slope=0.0)
        robot.reset()
        run(robot, 0.0, 0.0, periods=10)
        assert robot.planar()[:2] == pytest.approx((0.0, 0.0), abs=1e-4)
