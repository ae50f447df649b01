from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.arm_reach import DISTANCE_UNIT, ReachTask
from metamotor.envs.arms import MAX_DISPLACEMENT


@pytest.fixture(scope="module", params=["PandaReach-v0", "KukaReach-v0"])
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    env = envs.make(request.param).make_env()
    yield env
    env.close()


def distances(env: Any, task: ReachTask, gain: float = 1.0) -> list[float]:
    """Distances to the goal [m] of a controller that knows it, step by step."""
    env.reset(seed=0, options={"task": task})
    found = []
    for _ in range(env.family.horizon):
        offset = task.as_array() - env.robot.hand_position
        reward = env.step(gain * offset / MAX_DISPLACEMENT)[1]
        found.append(DISTANCE_UNIT * math.sqrt(-reward))
    return found


CORNERS = [
    ReachTask(*corner)
    for corner in itertools.product(
        *(
            (interval.out_of_range[0][0], interval.out_of_range[1][1])
            for interval in envs.FAMILIES["PandaReach-v0"].parameters.values()
            if isinstance(interval, envs.Interval)
        )
    )
]


@pytest.mark.parametrize("task", CORNERS, ids=str)
def test_the_farthest_goals_are_in_reach(env: Any, task: ReachTask) -> None:
    assert distances(env, task)[-1] < 1e-3


def test_a_goal_30_cm_away_takes_some_16_steps(env: Any) -> None:
    home = env.robot.hand_position_and_jacobian(env.robot.HOME)[0]
    # An iiwa cannot fold its hand back to 15 cm from its base.
    for axis, sign in ((0, 1.0), (1, -1.0), (1, 1.0), (2, -1.0), (2, 1.0)):
        goal = np.array(home)
        goal[axis] += 0.3 * sign
        found = distances(env, ReachTask(*goal.tolist()))
        # Straight ahead and downwards an iiwa's elbow is at its greatest speed.
        longest = 20 if env.robot.MAX_SPEED[3] > 2.0 or axis == 1 else 28
        assert 13 <= int(np.argmax(np.array(found) < 0.03)) <= longest


def test_knowing_the_goal_beats_idling(env: Any) -> None:
    tasks = env.family.sample(10, split="test", seed=0)

    def cost(gain: float) -> float:
        found = [np.array(distances(env, task, gain)) / DISTANCE_UNIT for task in tasks]
        return float(np.mean([np.sum(distance**2) for distance in found]))

    assert cost(1.0) < 6
    assert 30 < cost(0.0) < 70


def test_reward_is_the_squared_distance(env: Any) -> None:
    task = ReachTask(0.5, 0.1, 0.3)
    env.reset(seed=1, options={"task": task})
    reward = env.step(np.array([0.3, -0.2, 0.9]))[1]
    hand = np.array(env.robot.hand_position)
    distance = np.linalg.norm(hand - task.as_array())
    assert reward == pytest.approx(-((distance / DISTANCE_UNIT) ** 2))


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=1)
    home = env.robot.hand_position_and_jacobian(env.robot.HOME)[0]
    for _ in range(5):
        observation = env.step(np.array([1.0, -0.5, 0.2]))[0]
    np.testing.assert_allclose(observation[:3] * 0.3 + home, env.robot.hand_position, atol=1e-6)
    np.testing.assert_allclose(observation[3:6] * 0.5, env.robot.hand_velocity, atol=1e-6)
    lower, upper = np.array(env.robot.LOWER), np.array(env.robot.UPPER)
    joints = lower + (observation[6:] + 1) / 2 * (upper - lower)
    np.testing.assert_allclose(joints, env.robot.joint_positions, atol=1e-5)


def test_starts_near_home(env: Any) -> None:
    starts = []
    for seed in range(20):
        env.reset(seed=seed)
        starts.append(np.subtract(env.robot.joint_positions, env.robot.HOME))
    assert 0.01 < np.abs(starts).max() <= 0.02
