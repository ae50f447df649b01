from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import XArm6
from metamotor.robots.simulator import data_path
from tests.robots.test_arms import hand_by_matrices, poses, settle

Array = NDArray[np.float64]


@pytest.fixture
def robot() -> Iterator[XArm6]:
    with XArm6() as arm:
        yield arm


def weights() -> list[tuple[float, list[float]]]:
    """Mass and centre of mass of each moving link, from the file."""
    links = {e.get("name"): e for e in ElementTree.parse(data_path(XArm6.MODEL)).iter("link")}
    found = []
    for number in range(1, 7):
        inertial = links[f"link{number}"].find("inertial")
        assert inertial is not None
        mass, centre = inertial.find("mass"), inertial.find("origin")
        assert mass is not None
        assert centre is not None
        place = [float(word) for word in centre.attrib["xyz"].split()]
        found.append((float(mass.attrib["value"]), place))
    return found


def height_energy(angles: Array) -> float:
    """What the arm's links weigh, times their heights [J]."""
    energies = [
        9.81 * mass * hand_by_matrices(XArm6.MODEL, XArm6.JOINTS[:n], angles[:n].tolist(), at)[2]
        for n, (mass, at) in enumerate(weights(), start=1)
    ]
    return float(sum(energies))


def payload_position(robot: XArm6) -> Array:
    """Centre of mass of what it carries [m], from where the engine has the two ends."""
    masses = np.array([robot.simulator.mass(robot.body, link) for link in robot._holders])
    places = [robot.simulator.link_position(robot.body, link) for link in robot._holders]
    middle: Array = masses @ np.array(places) / masses.sum()
    return middle


class TestModel:
    def test_masses_are_those_of_the_file(self, robot: XArm6) -> None:
        masses = [robot.simulator.mass(robot.body, link) for link in range(8)]
        assert masses == pytest.approx([*(mass for mass, _ in weights()), 0.0, 0.0])
        assert sum(masses) == pytest.approx(7.7536)

    def test_every_joint_turns_at_least_a_rotor(self, robot: XArm6) -> None:
        for link in robot.joints.links:
            assert 0.05 < robot.simulator.inertia(robot.body, link)[2] < 0.08

    def test_hand_is_where_the_files_frames_say(self, robot: XArm6) -> None:
        for pose in poses(robot).tolist():
            expected = hand_by_matrices(XArm6.MODEL, XArm6.JOINTS, pose, (0.0, 0.0, 0.0))
            # The file rounds quarter turns to 4 decimals.
            np.testing.assert_allclose(
                robot.hand_position_and_jacobian(pose)[0], expected, atol=1e-5
            )

    def test_limits_are_those_of_the_file(self) -> None:
        for joint in ElementTree.parse(data_path(XArm6.MODEL)).iter("joint"):
            limit = joint.find("limit")
            if limit is not None:
                number = XArm6.JOINTS.index(joint.attrib["name"])
                assert float(limit.attrib["effort"]) == XArm6.MAX_TORQUE[number]
                assert float(limit.attrib["velocity"]) == XArm6.MAX_SPEED[number]
                assert float(limit.attrib["lower"]) == pytest.approx(XArm6.LOWER[number])
                assert float(limit.attrib["upper"]) == pytest.approx(XArm6.UPPER[number])


class TestMotors:
    def test_holding_torques_are_the_slope_of_the_energy(self, robot: XArm6) -> None:
        for pose in poses(robot, 5):
            robot.reset(pose.tolist())
            for joint, torque in enumerate(robot.holding_torques()):
                step = 1e-5 * np.eye(6)[joint]
                slope = (height_energy(pose + step) - height_energy(pose - step)) / 2e-5
                assert torque == pytest.approx(slope, abs=1e-3)

    def test_joints_reach_their_targets(self, robot: XArm6) -> None:
        targets = np.add(XArm6.HOME, [0.2, -0.1, -0.1, 0.2, 0.1, 0.3])
        for _ in range(60):
            robot.command(targets.tolist())
            robot.advance()
            robot.sense()
        assert robot.joint_positions == pytest.approx(targets, abs=2e-3)

    def test_torques_are_limited(self, robot: XArm6) -> None:
        robot.command([position + 3.0 for position in XArm6.HOME])
        torques = np.abs(robot._motors.torques(robot.joints.read()))
        assert torques == pytest.approx([50.0, 50.0, 32.0, 32.0, 32.0, 20.0])

    def test_moves_its_hand(self, robot: XArm6) -> None:
        start = np.array(robot.hand_position)
        for _ in range(20):
            robot.move_hand((0.0, 0.03, 0.0))
            robot.advance()
            robot.sense()
        moved = robot.hand_position - start
        assert moved[1] > 0.07
        assert np.abs(moved[[0, 2]]).max() < 0.3 * moved[1]


class TestPayload:
    @pytest.mark.parametrize("offset", [-0.1, 0.0, 0.04])
    def test_hangs_where_it_should(self, robot: XArm6, offset: float) -> None:
        robot.configure(payload=3.0, payload_offset=offset)
        robot.reset(XArm6.HOME)
        below = payload_position(robot) - robot.hand_position
        assert below == pytest.approx([offset, 0.0, -0.08], abs=1e-5)
        assert sum(
            robot.simulator.mass(robot.body, link) for link in robot._holders
        ) == pytest.approx(3.0)

    def test_makes_it_sink_until_the_springs_bear_it(self, robot: XArm6) -> None:
        robot.configure(payload=2.0, payload_offset=0.1)
        robot.reset(XArm6.HOME)
        for _ in range(150):
            robot.command(XArm6.HOME)
            robot.advance()
            robot.sense()
        rest = np.array(robot.joint_positions)
        borne = 80.0 * np.array(XArm6.SHARES) * (np.array(XArm6.HOME) - rest)
        for joint in range(6):
            heights = []
            for sign in (1.0, -1.0):
                robot.joints.reset((rest + sign * 1e-4 * np.eye(6)[joint]).tolist())
                heights.append(payload_position(robot)[2])
            slope = (heights[0] - heights[1]) / 2e-4
            assert borne[joint] == pytest.approx(2.0 * 9.81 * slope, abs=0.05)

    def test_sent_torques_lift_it(self, robot: XArm6) -> None:
        robot.configure(payload=4.0)
        drops = []
        for share in (0.0, 1.0):
            robot.reset(XArm6.HOME)
            start = robot.hand_position[2]
            lever = [4.0 * 9.81 * z for _, _, z in robot._jacobian]
            for _ in range(90):
                robot.command(XArm6.HOME, [share * torque for torque in lever])
                robot.advance()
                robot.sense()
            drops.append(start - robot.hand_position[2])
        assert drops[0] > 0.1
        assert abs(drops[1]) < 0.01

    @pytest.mark.parametrize("late", [0, 8, 16])
    def test_torques_arrive_after_the_latency(self, robot: XArm6, late: int) -> None:
        robot.configure(latency=late / 240)
        robot.reset(XArm6.HOME)
        robot.command(XArm6.HOME)
        moved = []
        for _ in range(3):
            robot.command(XArm6.HOME, [20.0, 0.0, 0.0, 0.0, 0.0, 0.0])
            robot.advance()
            robot.sense()
            moved.append(robot.joint_positions[0] > 1e-6)
        assert moved == [8 * period + 8 > late for period in range(3)]

    def test_brakes_hold_until_the_first_command_has_arrived(self, robot: XArm6) -> None:
        robot.configure(latency=16 / 240)
        robot.reset(XArm6.HOME)
        robot.command(XArm6.HOME, [20.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        robot.advance()
        robot.sense()
        assert robot.joint_positions[0] > 1e-3

    def test_a_weak_joint_sinks(self, robot: XArm6) -> None:
        robot.configure(**{"joint2.strength": 0.5})
        robot.reset(XArm6.HOME)
        settle(robot, 30)
        assert robot.joint_positions[1] > XArm6.HOME[1] + 0.05
