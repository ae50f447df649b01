"""What all arms have in common; each arm's own file holds where its hand is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import pi
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Kuka, Panda, XArm6
from metamotor.robots.arm import Arm
from metamotor.robots.arm_kinematics import joint_step
from metamotor.robots.arm_model import arm_urdf
from metamotor.robots.servo_arm import ServoArm
from metamotor.robots.simulator import data_path

Array = NDArray[np.float64]


@pytest.fixture(params=[Panda, Kuka, XArm6])
def arm(request: pytest.FixtureRequest) -> Iterator[Arm]:
    with request.param() as robot:
        yield robot


@pytest.fixture(
    params=[(robot, physics) for robot in (Panda, Kuka) for physics in ("pybullet", "mujoco")],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)
def servo(request: pytest.FixtureRequest) -> Iterator[ServoArm]:
    robot_type, physics = request.param
    if physics == "mujoco":
        pytest.importorskip("metamotor.robots.mujoco", exc_type=ImportError)
    with robot_type(physics=physics) as robot:
        yield robot


@pytest.fixture(params=[Panda, Kuka])
def ideal(request: pytest.FixtureRequest) -> Iterator[ServoArm]:
    """One whose motors know what they move; those of MuJoCo are in test_mujoco."""
    with request.param() as robot:
        yield robot


def poses(arm: Arm, count: int = 20) -> Array:
    return np.random.default_rng(0).uniform(arm.LOWER, arm.UPPER, size=(count, len(arm.JOINTS)))


def origin(element: ElementTree.Element) -> Array:
    """Where a joint of a URDF is in its parent's frame. Shape: (4, 4)."""
    found = element.find("origin")
    assert found is not None
    x, y, z = (float(word) for word in found.attrib["rpy"].split())
    turn = np.eye(3)
    for angle, (i, j) in ((x, (1, 2)), (y, (2, 0)), (z, (0, 1))):
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[j, i], one[i, j] = np.sin(angle), -np.sin(angle)
        turn = one @ turn
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, [float(word) for word in found.attrib["xyz"].split()]
    return pose


def hand_by_matrices(
    model: str, joints: Sequence[str], angles: Sequence[float], tool: Sequence[float]
) -> Array:
    """The hand's position [m] as a product of the homogeneous transforms of a model file."""
    elements = {
        e.get("name"): e for e in ElementTree.parse(data_path(model)).getroot().findall("joint")
    }
    pose = np.eye(4)
    for name, angle in zip(joints, angles, strict=True):
        turn = np.eye(4)
        turn[0, 0] = turn[1, 1] = np.cos(angle)
        turn[1, 0], turn[0, 1] = np.sin(angle), -np.sin(angle)
        pose = pose @ origin(elements[name]) @ turn
    hand: Array = (pose @ [*tool, 1.0])[:3]
    return hand


def settle(arm: Arm, periods: int) -> None:
    """Stand still, the targets as they are."""
    for _ in range(periods):
        arm.advance()
    arm.sense()


class TestKinematics:
    def test_hand_is_where_the_engine_has_the_payload(self, servo: ServoArm) -> None:
        link = servo.simulator.link(servo.body, "payload")
        for pose in poses(servo):
            servo.reset(pose.tolist())
            expected = servo.simulator.link_position(servo.body, link)
            assert servo.hand_position == pytest.approx(expected, abs=1e-6)

    def test_jacobian_is_the_derivative(self, arm: Arm) -> None:
        def hand(pose: Array) -> Array:
            return np.array(arm.hand_position_and_jacobian(pose.tolist())[0])

        for pose in poses(arm):
            _, columns = arm.hand_position_and_jacobian(pose.tolist())
            for joint in range(len(arm.JOINTS)):
                step = 1e-6 * np.eye(len(arm.JOINTS))[joint]
                slope = (hand(pose + step) - hand(pose - step)) / 2e-6
                expected = columns[joint] if joint < len(columns) else np.zeros(3)
                np.testing.assert_allclose(expected, slope, atol=1e-8)

    def test_joint_step_is_damped_least_squares(self, arm: Arm) -> None:
        wanted = (0.01, -0.02, 0.03)
        for pose in poses(arm):
            _, columns = arm.hand_position_and_jacobian(pose.tolist())
            jacobian = np.array(columns).T
            gram = jacobian @ jacobian.T + 0.05**2 * np.eye(3)
            expected = jacobian.T @ np.linalg.solve(gram, wanted)
            step = np.array(joint_step(columns, wanted, 0.05))
            np.testing.assert_allclose(step, expected, atol=1e-12)

    def test_joint_step_is_bounded_where_the_arm_is_stretched(self, arm: Arm) -> None:
        _, columns = arm.hand_position_and_jacobian([0.0] * len(arm.JOINTS))
        assert max(map(abs, joint_step(columns, (0.0, 0.0, 0.03), 0.03))) < 0.5


class TestModel:
    def test_limits_lie_inside_the_models(self, arm: Arm) -> None:
        assert arm.joints.names == arm.JOINTS
        assert (np.array(arm.LOWER) >= np.array(arm.joints.lower) - 1e-9).all()
        assert (np.array(arm.UPPER) <= np.array(arm.joints.upper) + 1e-9).all()

    def test_home_points_down_inside_the_limits(self, servo: ServoArm) -> None:
        assert (np.array(servo.LOWER) < servo.HOME).all()
        assert (np.array(servo.HOME) < servo.UPPER).all()
        # The frame of the last joint and the hand's point lie on the tool's axis.
        wrist = servo.simulator.link_position(servo.body, servo.joints.links[-1])
        along = np.subtract(servo.hand_position, wrist)
        assert along / np.linalg.norm(along) == pytest.approx([0.0, 0.0, -1.0], abs=0.01)

    def test_refuses_a_parent_that_the_model_lacks(self) -> None:
        with pytest.raises(ValueError, match="no link 'tool'"):
            arm_urdf(Kuka.MODEL, parent="tool", holders=[])


class TestMotion:
    def test_holds_its_pose_against_gravity(self, arm: Arm) -> None:
        home = arm.hand_position
        for _ in range(50):
            arm.move_hand((0.0, 0.0, 0.0))
            arm.advance()
            arm.sense()
        assert np.abs(np.subtract(arm.hand_position, home)).max() < 2e-4

    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_hand_goes_where_it_is_sent(self, ideal: ServoArm, axis: int, sign: float) -> None:
        start = np.array(ideal.hand_position)
        push = sign * 0.01 * np.eye(3)[axis]
        for _ in range(10):
            ideal.move_hand(push.tolist())
            ideal.advance()
            ideal.sense()
        # Each physics step covers `gain` of what is left of the push.
        gain, substeps = ideal.GAIN, ideal.SUBSTEPS
        covered = 10 * push * (1 - (1 - gain) ** substeps)
        np.testing.assert_allclose(ideal.hand_position - start, covered, atol=5e-3)
        velocity = push * gain * (1 - gain) ** (substeps - 1) / ideal.TIME_STEP
        np.testing.assert_allclose(ideal.hand_velocity, velocity, atol=5e-3)

    def test_keeps_to_joint_limits_and_speeds(self, servo: ServoArm) -> None:
        generator = np.random.default_rng(0)
        near = np.array(servo.UPPER) - 0.05
        servo.reset(np.where(np.arange(7) % 2, near, 0.0).tolist())
        for _ in range(50):
            servo.move_hand(generator.uniform(-0.5, 0.5, 3).tolist())
            assert servo.joints.last_command is not None
            targets = np.array(servo.joints.last_command)
            assert (targets >= servo.LOWER).all()
            assert (targets <= servo.UPPER).all()
            reach = np.array(servo.MAX_SPEED) * servo.TIME_STEP * servo.SUBSTEPS
            inside = np.clip(servo.joint_positions, servo.LOWER, servo.UPPER)
            assert (np.abs(targets - inside) <= reach + 1e-9).all()
            servo.advance()
            servo.sense()

    def test_torque_is_limited(self, servo: ServoArm) -> None:
        servo.command([position + 1.0 for position in servo.HOME])
        servo.advance()
        torques = np.abs([state[3] for state in servo.joints.read()])
        assert (torques <= np.array(servo.MAX_TORQUE) + 1e-9).all()
        assert (torques[:4] > 0.9 * np.array(servo.MAX_TORQUE[:4])).any()


class TestProperties:
    def test_a_payload_weighs_on_the_joints_by_its_lever(self, ideal: ServoArm) -> None:
        torques = []
        for payload in (0.0, 2.0):
            ideal.configure(payload=payload)
            ideal.reset(ideal.HOME)
            settle(ideal, 60)
            torques.append([state[3] for state in ideal.joints.read()])
        _, columns = ideal.hand_position_and_jacobian(ideal.HOME)
        expected = [2.0 * 9.81 * z for _, _, z in columns]
        found = np.subtract(torques[1], torques[0])[: len(columns)]
        assert found == pytest.approx(expected, abs=0.1)
        assert max(expected) > 5.0

    def test_a_weak_joint_gives_a_share_of_its_torque(self, servo: ServoArm) -> None:
        name, limit = servo.JOINTS[1], servo.MAX_TORQUE[1]
        servo.configure(**{f"{name}.strength": 0.05})
        servo.reset(servo.HOME)
        settle(servo, 30)
        torque = servo.joints.read()[1][3]
        assert abs(torque) == pytest.approx(0.05 * limit)
        assert servo.joint_positions[1] > servo.HOME[1] + 0.05, "it sinks"
        assert servo.joint_positions[0] == pytest.approx(servo.HOME[0], abs=1e-3)

    def test_a_strength_acts_at_once(self, servo: ServoArm) -> None:
        settle(servo, 5)
        servo.configure(**{f"{servo.JOINTS[1]}.strength": 0.0})
        settle(servo, 3)
        assert servo.joint_positions[1] > servo.HOME[1] + 0.02, "it sinks"

    def test_a_locked_joint_is_sent_nowhere(self, servo: ServoArm) -> None:
        servo.configure(**{f"{servo.JOINTS[3]}.response": 0.0, f"{servo.JOINTS[1]}.response": 0.5})
        steps = []
        for _ in range(2):
            servo.reset(servo.HOME)
            servo.move_hand((0.0, 0.0, 0.02))
            assert servo.joints.last_command is not None
            steps.append(np.subtract(servo.joints.last_command, servo.HOME))
            servo.configure(**{f"{servo.JOINTS[joint]}.response": 1.0 for joint in (1, 3)})
        assert steps[0][3] == 0.0 != steps[1][3]
        assert steps[0][1] == pytest.approx(0.5 * steps[1][1])
        assert steps[0][5] == pytest.approx(steps[1][5])

    def test_every_response_changes_where_the_joints_are_sent(self, servo: ServoArm) -> None:
        responses = [name for name in servo.PROPERTIES if name.endswith(".response")]
        assert responses == [f"{joint}.response" for joint in servo.JOINTS[:-1]]
        servo.reset(servo.HOME)
        servo.move_hand((0.01, 0.02, 0.02))
        usual = servo.joints.last_command
        for name in responses:
            servo.configure(**{name: 0.5})
            servo.move_hand((0.01, 0.02, 0.02))
            assert servo.joints.last_command != usual, name
            servo.configure(**{name: 1.0})

    @pytest.mark.parametrize("late", [0, 3, 6])
    def test_targets_arrive_after_the_latency(self, servo: ServoArm, late: int) -> None:
        servo.configure(latency=late / 120)
        servo.reset(servo.HOME)
        moved = []
        for _ in range(3):
            servo.command([position + 0.1 for position in servo.HOME])
            servo.advance()
            servo.sense()
            moved.append(servo.joint_positions[0] > servo.HOME[0] + 1e-6)
        assert moved == [late < 4, True, True]
        servo.reset(servo.HOME)
        settle(servo, 3)
        assert servo.joint_positions == pytest.approx(servo.HOME, abs=1e-3), "nothing is under way"

    def test_gain_is_how_quickly_targets_are_reached(self, ideal: ServoArm) -> None:
        left = []
        for gain in (0.05, 0.2):
            ideal.configure(gain=gain)
            ideal.reset(ideal.HOME)
            ideal.command([ideal.HOME[0] + 0.02, *ideal.HOME[1:]])
            ideal.simulator.step(4)
            ideal.sense()
            left.append((ideal.HOME[0] + 0.02 - ideal.joint_positions[0]) / 0.02)
        assert left == pytest.approx([0.95**4, 0.8**4], abs=0.01)


class TestKuka:
    def test_masses_are_those_of_the_file(self) -> None:
        with Kuka() as robot:
            masses = [robot.simulator.mass(robot.body, link) for link in range(8)]
        assert masses == [4.0, 4.0, 3.0, 2.7, 1.7, 1.8, 0.3, 0.0]

    def test_hand_is_where_the_files_frames_say(self) -> None:
        # The flange is 126 mm from the wrist on the iiwa's drawing, and link 7 begins at 81 of them.
        generator = np.random.default_rng(0)
        for pose in generator.uniform(Kuka.LOWER, Kuka.UPPER, size=(20, 7)).tolist():
            expected = hand_by_matrices(Kuka.MODEL, Kuka.JOINTS, pose, (0.0, 0.0, 0.045))
            found, _ = Kuka.hand_position_and_jacobian(pose)
            np.testing.assert_allclose(found, expected, atol=1e-9)

    def test_lengths_are_those_of_the_drawing(self) -> None:
        up, _ = Kuka.hand_position_and_jacobian([0.0] * 7)
        assert up == pytest.approx((0.0, 0.0, 0.36 + 0.42 + 0.4 + 0.126))
        bent, _ = Kuka.hand_position_and_jacobian([0.0, pi / 2, 0.0, 0.0, 0.0, 0.0, 0.0])
        assert bent == pytest.approx((0.42 + 0.4 + 0.126, 0.0, 0.36))
