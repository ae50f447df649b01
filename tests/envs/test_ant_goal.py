from __future__ import annotations

from collections.abc import Iterator
from math import cos, hypot, pi, sin
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.ant_goal import AntGoalTask
from tests.envs.test_ant_direction import crawl


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("AntGoal-v0").make_env()
    yield env
    env.close()


def walk_to(env: Any, x: float, y: float) -> float:
    """Return of an ant that crawls towards a point and stops there; the task stays what it is."""
    observation, _ = env.reset(seed=0)
    total = 0.0
    for step in range(120):
        dx, dy = x - observation[-2], y - observation[-1]
        near = hypot(dx, dy) < 0.15
        action = np.zeros(8) if near else crawl(step, np.arctan2(dy, dx) - observation[3])
        observation, reward, *_ = env.step(action)
        total += reward
    return total


@pytest.mark.parametrize(("direction", "distance"), [(0.0, 1.0), (2.0, 0.5), (-2.5, 1.5)])
def test_reward_is_the_distance_from_the_goal(env: Any, direction: float, distance: float) -> None:
    env.reset(seed=0, options={"task": AntGoalTask(direction, distance)})
    goal = distance * np.array([cos(direction), sin(direction)])
    generator = np.random.default_rng(0)
    for _ in range(40):
        reward = env.step(generator.uniform(-1, 1, 8))[1]
        place = np.array(env.robot.trunk().position[:2])
        assert reward == pytest.approx(-np.linalg.norm(goal - place))


def test_standing_still_costs_the_distance(env: Any) -> None:
    env.reset(seed=0, options={"task": AntGoalTask(1.0, 0.8)})
    total = sum(env.step(np.zeros(8))[1] for _ in range(120))
    assert total == pytest.approx(-120 * 0.8, rel=0.02)


@pytest.mark.parametrize("direction", [-pi, -pi / 2, 0.0, pi / 2, 0.8])
def test_one_who_knows_the_goal_gets_there_and_one_who_is_wrong_pays(
    env: Any, direction: float
) -> None:
    env.set_task(AntGoalTask(direction, 1.2))
    x, y = 1.2 * cos(direction), 1.2 * sin(direction)
    assert walk_to(env, x, y) > -0.8 * 144.0
    assert hypot(env._x - x, env._y - y) < 0.5
    assert walk_to(env, -x, -y) < -1.2 * 144.0


def test_observes_its_place_but_not_the_goal(env: Any) -> None:
    env.reset(seed=0, options={"task": AntGoalTask(0.0, 1.0)})
    base = env.robot._base.base()
    env.robot._base.place(base._replace(position=(0.4, -0.3, base.position[2])))
    here = env._observe()
    assert here[-2:] == pytest.approx([0.4, -0.3])
    env.set_task(AntGoalTask(2.0, 0.5))
    np.testing.assert_array_equal(env._observe(), here)


def test_the_goal_is_drawn_where_it_is() -> None:
    env: Any = envs.make("AntGoal-v0").make_env(render_mode="rgb_array")
    places = set()
    for direction in (-2.0, -1.0, 0.0):
        env.reset(seed=0, options={"task": AntGoalTask(direction, 1.2)})
        frame = env.render().astype(int)
        red = np.argwhere(frame[:, :, 0] - frame[:, :, 1] > 60)
        assert len(red) > 5
        places.add(tuple(red.mean(axis=0).round()))
    assert len(places) == 3
    env.close()
