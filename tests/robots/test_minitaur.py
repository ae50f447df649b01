from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest

from metamotor.robots import Gait, Minitaur
from metamotor.robots.minitaur_model import (
    CENTRE,
    LINK_MASS,
    LOWER,
    PAYLOADS,
    TOE_RADIUS,
    TRUNK_MASS,
    UPPER,
    distance,
    half_angle,
    slope,
)
from metamotor.robots.simulator import GRAVITY, data_path

WALK = Gait(4.0, 0.35, 0.25, 0.0, 0.0)


@pytest.fixture
def robot() -> Iterator[Minitaur]:
    with Minitaur() as minitaur:
        yield minitaur


def stand(robot: Minitaur, periods: int = 40) -> None:
    robot.reset()
    for _ in range(periods):
        robot.advance()


def walk(robot: Minitaur, gait: Gait = WALK, periods: int = 120) -> tuple[float, float, float]:
    """Where it gets to [m], and where it faces then [rad]."""
    robot.reset(lift=0.01)
    for _ in range(periods):
        robot.walk(gait)
    trunk = robot.trunk()
    return trunk.position[0], trunk.position[1], trunk.yaw


class TestModel:
    def test_masses_are_those_of_the_file(self, robot: Minitaur) -> None:
        drawing = ElementTree.parse(data_path("quadruped/minitaur.urdf"))
        masses = {
            link.attrib["name"]: float(link.find("inertial/mass").attrib["value"])  # type: ignore[union-attr]
            for link in drawing.iter("link")
        }
        legs = [mass for name, mass in masses.items() if "leg" in name]
        assert legs == [LINK_MASS] * 16
        assert sum(masses.values()) == pytest.approx(Minitaur.MASS)
        own = [robot.simulator.mass(robot.body, link) for link in (-1, *robot.joints.links)]
        assert own == pytest.approx([TRUNK_MASS, *[2 * LINK_MASS] * 8])
        assert sum(own) == pytest.approx(sum(masses.values()))

    def test_hips_and_links_are_those_of_the_file(self, robot: Minitaur) -> None:
        drawing = ElementTree.parse(data_path("quadruped/minitaur.urdf"))
        places = {
            joint.attrib["name"]: [
                float(word)
                for word in joint.find("origin").attrib["xyz"].split()  # type: ignore[union-attr]
            ]
            for joint in drawing.iter("joint")
        }
        motor, rail = places["motor_front_leftL_joint"], places["chassis_left_center"]
        hip = robot.simulator.link_position(robot.body, robot.joints.links[0])
        assert hip[:2] == pytest.approx((motor[0], rail[1]))
        upper = places["hip_front_rightR_link"][1] + places["knee_front_rightR_link"][2]
        assert pytest.approx(upper) == UPPER

    def test_joints_in_order(self, robot: Minitaur) -> None:
        assert robot.joints.names == Minitaur.JOINTS
        assert Minitaur.JOINTS[:4] == (
            "front_left_swing", "front_left_reach", "rear_left_swing", "rear_left_reach",
        )  # fmt: skip
        assert robot.joints.lower[1::2] == (0.1,) * 4
        assert robot.joints.upper[1::2] == (0.3,) * 4

    def test_the_five_bar_closes(self) -> None:
        # Both knees are a lower link from the foot, and upper links from the hip.
        for fold in np.linspace(0.4, 2.6, 12):
            foot = np.array([0.0, -distance(fold)])
            for side in (1, -1):
                knee = UPPER * np.array([side * np.sin(fold), -np.cos(fold)])
                assert np.linalg.norm(foot - knee) == pytest.approx(LOWER)
            assert half_angle(distance(fold)) == pytest.approx(fold)
            rise = (distance(fold + 1e-6) - distance(fold - 1e-6)) / 2e-6
            assert slope(fold, distance(fold)) == pytest.approx(rise, rel=1e-6)

    @pytest.mark.parametrize("swing", [-0.4, 0.0, 0.7])
    def test_a_foot_is_where_the_leg_points(self, robot: Minitaur, swing: float) -> None:
        robot.reset(lift=1.0)
        robot.joints.reset([swing, 0.2] * 4)
        hip = robot.simulator.link_position(robot.body, robot.joints.links[0])
        foot = robot.simulator.link_position(robot.body, robot.joints.links[1])
        expected = 0.2 * np.array([np.sin(swing), 0.0, -np.cos(swing)])
        assert np.subtract(foot, hip) == pytest.approx(expected, abs=1e-6)


class TestMotion:
    def test_falls_freely(self, robot: Minitaur) -> None:
        robot.configure(motor_strength=0.0)
        robot.reset(lift=10.0)
        robot.simulator.step(40)
        assert robot.trunk().velocity[2] == pytest.approx(-GRAVITY * 0.1, rel=1e-6)

    def test_stands(self, robot: Minitaur) -> None:
        stand(robot)
        trunk = robot.trunk()
        assert robot.simulator.contact_count(robot.body) == 4
        assert np.abs([*trunk.velocity, *trunk.angular_velocity]).max() < 1e-3
        assert 0.1 < trunk.position[2] < Minitaur.HEIGHT

    def test_stands_on_what_statics_say_the_motors_give(self, robot: Minitaur) -> None:
        """A quarter of the weight on each foot, balanced by two motors through their voltage."""
        stand(robot, 80)
        for swing, fold in robot.legs():
            assert swing == pytest.approx(0.0, abs=0.02)
            push = (Minitaur.MASS / 4 - 4 * LINK_MASS / 2) * GRAVITY
            torque = push * -slope(fold, distance(fold)) / 2
            current = 1.2 * (fold - np.pi / 2) * 16.8 / 0.186
            assert torque == pytest.approx(0.1 * current, rel=0.05)

    def test_the_motors_reach_their_targets_in_the_air(self, robot: Minitaur) -> None:
        robot.reset(lift=20.0)
        swings, folds = [0.3, -0.2, 0.1, 0.0], [1.3, 1.8, 1.6, 2.0]
        robot.aim(swings, folds)
        for _ in range(20):
            robot.advance()
        reached = np.array(robot.legs())
        assert reached[:, 0] == pytest.approx(swings, abs=0.02)
        assert reached[:, 1] == pytest.approx(folds, abs=0.02)

    def test_forces_are_limited(self, robot: Minitaur) -> None:
        # How the legs start to turn tells what turns them; that the trunk gives way a little is left out.
        robot.reset(lift=1.0)
        robot.aim([99.0] * 4, [np.pi / 2] * 4)
        robot._step()
        states = robot.joints.read()
        swing = sum(state[1] for state in states[::2]) / 4
        inertia = 2 * LINK_MASS * (UPPER**2 / 3 + LOWER**2 / 12)
        inertia += 2 * LINK_MASS * (distance(np.pi / 2) - CENTRE) ** 2
        spin = swing - robot.trunk().angular_velocity[1]
        assert inertia * spin * 400 == pytest.approx(2 * 3.5, rel=0.05)

    def test_trots_ahead(self, robot: Minitaur) -> None:
        x, y, yaw = walk(robot)
        assert x > 0.9
        assert abs(y) < 0.4
        assert abs(yaw) < 0.4

    def test_turns_to_the_side_whose_legs_are_folded(self, robot: Minitaur) -> None:
        left = walk(robot, Gait(4.0, 0.35, 0.2, 0.15, -0.15))
        right = walk(robot, Gait(4.0, 0.35, 0.2, -0.15, 0.15))
        assert left[2] > 0.2 > -0.2 > right[2]
        assert left[1] > 0.2 > -0.2 > right[1]


class TestProperties:
    def test_an_empty_battery_lets_it_sag(self, robot: Minitaur) -> None:
        heights = []
        for battery in (16.8, 10.0):
            robot.configure(battery=battery)
            stand(robot)
            heights.append(Minitaur.HEIGHT - robot.trunk().position[2])
        assert heights[1] == pytest.approx(heights[0] * 1.68, rel=0.15)

    def test_an_empty_battery_slows_it(self, robot: Minitaur) -> None:
        ways = []
        for battery in (16.8, 10.0):
            robot.configure(battery=battery)
            ways.append(walk(robot, Gait(4.0, 0.3, 0.2, 0.0, 0.0))[0])
        assert ways[1] < 0.85 * ways[0]

    def test_a_payload_lies_on_the_side_where_it_is_put(self, robot: Minitaur) -> None:
        robot.configure(payload=0.6, payload_y=0.05)
        masses = [
            robot.simulator.mass(robot.body, robot.simulator.link(robot.body, name))
            for name in PAYLOADS
        ]
        assert masses == pytest.approx([0.4, 0.2])
        rolls = []
        for side in (0.15, -0.15):
            robot.configure(payload_y=side)
            stand(robot)
            rolls.append(robot.trunk().roll)
        assert rolls[0] == pytest.approx(-rolls[1], abs=1e-3)
        assert rolls[0] < -0.01

    def test_a_payload_on_the_left_turns_it_left(self, robot: Minitaur) -> None:
        yaws = []
        for side in (0.15, -0.15):
            robot.configure(payload=0.5, payload_y=side)
            yaws.append(walk(robot)[2])
        assert yaws[0] > 0.1 > -0.1 > yaws[1]

    def test_friction_decides_how_far_it_slides(self, robot: Minitaur) -> None:
        ways = []
        for friction in (0.2, 1.0):
            robot.configure(friction=friction)
            stand(robot)
            base = robot._base.base()
            robot._base.place(base._replace(linear_velocity=(0.5, 0.0, 0.0)))
            for _ in range(20):
                robot.advance()
            ways.append(robot.trunk().position[0] - base.position[0])
        assert ways[0] > 1.5 * ways[1] > 0.0

    def test_a_dead_motor_gives_nothing(self, robot: Minitaur) -> None:
        robot.configure(**{"front_left_front.strength": 0.0})
        stand(robot)
        assert robot.legs()[0][1] > np.pi / 2 + 1.5 * (robot.legs()[3][1] - np.pi / 2)

    def test_camera_follows(self, robot: Minitaur) -> None:
        walk(robot)
        assert robot.camera().target[0] == robot.trunk().position[0] > 0.5
        assert robot.render(64, 48).std() > 5


def test_toes_touch_the_ground_in_the_stance() -> None:
    assert pytest.approx(np.sqrt(LOWER**2 - UPPER**2) + TOE_RADIUS) == Minitaur.HEIGHT
