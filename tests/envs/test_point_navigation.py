from __future__ import annotations

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.point_navigation import PointTask


@pytest.mark.parametrize("name", ["PointNavigation-v0", "PointNavigationSparse-v0"])
@pytest.mark.parametrize("reveal_task", [False, True])
def test_one_point_moves_as_many_do_to_the_bit(name: str, reveal_task: bool) -> None:
    family = envs.make(name, reveal_task=reveal_task)
    env, batch = family.make_env(), family.make_batch_env()
    assert batch is not None
    task = family.sample(1, seed=0)[0]
    actions = np.random.default_rng(0).uniform(-1, 1, size=(100, 3, 2)).astype(np.float32)
    together = [(batch.reset(task, seeds=[0, 1, 2]), np.zeros(3), np.zeros(3, bool))]
    together += [batch.step(action) for action in actions]
    for point in range(3):
        single, _ = env.reset(seed=point, options={"task": task})
        np.testing.assert_array_equal(single, together[0][0][point])
        for action, (observations, rewards, terminated) in zip(actions, together[1:], strict=True):
            observation, reward, ended, truncated, _ = env.step(action[point])
            np.testing.assert_array_equal(observation, observations[point])
            assert reward == rewards[point]
            assert ended == terminated[point]
            if ended or truncated:
                break


def test_reaching_the_goal_ends_the_episode() -> None:
    env = envs.make("PointNavigation-v0").make_env()
    env.reset(options={"task": PointTask(0.1, -0.05)})
    _, reward, terminated, *_ = env.step(np.array([1.0, -0.5]))
    assert terminated
    assert reward == pytest.approx(0.0)


def test_reward_is_the_distance() -> None:
    env = envs.make("PointNavigation-v0").make_env()
    env.reset(options={"task": PointTask(0.4, 0.3)})
    assert env.step(np.zeros(2))[1] == pytest.approx(-0.5)
