from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from metamotor import envs
from metamotor.envs.half_cheetah_direction import HalfCheetahDirectionTask
from metamotor.robots import HalfCheetah

FORWARDS, BACKWARDS = HalfCheetahDirectionTask(1.0), HalfCheetahDirectionTask(-1.0)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = envs.make("HalfCheetahDirection-v0").make_env()
    yield env
    env.close()


def run(env: Any, task: HalfCheetahDirectionTask, seed: int, scale: float = 1.0) -> list[float]:
    """The rewards of an episode under actions drawn from `seed`."""
    env.reset(seed=seed, options={"task": task})
    generator = np.random.default_rng(seed)
    return [env.step(scale * generator.uniform(-1, 1, 6))[1] for _ in range(env.family.horizon)]


def test_reward_is_the_speed_in_the_wanted_direction(env: Any) -> None:
    rewards = run(env, FORWARDS, seed=0)
    travelled = env.robot.read()[0][0]
    assert sum(rewards) * 4 / 240 == pytest.approx(travelled)
    assert run(env, BACKWARDS, seed=0) == [-reward for reward in rewards]


def test_standing_still_earns_nothing(env: Any) -> None:
    totals = [sum(run(env, FORWARDS, seed=seed, scale=0.0)) for seed in range(5)]
    assert np.abs(totals).max() < 2.0


def test_a_stride_moves_it(env: Any) -> None:
    """Thighs that swing in and out of phase carry it one way or the other."""
    reached = []
    for phase in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        env.reset(seed=0, options={"task": FORWARDS})
        total = 0.0
        for step in range(100):
            swing = step * 2 * np.pi / 15
            back, front = np.sin(swing), np.sin(swing + phase)
            shins = np.cos(swing), np.cos(swing + phase)
            total += env.step(np.array([back, shins[0], 0.0, front, shins[1], 0.0]))[1]
        reached.append(total)
    assert max(np.abs(reached)) > 20.0


def test_observation_is_scaled_as_documented(env: Any) -> None:
    env.reset(seed=1, options={"task": FORWARDS})
    generator = np.random.default_rng(1)
    for _ in range(50):
        observation = env.step(generator.uniform(-1, 1, 6))[0]
    states = np.array([state[:2] for state in env.robot.read()])
    assert observation[0] * 0.1 + HalfCheetah.REST[1] == pytest.approx(states[1, 0], abs=1e-6)
    assert observation[1] * 0.5 == pytest.approx(states[2, 0], abs=1e-6)
    assert observation[2:4] == pytest.approx(states[:2, 1], abs=1e-5)
    assert observation[4] * 5 == pytest.approx(states[2, 1], abs=1e-5)
    joints = observation[5:11] * HalfCheetah.REACH + HalfCheetah.NEUTRAL
    assert joints == pytest.approx(states[3:, 0], abs=1e-5)
    assert observation[11:] * 10 == pytest.approx(states[3:, 1], abs=1e-4)


def test_does_not_observe_how_far_it_has_come(env: Any) -> None:
    env.reset(seed=0, options={"task": FORWARDS})
    robot = env.robot
    states = [state[:2] for state in robot.read()]
    here = env._observe()
    robot.joints.reset([5.0, *(state[0] for state in states[1:])], [state[1] for state in states])
    np.testing.assert_array_equal(env._observe(), here)


def test_runs_200_steps_on_request() -> None:
    env = envs.make("HalfCheetahDirection-v0", horizon=200).make_env()
    assert len(run(env, FORWARDS, seed=0)) == 200
    env.close()
