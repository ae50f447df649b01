from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.xarm_payload import XArmPayloadTask
from metamotor.robots import XArm6

Array = NDArray[Any]
Policy = Callable[[Array], Array]
UNITS = np.array([30.0, 20.0, 8.0])
BEARING = [1, 2, 4]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("XArmPayload-v0").make_env()
    yield env
    env.close()


def bearing(env: Any, payload: float, offset: float) -> Array:
    """The action that bears a load at the hand, by the principle of virtual work."""
    robot: XArm6 = env.robot

    def height(joint: int, step: float) -> float:
        angles = list(robot.joint_positions)
        angles[joint] += step
        hand, _ = robot.hand_position_and_jacobian(angles)
        # The tool's axes x and z, from how the pitch adds up; joints 4 and 6 stay near zero.
        pitch = angles[1] + angles[2] + angles[4]
        return float(hand[2] - offset * np.sin(pitch) - 0.08 * np.cos(pitch))

    slopes = [(height(joint, 1e-5) - height(joint, -1e-5)) / 2e-5 for joint in BEARING]
    action: Array = payload * 9.81 * np.array(slopes) / UNITS
    return action


def total(env: Any, task: XArmPayloadTask, policy: Policy, seed: int = 0) -> float:
    observation, _ = env.reset(seed=seed, options={"task": task})
    rewards = []
    for _ in range(env.family.horizon):
        observation, reward, *_ = env.step(policy(observation))
        rewards.append(reward)
    return float(np.sum(rewards))


def idle(_: Array) -> Array:
    return np.zeros(3)


def test_knowing_the_load_beats_one_policy_for_all_loads(env: Any) -> None:
    def feedback(observation: Array) -> Array:
        # The best gains that were found by hand: once the springs' stiffness, and a little damping.
        error, speed = 0.1 * observation[BEARING], 0.5 * observation[[7, 8, 10]]
        stiffness = np.array([80.0, 80.0, 20.0])
        action: Array = bearing(env, 2.0, 0.0) - stiffness * (error + 0.05 * speed) / UNITS
        return action

    tasks = env.family.sample(12, split="test", seed=0)
    returns: dict[str, list[float]] = {"idle": [], "feedback": [], "informed": []}
    for seed, task in enumerate(tasks):

        def informed(_: Array, task: XArmPayloadTask = task) -> Array:
            return bearing(env, task.payload, task.payload_offset)

        returns["idle"].append(total(env, task, idle, seed))
        returns["feedback"].append(total(env, task, feedback, seed))
        returns["informed"].append(total(env, task, informed, seed))
    means = {name: np.mean(values) for name, values in returns.items()}
    assert -190 < means["idle"] < -90
    assert means["feedback"] < 4 * means["informed"]
    assert means["informed"] > -5


def test_an_empty_hand_follows_the_path(env: Any) -> None:
    assert all(total(env, XArmPayloadTask(0.0, 0.0), idle, seed) > -3 for seed in range(5))


@pytest.mark.parametrize("offset", [-0.05, 0.05])
def test_the_offset_matters_too(env: Any, offset: float) -> None:
    task = XArmPayloadTask(4.0, offset)
    right = total(env, task, lambda _: bearing(env, 4.0, offset))
    assert total(env, task, lambda _: bearing(env, 4.0, -offset)) < right - 5


def test_reward_is_the_squared_distance_from_the_path(env: Any) -> None:
    observation, _ = env.reset(seed=3, options={"task": XArmPayloadTask(3.0, 0.02)})
    first = np.array(env.robot.joint_positions)
    spans = np.array([0.8, 0.2, 0.3, 0.3])
    for step in range(1, 61):
        observation, reward, *_ = env.step(np.array([0.2, -0.1, 0.3]))
        joints = first.copy()
        joints[[0, 1, 2, 4]] = np.take(XArm6.HOME, [0, 1, 2, 4]) + spans * observation[12:16]
        wanted, _ = env.robot.hand_position_and_jacobian(joints.tolist())
        distance = np.linalg.norm(np.subtract(env.robot.hand_position, wanted))
        assert reward == pytest.approx(-((distance / 0.05) ** 2), rel=1e-4, abs=1e-6)
        errors = np.array(env.robot.joint_positions) - joints
        np.testing.assert_allclose(0.1 * observation[:6], errors, atol=1e-5)
        if step < 45:
            assert np.abs(observation[16:]).max() > 0.0
    np.testing.assert_allclose(observation[16:], 0.0, atol=1e-9)


def test_the_path_begins_and_ends_at_rest_inside_the_limits(env: Any) -> None:
    for seed in range(20):
        env.reset(seed=seed, options={"task": XArmPayloadTask(0.0, 0.0)})
        positions = []
        for step in range(60):
            env._time = step * env.family.dt
            positions.append(env._path()[0])
        speeds = np.diff(positions, axis=0) / env.family.dt
        assert np.abs(speeds[[0, -1]]).max() < 0.05
        assert np.abs(speeds).max() < XArm6.MAX_SPEED[0] / 2
        assert (np.array(positions) > XArm6.LOWER).all()
        assert (np.array(positions) < XArm6.UPPER).all()


def test_brakes_hold_it_until_the_first_command_arrives(env: Any) -> None:
    # Otherwise the load would drop for as long as the latency.
    task = XArmPayloadTask(4.0, 0.0)
    env.reset(seed=1, options={"task": task})
    start = env.robot.hand_position[2]
    for _ in range(3):
        env.step(bearing(env, 4.0, 0.0))
    assert abs(env.robot.hand_position[2] - start) < 0.005
    env.reset(seed=1)
    for _ in range(3):
        env.step(np.zeros(3))
    assert env.robot.hand_position[2] < start - 0.01
