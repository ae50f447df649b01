from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.laikago_locomotion import LaikagoLocomotionTask
from metamotor.robots import Laikago
from metamotor.robots.simulator import BaseState
from tests.envs.scripted import Policy, episode


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("LaikagoLocomotion-v0").make_env()
    yield env
    env.close()


def idle(_: Any) -> Any:
    return np.zeros(5)


def walk_along(task: LaikagoLocomotionTask, sign: float = 1.0) -> Policy:
    """Full speed along the heading, facing ahead, the legs taking their part of the load."""

    def policy(observation: Any) -> Any:
        yaw = observation[2]
        angle, support = task.heading - yaw, task.payload * 9.81 / 2 / 50.0
        return np.array([sign * np.cos(angle), sign * np.sin(angle), -2.0 * yaw, 0.0, support])

    return policy


@pytest.mark.parametrize("payload", [0.0, 4.0, 8.0])
def test_one_who_knows_the_task_walks_every_way(env: Any, payload: float) -> None:
    for heading in np.arange(4) * np.pi / 2 - np.pi:
        task = LaikagoLocomotionTask(float(heading), payload)
        there, steps = episode(env, task, walk_along(task))
        assert steps == 80
        assert there > 20.0
        assert abs(episode(env, task, idle)[0]) < 9.0
    assert episode(env, task, walk_along(task, sign=-1.0))[0] < -15.0


def test_reward_is_the_speed_along_the_heading_less_a_cost_of_that_across(env: Any) -> None:
    env.reset(seed=0, options={"task": LaikagoLocomotionTask(heading=0.7, payload=1.0)})
    along, across = np.array([np.cos(0.7), np.sin(0.7)]), np.array([-np.sin(0.7), np.cos(0.7)])
    generator = np.random.default_rng(0)
    for _ in range(30):
        before = np.array(env.robot.trunk().position[:2])
        reward = env.step(generator.uniform(-1, 1, 5))[1]
        velocity = (np.array(env.robot.trunk().position[:2]) - before) / 0.04
        assert reward == pytest.approx(velocity @ along - 0.5 * (velocity @ across) ** 2)


@pytest.mark.parametrize(("roll", "falls"), [(0.0, False), (1.2, True)])
def test_falling_ends_the_episode_at_a_cost(env: Any, roll: float, falls: bool) -> None:
    env.reset(seed=0, options={"task": LaikagoLocomotionTask(0.0, 2.0)})
    turn = (np.sin(roll / 2), 0.0, 0.0, np.cos(roll / 2))
    env.robot._base.place(BaseState((0.0, 0.0, 0.6), turn, (0.0,) * 3, (0.0,) * 3))
    _, reward, terminated, *_ = env.step(np.zeros(5))
    assert terminated == falls
    assert (reward < -9.0) == falls


def test_rarely_falls_while_it_explores(env: Any) -> None:
    generator = np.random.default_rng(0)
    tasks = env.family.sample(12, seed=1)
    lengths = [episode(env, task, lambda _: generator.normal(0.0, 0.5, 5))[1] for task in tasks]
    assert sum(length < 80 for length in lengths) <= 1


def test_carries_the_payload_of_the_task(env: Any) -> None:
    env.reset(seed=0, options={"task": LaikagoLocomotionTask(0.0, 6.0)})
    total = sum(env.robot.simulator.mass(env.robot.body, link) for link in range(-1, 13))
    assert total == pytest.approx(Laikago.MASS + 6.0)
