from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.panda_actuators import PandaActuatorsTask

Array = NDArray[Any]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("PandaActuators-v0").make_env()
    yield env
    env.close()


def undone(task: PandaActuatorsTask, way: Array) -> Array:
    """The command that moves the hand along a way, for one who knows the yaw and the mirror."""
    turned = np.array([[cos(task.yaw), sin(task.yaw)], [-sin(task.yaw), cos(task.yaw)]]) @ way[:2]
    return np.array([turned[0], task.mirror * turned[1], way[2]])


def total(env: Any, task: PandaActuatorsTask, gains: Array, *, informed: bool, seed: int) -> float:
    """Return of going straight to the goal, each axis with its gain."""
    observation, _ = env.reset(seed=seed, options={"task": task})
    rewards = []
    for _ in range(env.family.horizon):
        way = 0.3 * observation[-3:] / 0.03
        observation, reward, *_ = env.step(gains * (undone(task, way) if informed else way))
        rewards.append(reward)
    return float(np.sum(rewards))


def test_knowing_the_faults_beats_one_policy_for_all_faults(env: Any) -> None:
    tasks = env.family.sample(24, split="test", seed=0)

    def mean(gains: tuple[float, float, float], *, informed: bool = False) -> float:
        returns = [
            total(env, task, np.array(gains), informed=informed, seed=seed)
            for seed, task in enumerate(tasks)
        ]
        return float(np.mean(returns))

    knowing, resting = mean((1.0, 1.0, 1.0), informed=True), mean((0.0, 0.0, 0.0))
    assert knowing > -12
    assert -60 < resting < -35
    vertical = mean((0.0, 0.0, 1.0))
    assert resting + 5 < vertical < knowing - 15
    assert mean((1.0, 1.0, 1.0)) < vertical


@pytest.mark.parametrize("mirror", [-1.0, 1.0])
@pytest.mark.parametrize("yaw", [0.0, pi / 2, 2.5])
def test_commands_are_turned_and_mirrored(env: Any, yaw: float, mirror: float) -> None:
    for action in ([0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]):
        env.reset(seed=0, options={"task": PandaActuatorsTask(yaw, mirror, 1.0, 1.0)})
        start = np.array(env.robot.hand_position)
        for _ in range(3):
            env.step(np.array(action))
        x, y, z = action
        expected = np.array(
            [cos(yaw) * x - mirror * sin(yaw) * y, sin(yaw) * x + mirror * cos(yaw) * y, z]
        )
        moved = env.robot.hand_position - start
        assert moved / np.linalg.norm(moved) == pytest.approx(2 * expected, abs=0.1)


def test_one_joint_takes_a_share_of_its_steps(env: Any) -> None:
    for number in (1, 2, 4, 6):
        steps = []
        for response in (0.25, 1.0):
            env.reset(
                seed=0, options={"task": PandaActuatorsTask(0.0, 1.0, float(number), response)}
            )
            start = np.array(env.robot.joint_positions)
            env.step(np.array([0.3, 0.4, 0.2]))
            steps.append(np.array(env.robot.joints.last_command) - start)
        shares = steps[0][:6] / steps[1][:6]
        expected = np.ones(6)
        expected[number - 1] = 0.25
        assert shares == pytest.approx(expected)


def test_reward_is_the_squared_distance_to_the_goal_that_is_seen(env: Any) -> None:
    observation, _ = env.reset(seed=1)
    goal = np.array(env.robot.hand_position) + 0.3 * observation[-3:]
    for _ in range(5):
        observation, reward, *_ = env.step(np.array([0.3, -0.2, 0.9]))
        way = goal - env.robot.hand_position
        assert reward == pytest.approx(-float(way @ way) / 0.25**2, rel=1e-5)
        np.testing.assert_allclose(0.3 * observation[-3:], way, atol=1e-6)


def test_every_episode_has_a_goal_of_its_own_in_the_box(env: Any) -> None:
    goals = []
    for seed in range(40):
        env.reset(seed=seed)
        goals.append(env._goal)
    low, high = np.min(goals, axis=0), np.max(goals, axis=0)
    assert (low >= [0.3, -0.3, 0.15]).all()
    assert (high <= [0.65, 0.3, 0.65]).all()
    assert (high - low > 0.8 * np.array([0.35, 0.6, 0.5])).all()
