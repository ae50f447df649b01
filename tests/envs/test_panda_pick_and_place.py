from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.panda_pick_and_place import PandaPickAndPlaceTask
from metamotor.robots import PandaGripper

Array = NDArray[Any]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("PandaPickAndPlace-v0").make_env()
    yield env
    env.close()


def towards(env: Any, place: Any, grip: float) -> Array:
    """The action that moves the hand half of the way to a place."""
    way = 0.5 * np.subtract(place, env.robot.hand_position) / 0.03
    return np.append(way / max(1.0, np.abs(way).max()), grip)


def carry(env: Any, task: PandaPickAndPlaceTask, goal: Any, seed: int, grip: float = 1.0) -> float:
    """Return of taking the brick and carrying it to a goal, by a policy of three phases."""
    env.reset(seed=seed, options={"task": task})
    total = 0.0
    for step in range(env.family.horizon):
        brick = np.array(env.robot.brick()[0])
        if step < 8:
            action = towards(env, brick, -1.0)
        elif step < 13:
            action = towards(env, brick, grip)
        else:
            held = np.subtract(env.robot.hand_position, brick)
            action = towards(env, held + goal, grip)
        total += env.step(action)[1]
    return total


def test_knowing_the_goal_beats_one_goal_for_all_tasks(env: Any) -> None:
    tasks = env.family.sample(4, split="test", seed=0)
    knowing, middle, resting = [], [], []
    for seed, task in enumerate(tasks):
        goal = (task.goal_x, task.goal_y, task.goal_z)
        knowing.append(carry(env, task, goal, seed))
        assert np.linalg.norm(np.subtract(env.robot.brick()[0], goal)) < 0.02
        middle.append(carry(env, task, (0.5, 0.0, 0.22), seed))
        resting.append(carry(env, task, goal, seed, grip=-1.0))
    assert np.mean(resting) < 2 * np.mean(middle) < 3 * np.mean(knowing)


@pytest.mark.parametrize("goal", [(0.35, -0.25, 0.1), (0.35, 0.25, 0.4), (0.65, -0.25, 0.4)])
@pytest.mark.parametrize("width", PandaGripper.BRICK_WIDTHS)
def test_the_farthest_goals_are_in_reach(
    env: Any, goal: tuple[float, float, float], width: float
) -> None:
    carry(env, PandaPickAndPlaceTask(*goal, 0.3, 0.7, width), goal, seed=0)
    assert np.linalg.norm(np.subtract(env.robot.brick()[0], goal)) < 0.03


def test_a_heavy_and_smooth_brick_is_lost(env: Any) -> None:
    goal = (0.5, 0.1, 0.3)
    carry(env, PandaPickAndPlaceTask(*goal, 0.8, 0.2, 0.04), goal, seed=0)
    assert env.robot.brick()[0][2] == pytest.approx(PandaGripper.BRICK_HEIGHT / 2, abs=5e-3)


def test_reward_is_the_squared_distances_of_the_brick(env: Any) -> None:
    task = PandaPickAndPlaceTask(0.6, 0.05, 0.2, 0.3, 0.7, 0.04)
    env.reset(seed=1, options={"task": task})
    for _ in range(10):
        reward = env.step(np.array([0.8, 0.1, -0.3, 0.0]))[1]
        brick = np.array(env.robot.brick()[0])
        expected = -np.sum((brick - [0.6, 0.05, 0.2]) ** 2) / 0.1**2
        expected -= np.sum((brick - env.robot.hand_position) ** 2) / 0.1**2
        assert reward == pytest.approx(expected)


def test_observation_is_scaled_as_documented(env: Any) -> None:
    carry(env, env.family.sample(1, seed=0)[0], (0.5, 0.1, 0.25), seed=1)
    observation = env._observe(*env.robot.brick())
    brick, velocity = env.robot.brick()
    assert brick[2] > 0.2
    assert 0.04 * (observation[13] + 1.0) == pytest.approx(env.robot.opening(), abs=1e-6)
    assert 0.1 * observation[14:17] + [0.45, 0.0, 0.025] == pytest.approx(brick, abs=1e-6)
    way = np.subtract(brick, env.robot.hand_position)
    assert 0.1 * observation[17:20] == pytest.approx(way, abs=1e-6)
    assert 0.5 * observation[20:] == pytest.approx(velocity, abs=1e-6)


def test_starts_open_above_the_brick(env: Any) -> None:
    for seed in range(20):
        env.reset(seed=seed)
        way = np.subtract(env.robot.hand_position, env.robot.brick()[0])
        assert np.abs(way[:2]).max() <= 0.015 + 1e-6
        assert 0.04 < way[2] < 0.09, "over its upper side, and near it"
        assert env.robot.opening() == pytest.approx(PandaGripper.OPENING)
