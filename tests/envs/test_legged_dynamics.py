"""The hopper and the planar walker of unknown make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metamotor import envs
from metamotor.envs.hopper_dynamics import HopperDynamicsTask
from metamotor.envs.walker2d_dynamics import Walker2dDynamicsTask

Array = NDArray[np.float64]
NAMES = ("HopperDynamics-v0", "Walker2dDynamics-v0")
PLAIN = (1.0, 1.0, 1.0, 0.8, 1.0)


@pytest.fixture(scope="module", params=NAMES)
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    env = envs.make(request.param).make_env()
    yield env
    env.close()


def task(env: Any, direction: float = 1.0) -> Any:
    make = env.family.task_type
    assert make in (HopperDynamicsTask, Walker2dDynamicsTask)
    return make(*PLAIN, direction)


def episode(env: Any, task: Any, actions: Array) -> tuple[list[float], list[float]]:
    """Rewards, and velocities forwards, until it falls or the actions are used up."""
    env.reset(seed=0, options={"task": task})
    rewards, velocities = [], []
    for action in actions:
        before = env.robot.read()[0][0]
        _, reward, terminated, _, _ = env.step(action)
        rewards.append(reward)
        velocities.append((env.robot.read()[0][0] - before) * 48)
        if terminated:
            break
    return rewards, velocities


def random_actions(env: Any, scale: float, seed: int = 0) -> Array:
    shape = (100, *env.action_space.shape)
    return np.random.default_rng(seed).uniform(-scale, scale, shape)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_reward_is_the_velocity_and_one_for_not_having_fallen(env: Any, direction: float) -> None:
    rewards, velocities = episode(env, task(env, direction), random_actions(env, 0.4))
    assert len(rewards) == 100
    assert rewards == pytest.approx([direction * velocity + 1.0 for velocity in velocities])
    assert np.abs(velocities).max() > 0.3


def test_standing_still_earns_one_a_step_in_any_task(env: Any) -> None:
    for one in env.family.sample(20, split="out_of_range", seed=0):
        rewards, _ = episode(env, one, random_actions(env, 0.0))
        assert sum(rewards) == pytest.approx(100.0, abs=8.0)


@pytest.mark.parametrize(("height", "pitch"), [(-0.5, 0.0), (0.3, 1.1), (0.3, -1.1)])
def test_a_fall_ends_the_episode_and_costs_fifty(env: Any, height: float, pitch: float) -> None:
    env.reset(seed=0, options={"task": task(env)})
    x, z, rest = env.robot.REST
    # Low down, its legs are folded for no foot to be in the ground.
    legs = env.robot.NEUTRAL if height > 0 else (-2.5, -2.5, 0.0) * (len(env.robot.JOINTS) // 3)
    env.robot.reset((x, z + height, rest + pitch, *legs))
    env._observe()
    before = env.robot.read()[0][0]
    _, reward, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape))
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx((env.robot.read()[0][0] - before) * 48 - 50.0)


def test_a_jump_is_no_fall(env: Any) -> None:
    env.reset(seed=0, options={"task": task(env)})
    x, z, rest = env.robot.REST
    env.robot.reset((x, z + 0.3, rest + 0.8, *env.robot.NEUTRAL))
    assert not env.step(np.zeros(env.action_space.shape))[2]


def test_the_robot_is_what_the_task_says(env: Any) -> None:
    for one in env.family.sample(5, split="out_of_range", seed=1):
        env.set_task(one)
        now = env.robot.properties
        for name in env.family.parameters:
            if name in env.robot.PROPERTIES:
                assert now[name] == getattr(one, name)


def test_observation_is_scaled_as_documented(env: Any) -> None:
    episode(env, task(env), random_actions(env, 0.4)[:30])
    observation = env.step(np.zeros(env.action_space.shape))[0]
    robot = env.robot
    states = np.array([state[:2] for state in robot.read()])
    joints = len(robot.JOINTS)
    assert observation[0] * 0.1 + robot.REST[1] == pytest.approx(states[1, 0], abs=1e-6)
    assert observation[1] * 0.5 == pytest.approx(states[2, 0], abs=1e-6)
    assert observation[2:4] == pytest.approx(states[:2, 1], abs=1e-5)
    assert observation[4] * 5 == pytest.approx(states[2, 1], abs=1e-5)
    positions = observation[5 : 5 + joints] * robot.REACH + robot.NEUTRAL
    assert positions == pytest.approx(states[3:, 0], abs=1e-5)
    assert observation[5 + joints :] * 10 == pytest.approx(states[3:, 1], abs=1e-4)
