from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Panda
from metamotor.robots.panda_kinematics import hand_position_and_jacobian, joint_step

# Franka's documentation: a, d and alpha of joints 1 to 7, then the flange; the hand's point lies 0.105 m beyond.
DENAVIT_HARTENBERG = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
    (0.0, 0.107 + 0.105, 0.0),
]


Array = NDArray[np.float64]


def hand_by_matrices(angles: Sequence[float] | Array) -> Array:
    """The hand's position as a product of homogeneous transforms (Craig's convention)."""
    pose = np.eye(4)
    for (a, d, alpha), angle in zip(DENAVIT_HARTENBERG, [*angles, 0.0], strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(angle), np.sin(angle)
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    hand: Array = pose[:3, 3]
    return hand


@pytest.fixture
def panda() -> Iterator[Panda]:
    with Panda() as robot:
        yield robot


@pytest.fixture
def poses() -> Array:
    return np.random.default_rng(0).uniform(Panda.LOWER, Panda.UPPER, size=(20, 7))


class TestModel:
    def test_masses(self, panda: Panda) -> None:
        masses = [panda.simulator.mass(panda.body, link) for link in range(9)]
        # Link 7 carries the hand (0.81 kg); the fingers follow.
        assert masses == pytest.approx([2.7, 2.73, 2.04, 2.08, 3.0, 1.3, 1.01, 0.1, 0.1])

    def test_joints_in_order_and_limits_inside_the_models(self, panda: Panda) -> None:
        assert panda.joints.names == tuple(f"panda_joint{number}" for number in range(1, 8))
        assert panda.joints.links == tuple(range(7))
        assert (np.array(Panda.LOWER) >= panda.joints.lower).all()
        assert (np.array(Panda.UPPER) <= panda.joints.upper).all()

    def test_home_lies_inside_the_limits(self) -> None:
        assert (np.array(Panda.LOWER) < Panda.HOME).all()
        assert (np.array(Panda.HOME) < Panda.UPPER).all()


class TestKinematics:
    def test_hand_is_where_matrices_say(self, poses: Array) -> None:
        for pose in poses:
            hand, _ = hand_position_and_jacobian(pose.tolist())
            np.testing.assert_allclose(hand, hand_by_matrices(pose), atol=1e-12)

    def test_hand_is_where_the_engine_has_it(self, panda: Panda, poses: Array) -> None:
        for pose in poses:
            panda.reset(pose.tolist())
            flange = np.array(panda.simulator.link_position(panda.body, 6))
            # The frame of link 7 lies 0.212 m before the hand's point.
            assert np.linalg.norm(panda.hand_position - flange) == pytest.approx(0.212, abs=1e-6)

    def test_jacobian_is_the_derivative(self, poses: Array) -> None:
        for pose in poses:
            _, columns = hand_position_and_jacobian(pose.tolist())
            for joint in range(7):
                step = 1e-6 * np.eye(7)[joint]
                slope = (hand_by_matrices(pose + step) - hand_by_matrices(pose - step)) / 2e-6
                expected = columns[joint] if joint < 6 else np.zeros(3)
                np.testing.assert_allclose(expected, slope, atol=1e-8)

    def test_joint_step_is_damped_least_squares(self, poses: Array) -> None:
        wanted = (0.01, -0.02, 0.03)
        for pose in poses:
            _, columns = hand_position_and_jacobian(pose.tolist())
            jacobian = np.array(columns).T
            gram = jacobian @ jacobian.T + 0.05**2 * np.eye(3)
            expected = jacobian.T @ np.linalg.solve(gram, wanted)
            step = np.array(joint_step(columns, wanted, 0.05))
            np.testing.assert_allclose(step, expected, atol=1e-12)

    def test_joint_step_is_bounded_where_the_arm_is_stretched(self) -> None:
        _, columns = hand_position_and_jacobian([0.0] * 7)
        assert max(map(abs, joint_step(columns, (0.0, 0.0, 0.03), 0.03))) < 0.5


class TestMotion:
    def test_holds_its_pose_against_gravity(self, panda: Panda) -> None:
        home = panda.hand_position
        for _ in range(50):
            panda.move_hand((0.0, 0.0, 0.0))
            panda.advance()
            panda.sense()
        assert np.abs(np.subtract(panda.hand_position, home)).max() < 2e-4

    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_hand_goes_where_it_is_sent(self, panda: Panda, axis: int, sign: float) -> None:
        start = np.array(panda.hand_position)
        push = sign * 0.01 * np.eye(3)[axis]
        for _ in range(10):
            panda.move_hand(push.tolist())
            panda.advance()
            panda.sense()
        # Each physics step covers `gain` of what is left of the push.
        gain, substeps = Panda.GAIN, Panda.SUBSTEPS
        covered = 10 * push * (1 - (1 - gain) ** substeps)
        np.testing.assert_allclose(panda.hand_position - start, covered, atol=5e-3)
        velocity = push * gain * (1 - gain) ** (substeps - 1) / Panda.TIME_STEP
        np.testing.assert_allclose(panda.hand_velocity, velocity, atol=5e-3)

    def test_keeps_to_joint_limits_and_speeds(self, panda: Panda) -> None:
        generator = np.random.default_rng(0)
        panda.reset([0.0, 1.7, 0.0, -0.1, 0.0, 3.7, 0.0])
        for _ in range(50):
            panda.move_hand(generator.uniform(-0.5, 0.5, 3).tolist())
            targets = np.array(panda.joints.last_command)
            assert (targets >= Panda.LOWER).all()
            assert (targets <= Panda.UPPER).all()
            reach = np.array(Panda.MAX_SPEED) * Panda.TIME_STEP * Panda.SUBSTEPS
            inside = np.clip(panda.joint_positions, Panda.LOWER, Panda.UPPER)
            assert (np.abs(targets - inside) <= reach + 1e-9).all()
            panda.advance()
            panda.sense()

    def test_torque_is_limited(self, panda: Panda) -> None:
        panda.joints.command([position + 1.0 for position in Panda.HOME])
        panda.advance()
        torques = np.abs([state[3] for state in panda.joints.read()])
        assert (torques <= np.array(Panda.MAX_TORQUE) + 1e-9).all()
        assert (torques[:4] > 80).any()
