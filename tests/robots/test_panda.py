from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor.robots import Panda

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
        masses = [panda.simulator.mass(panda.body, link) for link in range(10)]
        # Link 7 carries the hand (0.81 kg); the fingers follow, and what holds the payload.
        assert masses == pytest.approx([2.7, 2.73, 2.04, 2.08, 3.0, 1.3, 1.01, 0.1, 0.1, 0.0])

    def test_joints_in_order(self, panda: Panda) -> None:
        assert panda.joints.names == tuple(f"panda_joint{number}" for number in range(1, 8))
        assert panda.joints.links == tuple(range(7))


class TestKinematics:
    def test_hand_is_where_matrices_say(self, poses: Array) -> None:
        for pose in poses:
            hand, _ = Panda.hand_position_and_jacobian(pose.tolist())
            np.testing.assert_allclose(hand, hand_by_matrices(pose), atol=1e-12)
