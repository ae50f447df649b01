from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.panda_push import PandaPushTask

Array = NDArray[Any]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("PandaPush-v0").make_env()
    yield env
    env.close()


def push_to(env: Any, task: PandaPushTask, goal: tuple[float, float], seed: int) -> float:
    """Return of moving the hand along the way from the puck to a goal, slower near it."""
    env.reset(seed=seed, options={"task": task})
    rewards = []
    for _ in range(env.family.horizon):
        action = 0.3 * np.subtract(goal, env.robot.puck()[0]) / 0.03
        action /= max(1.0, np.abs(action).max())
        rewards.append(env.step(action)[1])
    return float(np.sum(rewards))


def test_knowing_the_goal_beats_one_goal_for_all_tasks(env: Any) -> None:
    tasks = env.family.sample(12, split="test", seed=0)
    knowing = np.mean([push_to(env, t, (t.goal_x, t.goal_y), i) for i, t in enumerate(tasks)])
    middle = np.mean([push_to(env, task, (0.65, 0.0), i) for i, task in enumerate(tasks)])
    resting = np.mean([push_to(env, task, (0.0, 0.0), i) for i, task in enumerate(tasks[:3])])
    assert knowing > -30
    assert resting < 4 * middle < 6.5 * knowing


@pytest.mark.parametrize("goal", [(0.57, -0.1), (0.57, 0.1), (0.75, -0.12), (0.75, 0.12)])
def test_the_farthest_goals_are_in_reach(env: Any, goal: tuple[float, float]) -> None:
    push_to(env, PandaPushTask(*goal, 0.3, 0.4), goal, seed=0)
    assert np.linalg.norm(np.subtract(env.robot.puck()[0], goal)) < 0.03


def test_friction_decides_how_far_the_puck_slides_on(env: Any) -> None:
    reached = []
    for friction in (0.15, 0.6):
        env.reset(seed=0, options={"task": PandaPushTask(0.65, 0.0, 0.3, friction)})
        for step in range(30):
            env.step(np.array([1.0 if step < 8 else 0.0, 0.0]))
        reached.append(env.robot.puck()[0][0])
    assert reached[0] > reached[1] + 0.03


def test_reward_is_the_squared_distance_of_the_puck(env: Any) -> None:
    task = PandaPushTask(0.6, 0.05, 0.3, 0.4)
    env.reset(seed=1, options={"task": task})
    for _ in range(12):
        reward = env.step(np.array([0.8, 0.1]))[1]
        (x, y), _ = env.robot.puck()
        assert reward == pytest.approx(-((x - 0.6) ** 2 + (y - 0.05) ** 2) / 0.1**2)
    assert x > 0.5


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=1)
    for _ in range(8):
        observation = env.step(np.array([1.0, 0.2]))[0]
    puck, velocity = env.robot.puck()
    np.testing.assert_allclose(0.1 * observation[13:15] + [0.43, 0.0], puck, atol=1e-6)
    way = np.subtract(puck, env.robot.hand_position[:2])
    np.testing.assert_allclose(0.1 * observation[15:17], way, atol=1e-6)
    np.testing.assert_allclose(0.5 * observation[17:], velocity, atol=1e-6)
    assert velocity[0] > 0.1


def test_starts_with_the_fork_behind_the_puck(env: Any) -> None:
    for seed in range(20):
        env.reset(seed=seed)
        (x, y), _ = env.robot.puck()
        hand_x, hand_y, height = env.robot.hand_position
        # The puck touches both pegs at 43 mm.
        assert 0.042 < x - hand_x < 0.053
        assert abs(y - hand_y) <= 0.005
        assert 0.011 < height < 0.04, "neither in the table nor over the puck"
