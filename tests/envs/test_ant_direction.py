from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.ant_direction import AntDirectionTask
from metamotor.robots import Ant
from metamotor.robots.simulator import BaseState

Array = NDArray[Any]


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("AntDirection-v0").make_env()
    yield env
    env.close()


def crawl(step: int, heading: float) -> Array:
    """A gait for a heading: each hip swings its foot back while the foot is pressed down, opposite legs in turn."""
    action = np.zeros(8)
    for leg, place in enumerate((0.25, 0.75, -0.75, -0.25)):
        phase = 2 * np.pi * step / 16 + np.pi * (leg % 2)
        # The way that the foot goes when its hip turns to the left, along the heading.
        along = -np.sin(np.pi * place - heading)
        outwards = np.cos(np.pi * place - heading)
        action[2 * leg] = along * np.cos(phase)
        action[2 * leg + 1] = 0.7 * np.sin(phase) - 0.5 * outwards * np.cos(phase)
    return np.clip(action, -1.0, 1.0)


def episode(env: Any, heading: float, actions: Any) -> float:
    env.reset(seed=0, options={"task": AntDirectionTask(heading)})
    return float(sum(env.step(actions(step))[1] for step in range(100)))


@pytest.mark.parametrize("heading", [-2.5, 0.0, 1.0])
def test_reward_is_the_speed_along_the_heading(env: Any, heading: float) -> None:
    generator = np.random.default_rng(0)
    env.reset(seed=0, options={"task": AntDirectionTask(heading)})
    along = np.array([np.cos(heading), np.sin(heading)])
    for _ in range(40):
        before = np.array(env.robot.trunk().position[:2])
        reward = env.step(generator.uniform(-1, 1, 8))[1]
        velocity = (np.array(env.robot.trunk().position[:2]) - before) / 0.025
        assert reward == pytest.approx(velocity @ along)


def test_standing_still_earns_nothing(env: Any) -> None:
    totals = [episode(env, heading, lambda _: np.zeros(8)) for heading in (0.0, 2.0, -2.0)]
    assert np.abs(totals).max() < 1.0


@pytest.mark.parametrize("heading", (np.arange(8) * np.pi / 4 - np.pi).tolist())
def test_one_who_knows_the_heading_gets_there_and_loses_on_the_opposite_one(
    env: Any, heading: float
) -> None:
    there = episode(env, heading, lambda step: crawl(step, heading))
    back = episode(env, heading, lambda step: crawl(step, heading + np.pi))
    assert there > 15.0
    assert back < -15.0


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=0, options={"task": AntDirectionTask(0.0)})
    for step in range(13):
        observation = env.step(crawl(step, 0.5))[0]
    trunk = env.robot.trunk()
    assert observation[0] * 0.1 + Ant.HEIGHT == pytest.approx(trunk.position[2], abs=1e-6)
    assert observation[1:4] == pytest.approx([trunk.roll / 0.3, trunk.pitch / 0.3, trunk.yaw])
    assert observation[4:7] == pytest.approx(trunk.velocity, abs=1e-6)
    assert observation[7:10] * 3.0 == pytest.approx(trunk.angular_velocity, abs=1e-5)
    states = np.array([state[:2] for state in env.robot.joints.read()])
    assert observation[10:18] * Ant.REACH + Ant.NEUTRAL == pytest.approx(states[:, 0], abs=1e-6)
    assert observation[18:] * 10.0 == pytest.approx(states[:, 1], abs=1e-5)


def test_observes_neither_task_nor_place(env: Any) -> None:
    env.reset(seed=0, options={"task": AntDirectionTask(0.0)})
    here = env._observe()
    base = env.robot._base.base()
    x, y, z = base.position
    env.robot._base.place(BaseState((x + 5.0, y - 3.0, z), *base[1:]))
    np.testing.assert_array_equal(env._observe(), here)
